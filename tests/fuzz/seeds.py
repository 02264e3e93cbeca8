"""Good pictures of every kind that is read, small, from which damaged ones are made."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from random import Random
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image

from tests.heic_files import (
    ALPHA,
    Coding,
    auxiliary,
    clap,
    exif_item,
    grid,
    heic,
    heif,
    imir,
    irot,
    nclx,
    still,
)
from tests.hostile import progressive
from tests.parts import drawing, picture_file
from tests.telltales import exif_block, srgb

SIZE = (64, 48)
PIXELS = drawing(96, 64)
_OPACITY = np.linspace(0, 255, PIXELS.shape[0] * PIXELS.shape[1]).astype(np.uint8)
_OPACITY = _OPACITY.reshape(PIXELS.shape[:2])


def _picture() -> Image.Image:
    return Image.fromarray(drawing(*SIZE))


def _deep(extension: str) -> bytes:
    samples = drawing(*SIZE).astype(np.uint16) * 257
    return bytes(cv2.imencode(extension, samples)[1])


def _with_alpha(kind: str, **options: object) -> bytes:
    image = _picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    return picture_file(image, kind, **options)


def _described(kind: str, **options: object) -> bytes:
    return picture_file(_picture(), kind, exif=exif_block(), icc_profile=srgb(), **options)


MAKERS: MappingProxyType[str, tuple[Callable[[], bytes], ...]] = MappingProxyType(
    {
        "jpeg": (
            lambda: _described("JPEG"),
            lambda: progressive(10),
            lambda: picture_file(_picture().convert("L"), "JPEG", restart_marker_blocks=2),
            lambda: picture_file(_picture().convert("CMYK"), "JPEG"),
        ),
        "png": (
            lambda: _described("PNG"),
            lambda: _with_alpha("PNG"),
            lambda: picture_file(_picture().quantize(16), "PNG", transparency=3),
            lambda: _deep(".png"),
        ),
        "webp": (
            lambda: _described("WEBP"),
            lambda: _with_alpha("WEBP"),
            lambda: _with_alpha("WEBP", lossless=True),
        ),
        "bmp": (
            lambda: picture_file(_picture(), "BMP"),
            lambda: picture_file(_picture().quantize(16), "BMP"),
        ),
        "tiff": (
            lambda: _described("TIFF"),
            lambda: picture_file(_picture(), "TIFF", compression="tiff_lzw"),
            lambda: _with_alpha("TIFF", compression="tiff_adobe_deflate"),
            lambda: _deep(".tiff"),
            lambda: picture_file(_picture().convert("1"), "TIFF", compression="group4"),
        ),
        "gif": (lambda: picture_file(_picture().quantize(16), "GIF", comment=b"a comment"),),
        "avif": (lambda: _described("AVIF"), lambda: _with_alpha("AVIF")),
        "heic": (
            lambda: heic(PIXELS, irot(1), exif=exif_item(exif_block())),
            lambda: heif(grid(PIXELS, 32, nclx(1, 13, 6), hidden=None)),
            lambda: heic(PIXELS, clap(40, 20, Fraction(0), Fraction(0)), imir(0), form="yuv420p"),
            lambda: heic(PIXELS, (b"colr", b"prof" + srgb()), alpha=auxiliary(_OPACITY, ALPHA)),
            lambda: heif({1: still(PIXELS.astype(np.uint16) << 8, Coding("yuv444p10le"))}),
        ),
    }
)
"""What makes the good pictures of each kind."""


@cache
def seeds(kind: str) -> tuple[bytes, ...]:
    """The good pictures of that kind."""
    return tuple(make() for make in MAKERS[kind])


def small_picture(chance: Random) -> bytes:
    """A good JPEG, of which there are many, so that not all of them are one job."""
    return seeds("jpeg")[0] + b"%d" % chance.randrange(1000)
