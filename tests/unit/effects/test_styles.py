"""The looks of a comic and of an old print."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from blurline.effects import scale
from blurline.effects.aged import aged
from blurline.effects.comic import comic
from blurline.imaging.decode import Pixels
from tests.pixels import difference, lab, noisy, photo, plain, resized

Effect = Callable[..., Pixels]
EFFECTS = [comic, aged]
SKIN = (205, 160, 135)
SIZES = [(1, 1), (1, 2), (2, 1), (3, 3), (1, 3000), (3000, 1), (7, 411), (240, 320)]


@pytest.fixture(params=EFFECTS, ids=lambda effect: effect.__name__)
def effect(request: pytest.FixtureRequest) -> Effect:
    chosen: Effect = request.param
    return chosen


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_of_any_size_keep_it(effect: Effect, size: tuple[int, int]) -> None:
    chance = np.random.default_rng(3)
    pixels = chance.integers(0, 256, (*size, 3), dtype=np.uint8)
    before = pixels.copy()
    shown = effect(pixels)
    assert shown.shape == pixels.shape
    assert shown.dtype == np.uint8
    assert np.array_equal(pixels, before)


def test_the_same_picture_gives_the_same_bytes(effect: Effect, bus: bytes) -> None:
    pixels = photo(bus)
    assert np.array_equal(effect(pixels), effect(pixels.copy()))


def test_neither_strips_nor_threads_show(
    effect: Effect,
    bus: bytes,
    monkeypatch: pytest.MonkeyPatch,
    threads: Callable[[int], None],
) -> None:
    pixels = resized(photo(bus), 901, 1203)
    threads(1)
    expected = effect(pixels)
    threads(4)
    for strip in (1, 50_000, 10**9):
        monkeypatch.setattr(scale, "STRIP_PIXELS", strip)
        assert np.array_equal(effect(pixels), expected)


def test_a_photo_of_twelve_megapixels_looks_as_its_copy_of_one_does(
    effect: Effect, zidane: bytes
) -> None:
    large = resized(photo(zidane), 4619, 2598)
    small = resized(large, 1333, 750)
    shown = resized(effect(large), 1333, 750)
    assert difference(shown, effect(small)) < 0.25 * difference(shown, small)


def test_strength_leads_from_the_picture_to_the_effect(effect: Effect, bus: bytes) -> None:
    pixels = photo(bus)
    assert np.array_equal(effect(pixels, strength=0.0), pixels)
    far = [difference(effect(pixels, strength=share), pixels) for share in (0.25, 0.5, 1.0)]
    assert far == sorted(far)


def test_a_grey_picture_stays_grey_as_a_comic(bus: bytes) -> None:
    grey = photo(bus).mean(axis=2).astype(np.uint8)
    shown = comic(np.dstack([grey] * 3))
    assert np.array_equal(shown[..., 0], shown[..., 1])
    assert np.array_equal(shown[..., 0], shown[..., 2])


def test_skin_is_flat_and_without_speckle_in_a_comic() -> None:
    skin = noisy(plain(SKIN), 6)
    shown = comic(skin)
    assert shown.std(axis=(0, 1)).max() < 0.5 * skin.std(axis=(0, 1)).min()
    assert shown.min(axis=(0, 1)).tolist() > [100, 60, 40]


def test_an_edge_is_inked_in_a_comic_and_not_without_ink() -> None:
    pixels = plain((230, 225, 220))
    pixels[:, 200:] = (120, 140, 190)
    assert comic(pixels)[:, 195:206].max(axis=2).min(axis=1).max() < 60
    assert comic(pixels, ink=0.0)[:, 195:206].max(axis=2).min(axis=1).max() > 60


@pytest.mark.parametrize("tones", [3, 6, 10])
def test_a_ramp_shows_as_many_steps_as_a_comic_has_tones(tones: int) -> None:
    ramp = np.tile(np.linspace(0, 255, 768)[:, None], (200, 1, 3)).astype(np.uint8)
    row = comic(ramp, ink=0.0, tones=tones)[100, ::8, 0].astype(int)
    level = np.diff(row) <= 1
    assert np.count_nonzero(level[1:] > level[:-1]) == tones


def test_an_old_print_is_brown_faded_and_darker_in_its_corners() -> None:
    white, black = aged(plain((255, 255, 255))), aged(plain((0, 0, 0)))
    assert white.max() < 255
    assert black[100:200, 100:300].min() > 15
    grey = aged(plain((128, 128, 128), 600, 800), grain=0.0)
    red, green, blue = grey[300, 400].tolist()
    assert red > green > blue
    brightness = lab(grey)[..., 0]
    assert brightness[20:60, 20:60].mean() < brightness[280:320, 380:420].mean() - 3


def test_colours_are_gone_from_an_old_print(bus: bytes) -> None:
    hue = np.arctan2(*np.moveaxis(lab(aged(photo(bus)))[..., :0:-1], 2, 0))
    assert np.degrees(hue.max() - hue.min()) < 40


def test_grain_gets_coarser_with_its_option() -> None:
    grey = plain((128, 128, 128))
    spread = [aged(grey, grain=grain)[140:160, 190:210, 1].std() for grain in (0.0, 0.4, 1.0)]
    assert 4 * spread[0] < 2 * spread[1] < spread[2]
