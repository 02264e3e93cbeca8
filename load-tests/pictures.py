"""What is uploaded: the photos that PHOTO names, or made-up ones, as parts of a form."""

import itertools
import os
import random
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 1280, 720
PHOTOS = 16

Part = tuple[str, tuple[str, bytes, str]]
"""Field name, then file name, bytes and media type."""


@cache
def photos() -> list[bytes]:
    """The JPEGs that PHOTO names, divided by commas, or made ones, the same at every run."""
    if paths := os.environ.get("PHOTO"):
        return [Path(path).read_bytes() for path in paths.split(",")]
    return [photo(seed) for seed in range(PHOTOS)]


def photo(seed: int) -> bytes:
    """One 1280x720 JPEG: soft colour patches, 24 shapes, and fine noise over all of it."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for shape in itertools.islice(itertools.cycle((draw.ellipse, draw.rectangle)), 24):
        left, top = int(rng.integers(0, WIDTH - 20)), int(rng.integers(0, HEIGHT - 20))
        width, height = (int(side) for side in rng.integers(20, 300, 2))
        red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
        shape((left, top, left + width, top + height), fill=(red, green, blue))
    noise = rng.normal(0, 6, (HEIGHT, WIDTH, 1))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=85, colorspace="RGB"))


def numbered(picture: bytes, place: int) -> bytes:
    """The JPEG with a comment, so that no two files of a batch are the same."""
    text = f"photo {place}".encode()
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    return picture[:2] + comment + picture[2:]


def form(files: int) -> list[Part]:
    """The parts of an upload of one file, or of a batch of more."""
    if files == 1:
        return [("file", ("photo.jpg", random.choice(photos()), "image/jpeg"))]
    turn = itertools.cycle(photos())
    return [
        ("files", (f"photo{place}.jpg", numbered(next(turn), place), "image/jpeg"))
        for place in range(files)
    ]
