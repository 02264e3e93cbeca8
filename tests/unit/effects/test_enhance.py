"""A better picture, measured against the one that it was made from.

The distance of two pictures is the mean delta E of 1976 of their pixels; 2.3 is about what an eye
tells apart.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from blurline.effects import enhance, scale
from blurline.effects.cast import neutral_gains
from blurline.effects.noise import noise_of
from blurline.imaging.decode import Pixels
from tests.pixels import difference, lab, noisy, photo, plain, resized

SIZES = [(1, 1), (1, 2), (2, 1), (3, 3), (1, 3000), (3000, 1), (7, 411), (240, 320)]
CASTS = {"warm": (1.2, 1.0, 0.7), "cold": (0.75, 1.0, 1.25), "green": (0.9, 1.12, 0.9)}


def enhanced(pixels: Pixels, **options: Any) -> Pixels:
    """The picture, made better."""
    return enhance.enhanced(pixels, enhance.planned(pixels), **options)


def cast(pixels: Pixels, gains: tuple[float, float, float]) -> Pixels:
    """The picture in light of another colour."""
    return np.clip(pixels * np.array(gains), 0, 255).astype(np.uint8)


def hue_and_chroma(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel: the angle in degrees, and the distance from grey."""
    a, b = np.moveaxis(lab(pixels)[..., 1:], 2, 0)
    return np.degrees(np.arctan2(b, a)), np.hypot(a, b)


def looks_like_skin(pixels: Pixels) -> np.ndarray:
    """Where a picture has the colour of skin: hue of 25 to 75 degrees, neither grey nor glaring."""
    hue, chroma = hue_and_chroma(pixels)
    brightness = lab(pixels)[..., 0]
    inside = (hue > 25) & (hue < 75) & (chroma > 12) & (chroma < 45)
    return inside & (brightness > 30) & (brightness < 85)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_of_any_size_keep_it(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = pixels.copy()
    for denoise in range(4):
        assert enhanced(pixels, denoise=denoise).shape == pixels.shape
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("tone", [0, 1, 128, 254, 255])
def test_a_picture_of_one_tone_stays_grey(tone: int) -> None:
    shown = enhanced(plain((tone, tone, tone)))
    assert np.ptp(shown) == 0


def test_a_picture_that_is_fine_already_hardly_changes(bus: bytes) -> None:
    pixels = photo(bus)
    assert difference(enhanced(pixels), pixels) < 3.5
    assert difference(enhanced(pixels, sharpen=0.0), pixels) < 2.3
    assert np.array_equal(enhanced(pixels, strength=0.0), pixels)


def test_a_picture_that_was_enhanced_hardly_changes_again(bus: bytes) -> None:
    once = enhanced(cast(photo(bus), (0.4, 0.35, 0.3)), sharpen=0.0)
    assert difference(enhanced(once, sharpen=0.0), once) < 4


def test_a_dark_picture_gets_most_of_its_light_back(bus: bytes) -> None:
    pixels = photo(bus)
    dark = cast(pixels, (0.35, 0.35, 0.35))
    assert difference(enhanced(dark), pixels) < 0.2 * difference(dark, pixels)


def test_a_flat_picture_gets_its_contrast_and_its_colours_back(bus: bytes) -> None:
    pixels = photo(bus)
    flat = (pixels * 0.45 + 80).astype(np.uint8)
    assert difference(enhanced(flat), pixels) < 0.3 * difference(flat, pixels)


@pytest.mark.parametrize("name", CASTS)
def test_a_cast_of_the_light_is_taken_away(name: str, bus: bytes) -> None:
    pixels = photo(bus)
    tinted = cast(pixels, CASTS[name])
    assert difference(enhanced(tinted), pixels) < 0.7 * difference(tinted, pixels)


@pytest.mark.parametrize("deviation", [6.0, 12.0, 20.0])
def test_noise_is_measured_and_taken_away(deviation: float, bus: bytes) -> None:
    pixels = photo(bus)
    grainy = noisy(pixels, deviation)
    luma = cv2.cvtColor(grainy, cv2.COLOR_RGB2GRAY)
    # Of three independent colours the brightness has noise of two thirds.
    assert noise_of(luma) == pytest.approx(0.67 * deviation, rel=0.35)
    far = [difference(enhanced(grainy, denoise=level, sharpen=0.0), pixels) for level in range(4)]
    assert far[2] < far[1] < far[0]
    assert far[2] < 0.7 * difference(grainy, pixels)


def test_a_picture_without_noise_loses_no_detail_to_denoising(bus: bytes) -> None:
    pixels = photo(bus)
    assert np.array_equal(enhanced(pixels, denoise=3), enhanced(pixels, denoise=0))


def test_edges_are_sharper_with_the_option() -> None:
    pixels = plain((100, 100, 100), 900, 1200)
    pixels[:, 600:] = 150
    pixels[:40], pixels[-40:] = 0, 255
    soft = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.8), np.uint8)

    def steepest(sharpen: float) -> int:
        row = enhanced(soft, sharpen=sharpen)[450, :, 0].astype(int)
        return int(np.diff(row).max())

    assert steepest(0.0) < steepest(0.5) < steepest(1.0)


@pytest.mark.parametrize("change", [1.0, 0.35], ids=["fine", "dark"])
def test_skin_keeps_its_hue_and_its_colourfulness(change: float, zidane: bytes) -> None:
    """Within 5 degrees of hue and a fifth of chroma, in the median; 12 degrees in nine of ten."""
    pixels = photo(zidane)
    skin = looks_like_skin(pixels)
    assert skin.mean() > 0.05
    hue, chroma = hue_and_chroma(pixels)
    new_hue, new_chroma = hue_and_chroma(enhanced(cast(pixels, (change,) * 3)))
    turned = np.abs(new_hue - hue)[skin]
    assert np.median(turned) < 5
    assert np.quantile(turned, 0.9) < 12
    assert np.median(new_chroma[skin] / chroma[skin]) == pytest.approx(1, abs=0.2)


def test_a_street_between_a_lawn_and_a_blue_sky_is_no_cast() -> None:
    pixels = plain((135, 133, 130))
    pixels[:100] = (110, 160, 225)
    pixels[200:] = (70, 130, 50)
    pixels[120:140, 100:200] = (215, 212, 208)
    assert np.ptp(neutral_gains(noisy(pixels, 8))) < 0.05


def test_a_large_blue_thing_is_no_cast(bus: bytes) -> None:
    assert np.ptp(neutral_gains(photo(bus))) < 0.05


def test_white_stays_white_when_a_cast_is_taken_away(bus: bytes) -> None:
    tinted = cast(photo(bus), (0.8, 0.95, 1.0))
    tinted[:40, :40] = 255
    assert enhanced(tinted)[5:35, 5:35].min() > 250


def test_neither_strips_nor_threads_show(bus: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noisy(resized(photo(bus), 901, 1203), 5)
    before = cv2.getNumThreads()
    expected = enhanced(pixels)
    try:
        for threads, strip in ((1, 1000), (4, 50_000), (2, 10**9)):
            cv2.setNumThreads(threads)
            monkeypatch.setattr(scale, "STRIP_PIXELS", strip)
            assert np.array_equal(enhanced(pixels), expected)
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("make", [lambda p: p, lambda p: cast(p, (0.4, 0.33, 0.27))])
def test_a_photo_of_twelve_megapixels_looks_as_its_copy_of_one_does(
    make: Callable[[Pixels], Pixels], zidane: bytes
) -> None:
    large = make(resized(photo(zidane), 4619, 2598))
    small = resized(large, 1333, 750)
    assert difference(resized(enhanced(large), 1333, 750), enhanced(small)) < 1.5
