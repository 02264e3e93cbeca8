"""What a PNG holds compressed beside its pixels is read within bounds, and refuses no file."""

import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.packed import exif_of_png, profile_of_png
from blurline.imaging.profile import MAX_BYTES, rebuilt
from blurline.imaging.rewrite import rewrite
from tests.carriers import png_chunk
from tests.parts import drawing, picture_file
from tests.telltales import srgb

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
PIXELS = drawing(64, 48)
WORDS = bytes(range(256)) * 8192
"""Two megabytes."""


def png(*chunks: bytes) -> bytes:
    data = picture_file(Image.fromarray(PIXELS), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def profile_of(size: int) -> bytes:
    """The profile of sRGB with so many bytes, most of which no tag names."""
    made = srgb()
    return size.to_bytes(4, "big") + made[4:] + bytes(size - len(made))


def profile_chunk(profile: bytes) -> bytes:
    return png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(profile))


LARGE = {
    "packed text": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(WORDS)),
    "packed international text": png_chunk(
        b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(WORDS.decode("latin-1").encode())
    ),
    "plain text": png_chunk(b"tEXt", b"Comment\0" + WORDS),
    "many packed texts": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20))) * 9,
    "profile": profile_chunk(profile_of(1_200_000)),
    "largest profile": profile_chunk(profile_of(MAX_BYTES)),
    "too large a profile": profile_chunk(profile_of(MAX_BYTES + 1)),
    "profile without end": profile_chunk(bytes(100 << 20)),
    "damaged profile": png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(srgb())[:-9]),
    "damaged text": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(WORDS)[:-9]),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_png_with_large_texts_or_a_large_profile_is_read_and_written(name: str) -> None:
    data = png(LARGE[name])
    header = read_header(data, LIMITS)
    pixels = decode(data, header)
    assert (pixels == PIXELS).all()
    metadata = read_metadata(data, Kind.PNG, MetadataPolicy.MINIMAL)
    assert (metadata.icc is not None) == (name in ("profile", "largest profile"))
    result = clean(rewrite(data, Kind.PNG, pixels, [], 1, 90), Kind.PNG, metadata)
    with Image.open(BytesIO(result)) as image:
        assert (np.asarray(image) == PIXELS).all()
        assert image.info.keys() <= {"icc_profile"}
        assert image.info.get("icc_profile") == metadata.icc


def test_a_large_profile_keeps_its_colours() -> None:
    metadata = read_metadata(png(LARGE["profile"]), Kind.PNG, MetadataPolicy.MINIMAL)
    assert metadata.icc == rebuilt(srgb())


@pytest.mark.parametrize(
    ("name", "start"),
    [
        (b"zTXt", b"Raw profile type exif\0\0"),
        (b"iTXt", b"Raw profile type APP1\0\1\0\0\0"),
        (b"iCCP", b"ICC\0\0"),
    ],
)
def test_a_chunk_that_inflates_without_end_takes_little_memory(name: bytes, start: bytes) -> None:
    data = png(png_chunk(name, start + zlib.compress(bytes(40 << 20), 1)))
    tracemalloc.start()
    try:
        assert profile_of_png(data) is None
        assert exif_of_png(data) is None
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BYTES
    finally:
        tracemalloc.stop()


def test_a_reported_picture_keeps_its_profile(data: Path) -> None:
    path = data / "reports" / "03-png-large-chunks" / "icc-1.2MB.png"
    if not path.is_file():
        pytest.skip("the reported files are not here")
    content = path.read_bytes()
    plain = path.with_name("plain.png").read_bytes()
    shown, expected = (decode(file, read_header(file, LIMITS)) for file in (content, plain))
    assert (shown == expected).all()
    assert read_metadata(content, Kind.PNG, MetadataPolicy.MINIMAL).icc is not None
