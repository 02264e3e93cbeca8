"""A picture that ends its reader ends the job it belongs to, and no other."""

import zlib

import pytest

from blurline.errors import PictureError
from blurline.imaging.header import Limits
from blurline.imaging.kind import Kind
from blurline.imaging.trial import check_harmless
from tests.carriers import BASE
from tests.hostile import ODDITIES, png
from tests.parts import picture_file

LIMITS = Limits(50_000_000, 100_000_000)


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG])
def test_an_ordinary_picture_is_harmless(kind: Kind) -> None:
    check_harmless(picture_file(BASE, kind.upper()), LIMITS)


@pytest.mark.parametrize("name", ["PNG cut after 30%", "JPEG cut after 97%"])
def test_a_picture_that_is_refused_is_harmless_too(name: str) -> None:
    check_harmless(ODDITIES[name](), LIMITS)


def test_v5_2_3_a_picture_that_ends_its_reader_for_lack_of_memory_is_told() -> None:
    large = png(9_000, 9_000, zlib.compress(bytes(9_000 * 9_001)))
    with pytest.raises(PictureError) as caught:
        check_harmless(large, LIMITS, memory=50 << 20)
    assert caught.value.code == "corrupt_image"


def test_a_picture_that_takes_too_long_is_told() -> None:
    with pytest.raises(PictureError) as caught:
        check_harmless(picture_file(BASE, "JPEG"), LIMITS, seconds=0.001)
    assert caught.value.code == "corrupt_image"
