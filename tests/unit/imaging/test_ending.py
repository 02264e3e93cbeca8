"""A JPEG without the mark of its end is read if it is whole, and refused if it was cut."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.ending import with_end
from blurline.imaging.header import Limits, read_header
from blurline.imaging.jpeg import read_frame
from blurline.redaction.lossless import redact_jpeg
from tests.parts import drawing, picture_file

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
NOISE = np.random.default_rng(7).integers(-20, 20, (96, 128, 3))
PICTURE = Image.fromarray((drawing(128, 96) + NOISE).clip(0, 255).astype(np.uint8))
SORTS: dict[str, tuple[str, dict[str, object]]] = {
    "sequential": ("RGB", {}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {}),
    "ink": ("CMYK", {}),
    "with restarts": ("RGB", {"restart_marker_blocks": 4}),
    "without shared colours": ("RGB", {"subsampling": 0, "optimize": True}),
}
END = b"\xff\xd9"


def jpeg(name: str) -> bytes:
    mode, options = SORTS[name]
    return picture_file(PICTURE.convert(mode), "JPEG", quality=85, **options)


def shown(data: bytes, reduction: int = 1) -> Pixels:
    return decode(data, read_header(data, LIMITS), reduction=reduction)


def variants(whole: bytes) -> dict[str, bytes]:
    return {
        "no end": whole[:-2],
        "half an end": whole[:-1],
        "a zero for an end": whole[:-2] + b"\0",
        "zeros for an end": whole[:-2] + bytes(4096),
        "filled before its end": whole[:-2] + b"\xff\xff" + END,
        "two ends": whole + END,
        "words behind its end": whole + b"and no more",
        "zeros behind its end": whole + bytes(4096),
        "another picture behind its end": whole + whole[:-2],
    }


@pytest.mark.parametrize("name", SORTS)
def test_a_whole_picture_is_read_however_it_ends(name: str) -> None:
    whole = jpeg(name)
    expected = shown(whole)
    for variant, data in variants(whole).items():
        assert (shown(data) == expected).all(), variant


@pytest.mark.parametrize("name", SORTS)
def test_a_cut_picture_is_corrupt_also_where_zeros_fill_it_up(name: str) -> None:
    whole = jpeg(name)
    chance = np.random.default_rng(3)
    lengths = chance.integers(len(whole) // 3, len(whole) - 8, 10)
    for length, zeros in product(lengths, (0, 99, 9999)):
        with pytest.raises(PictureError) as caught:
            shown(whole[:length] + bytes(zeros))
        assert caught.value.code == "corrupt_image"


def test_a_picture_that_lacks_whole_scans_is_cut() -> None:
    whole = jpeg("progressive")
    places = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(places) > 3
    for place in places[1:]:
        start = whole.rindex(b"\xff\xc4", 0, place)
        with pytest.raises(PictureError) as caught:
            shown(whole[:start])
        assert caught.value.code == "corrupt_image"


@pytest.mark.parametrize("variant", ["no end", "zeros for an end"])
@pytest.mark.parametrize("name", ["sequential", "progressive", "grey"])
def test_what_lacks_only_its_end_keeps_its_coefficients(name: str, variant: str) -> None:
    whole = jpeg(name)
    data = variants(whole)[variant]
    pixels = shown(data)
    redacted = redact_jpeg(data, pixels, 1, [(0, 0, 8, 8)])
    assert redacted == redact_jpeg(whole, pixels, 1, [(0, 0, 8, 8)])
    assert read_frame(redacted).width == 128
    assert (shown(data, 2) == shown(whole, 2)).all()


def test_what_has_its_end_is_left_as_it_is() -> None:
    whole = jpeg("sequential")
    for data in (whole, whole + bytes(99), whole[:40], b"\xff\xd8\xff", b""):
        assert with_end(data) is data


def test_a_reported_picture_is_read(data: Path) -> None:
    folder = data / "reports" / "14-damaged"
    if not folder.is_dir():
        pytest.skip("the reported files are not here")
    found, expected = (shown((folder / name).read_bytes()) for name in ("no-eoi.jpg", "plain.jpg"))
    assert (found == expected).all()
