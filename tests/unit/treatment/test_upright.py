"""A picture that is stored turned comes back upright where that is asked for, and lossless."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blurline.imaging.decode import turn_upright
from blurline.imaging.jpeg import JpegError, read_frame
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy
from blurline.stages.frame import OnFailure
from blurline.treatment.writing import WriteMethod
from tests.jpegs import KINDS, codec, coefficients, decoded, scene
from tests.unit.treatment.test_treatment import NO_TARGET, Broken, as_file, outside, seeing, treat

WHOLE = scene(192, 128)
"""Of whole MCUs whatever the sampling factors."""

UPRIGHT = replace(NO_TARGET, upright=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_keeps_all_its_coefficients(kind: str, orientation: int) -> None:
    original = KINDS[kind](WHOLE)
    frame = read_frame(original)

    turned = codec().turn_upright(original, orientation, progressive=frame.progressive)

    assert read_frame(turned).progressive == frame.progressive
    for before, after in zip(coefficients(original), coefficients(turned), strict=True):
        assert np.array_equal(np.sort(np.abs(before), axis=None), np.sort(np.abs(after), axis=None))
    difference = decoded(turned).astype(int) - turn_upright(decoded(original), orientation)
    assert np.abs(difference).mean() < 1  # colours are spread by a filter that has a direction


@pytest.mark.parametrize("orientation", [2, 3, 4, 6, 7, 8])
def test_a_jpeg_whose_last_mcu_is_not_whole_is_not_turned_with_a_loss(orientation: int) -> None:
    original = KINDS["4:2:0"](scene(97, 61))

    with pytest.raises(JpegError):
        codec().turn_upright(original, orientation, progressive=False)


@pytest.mark.parametrize(
    ("size", "way"), [((192, 128), WriteMethod.LOSSLESS), ((97, 61), WriteMethod.REENCODED)]
)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("policy", [MetadataPolicy.KEEP, MetadataPolicy.MINIMAL])
def test_a_picture_that_was_stored_turned_comes_back_upright(
    size: tuple[int, int], way: WriteMethod, orientation: int, policy: MetadataPolicy
) -> None:
    codec()
    pixels = scene(*size)
    original = as_file(pixels, Kind.JPEG, orientation)
    options = replace(UPRIGHT, metadata=policy)

    treated = treat(original, seeing([(10, 20, 40, 50)]), options=options)

    result = Image.open(BytesIO(treated.picture))
    assert result.size == size
    assert result.getexif().get(0x0112, 1) == 1
    assert treated.way is (WriteMethod.LOSSLESS if orientation == 1 else way)
    shown = np.asarray(result.convert("RGB")).astype(int)
    boxes = treated.frame.boxes
    far = outside([(0, 0, 64, 64)], *size)
    assert boxes
    assert np.abs(shown - decoded(original))[far].mean() < 8  # encoded anew: noise
    assert np.abs(shown - treated.frame.pixels).mean() < 8
    assert np.abs(shown - pixels)[20:50, 10:40].mean() > 10


def test_without_being_asked_a_turned_jpeg_stays_as_it_lies() -> None:
    codec()
    original = as_file(WHOLE, Kind.JPEG, 6)

    treated = treat(original, seeing([(10, 20, 40, 50)]))

    result = Image.open(BytesIO(treated.picture))
    assert result.size == (128, 192)
    assert result.getexif()[0x0112] == 6


def test_a_picture_that_is_redacted_as_a_whole_is_upright_too() -> None:
    options = replace(UPRIGHT, on_failure=OnFailure.OBSCURE)

    treated = treat(as_file(WHOLE, Kind.JPEG, 6), Broken({}), options=options)

    result = Image.open(BytesIO(treated.picture))
    assert result.size == (192, 128)
    assert result.getexif().get(0x0112, 1) == 1
    assert not np.asarray(result).any()
