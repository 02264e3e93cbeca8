"""Tones: what of them is used, and pulling them apart."""

import cv2
import numpy as np
import pytest

from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.levels import FULL, Levels, levels_of, stretched

VALUES = np.arange(256, dtype=np.uint8)
RAMP = np.tile(np.linspace(0, 1, 64)[None, :, None], (64, 1, 3))
"""From nothing to all, in patches of several tones."""


def ramp(black: float, white: float, of: type = np.uint16) -> np.ndarray:
    return np.rint(black + RAMP * (white - black)).astype(of)


@pytest.mark.parametrize("span", [255, 256, 257, 1000, 1023, 4095, 16_383, 32_766, 65_535])
@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_what_is_widened_is_narrowed_to_the_same(span: int, place: float) -> None:
    black = round(place * (65_535 - span))
    levels = Levels(black, black + span)
    wide = levels.widened(VALUES)
    assert (levels.narrowed(wide) == VALUES).all()
    assert (wide[0], wide[-1]) == (black, black + span)


def test_with_full_levels_the_upper_eight_bits_count() -> None:
    every = np.arange(65_536).astype(np.uint16)
    assert (FULL.narrowed(every) == every >> 8).all()
    assert (FULL.widened(VALUES) == VALUES.astype(np.uint16) * 257).all()


@pytest.mark.parametrize(
    ("black", "white", "own"),
    [
        (0, 65_535, False),
        (0, 40_000, False),
        (20_000, 60_000, False),
        (0, 1023, True),
        (0, 4095, True),
        (0, 16_383, True),
        (30_000, 31_000, True),
        (64_000, 65_535, True),
        (100, 101, True),
    ],
)
def test_levels_are_those_of_a_picture_that_keeps_to_less_than_half_of_the_tones(
    black: int, white: int, own: bool
) -> None:
    levels = levels_of(ramp(black, white))
    assert (levels != FULL) is own
    narrow = levels.narrowed(ramp(black, white))
    if own and white - black >= 255:
        assert narrow.min() < 8
        assert narrow.max() > 247


@pytest.mark.parametrize("samples", [ramp(0, 1000), ramp(30_000, 30_900)])
def test_a_bad_pixel_does_not_hide_that_all_others_are_dark(samples: np.ndarray) -> None:
    samples[10, 10], samples[40, 50] = 65_535, 0
    levels = levels_of(samples)
    assert levels.white - levels.black < 8000
    assert levels_of(np.zeros((64, 64, 1), np.uint16)) == Levels(0, 255)


@pytest.mark.parametrize(("black", "white"), [(0, 20), (5, 100), (100, 200), (200, 255), (7, 8)])
def test_narrow_tones_are_pulled_apart(black: int, white: int) -> None:
    shown = stretched(ramp(black, white, np.uint8))
    assert shown.min() == 0
    assert shown.max() == 255
    assert (np.diff(shown[0, :, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize("pixels", [ramp(0, 255, np.uint8), ramp(60, 200, np.uint8)])
def test_a_picture_of_many_tones_is_shown_as_it_is(pixels: np.ndarray) -> None:
    assert stretched(pixels) is pixels
    assert stretched(np.full_like(pixels, 9)).max() == 9


def test_bright_things_anywhere_keep_a_picture_as_it_is() -> None:
    dark = ramp(0, 20, np.uint8)
    for row in range(0, 62, 3):
        one = dark.copy()
        one[row : row + 2, 8:10] = 255
        assert stretched(one) is one


def test_noise_of_all_tones_shows_them_all() -> None:
    noise = np.random.default_rng(1).integers(0, 65_536, (64, 96, 3)).astype(np.uint16)
    assert levels_of(noise) == FULL


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("black", "white"), [(0, 1000), (40_000, 44_000)])
def test_few_bits_in_a_file_of_16_become_all_tones(
    ending: str, channels: int, black: int, white: int
) -> None:
    done, file = cv2.imencode(ending, ramp(black, white)[..., :channels])
    assert done
    data = file.tobytes()
    pixels = decode(data, read_header(data, Limits(10**8, 10**8)))
    assert pixels.shape == (64, 64, 3)
    assert pixels.min() < 8
    assert pixels.max() > 247
    assert (np.diff(pixels[0, 2:-2, 0].astype(int)) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 2000, 3), (2000, 3, 3), (33, 31, 3)])
def test_pictures_of_any_size_have_levels(shape: tuple[int, ...]) -> None:
    assert stretched(np.full(shape, 7, np.uint8)).shape == shape
    assert levels_of(np.full(shape, 7, np.uint16)) == Levels(7, 262)
