"""What reads foreign bytes answers or refuses, whatever they are.

Hypothesis makes the bytes: any at all, and real files with some of them changed.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from blurline.api.forms import safe_filename
from blurline.errors import PictureError
from blurline.imaging.ballast import check_bulk
from blurline.imaging.decode import decode
from blurline.imaging.header import Header, Limits, read_header, sniff
from blurline.imaging.jpeg import JpegError, read_frame
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.plain import plain_png
from blurline.imaging.profile import rebuilt
from tests.hostile import BOMBS
from tests.parts import picture_file
from tests.telltales import BASE, exif_block, srgb

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1_000_000)
CODES = {
    "animation",
    "corrupt_image",
    "not_an_image",
    "too_many_bytes",
    "too_many_pixels",
    "unsupported_kind",
}
STARTS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8X",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    b"\0\0\0\x18ftypavif\0\0\0\0avifmif1",
]
FILES = {
    kind: picture_file(BASE, kind.upper(), exif=exif_block(), icc_profile=srgb())
    if kind not in (Kind.BMP, Kind.GIF)
    else picture_file(BASE, kind.upper())
    for kind in Kind
}
few = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def damaged(draw: Callable[..., object], kind: Kind) -> bytes:
    """A real file with some bytes changed, taken out or put in, mostly near its beginning."""
    data = bytearray(FILES[kind])
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, 1024, 10**6]))) - 1))
        match draw(st.sampled_from(["change", "number", "cut", "put"])):
            case "change":
                data[place] = draw(st.integers(0, 255))
            case "number":
                value = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
                data[place : place + 4] = bytes((value,)) * 4
            case "cut":
                del data[place : place + draw(st.integers(1, 40))]
            case _:
                data[place:place] = draw(st.binary(max_size=40))
        if not data:
            break
    return bytes(data)


def header_of(data: bytes) -> Header | None:
    """The header, or None where the file is refused in words."""
    try:
        return read_header(data, LIMITS)
    except PictureError as error:
        assert error.code in CODES
        return None


@few
@given(st.binary(max_size=4096), st.sampled_from([b"", *STARTS]))
@example(b"", b"\xff\xd8\xff")
def test_v5_2_2_any_bytes_have_a_header_or_are_refused(data: bytes, start: bytes) -> None:
    header_of(start + data)


@pytest.mark.parametrize("kind", Kind)
def test_v5_2_2_a_damaged_file_is_read_or_refused(kind: Kind) -> None:
    @few
    @given(damaged(kind))
    def check(data: bytes) -> None:
        header = header_of(data)
        for policy in MetadataPolicy:
            read_metadata(data, kind, policy)
        if header is not None:
            try:
                pixels = decode(data, header)
            except PictureError as error:
                assert error.code == "corrupt_image"
            else:
                assert pixels.shape == (*header.upright_size[::-1], 3)

    check()


@few
@given(damaged(Kind.JPEG))
def test_the_structure_of_a_damaged_jpeg_is_told_or_refused(data: bytes) -> None:
    with suppress(JpegError):
        assert read_frame(data).components


@few
@given(st.one_of(st.binary(max_size=2000), st.binary(max_size=200).map(lambda b: srgb()[:300] + b)))
def test_any_profile_is_rebuilt_or_left_out(data: bytes) -> None:
    built = rebuilt(data)
    assert built is None or rebuilt(built) == built


@few
@given(st.text(max_size=600), st.integers(1, 300))
def test_v5_3_2_no_file_name_is_a_path(name: str, longest: int) -> None:
    shown = safe_filename(name, longest)
    assert shown not in ("", ".", "..")
    assert len(shown) <= max(longest, len("upload"))
    assert not set(shown) & set("/\\\0\r\n\u202e")
    shown.encode()


@pytest.mark.parametrize("name", BOMBS)
def test_v5_2_3_counting_a_bomb_does_not_set_it_off(name: str) -> None:
    data = BOMBS[name]()
    try:
        check_bulk(data, sniff(data), LIMITS.max_metadata, LIMITS.max_scans)
    except PictureError as error:
        assert error.code in CODES


def test_a_png_without_its_texts_shows_the_same_pixels() -> None:
    pixels = np.asarray(BASE.convert("RGB"))
    told = FILES[Kind.PNG]
    assert b"iCCP" in told
    plain = plain_png(told)
    assert plain is not None
    assert b"iCCP" not in plain
    shown = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert (shown == pixels).all()


def test_a_large_png_of_just_its_samples_is_left_as_it_is() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (700, 700, 3), np.uint8)
    data = picture_file(Image.fromarray(noise), "PNG")
    assert len(data) > 1 << 20
    assert plain_png(data) is data
    samples = zlib.compress(bytes(100 << 20), 0)
    broken = data[:33] + len(samples).to_bytes(4, "big") + b"IDAT" + samples + bytes(4) + data[33:]
    assert plain_png(broken) is None
