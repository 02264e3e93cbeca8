"""Making a region unreadable."""

import numpy as np
import pytest

from blurline.imaging.decode import Pixels
from blurline.redaction.region import redact
from blurline.redaction.styles import MOSAIC_CELLS, PixelBox, Style, whole_pixels

FloatBox = tuple[float, float, float, float]
INSIDE: list[PixelBox] = [(30, 20, 90, 70), (0, 0, 120, 100), (0, 40, 7, 49), (60, 0, 61, 100)]


def noise(width: int = 120, height: int = 100) -> Pixels:
    """A picture in which no two neighbours look alike."""
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)


def colours(region: Pixels) -> int:
    return len(np.unique(region.astype(np.int32) @ [65536, 256, 1]))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1.0, 2.0, 3.0, 4.0), (1, 2, 3, 4)),
        ((1.2, 1.9, 3.1, 4.0), (1, 1, 4, 4)),
        ((2.5, 2.5, 2.6, 2.6), (2, 2, 3, 3)),
        ((3.0, 3.0, 3.0, 3.0), (3, 3, 4, 4)),
        ((-5.0, -5.0, 3.0, 3.0), (0, 0, 3, 3)),
        ((5.0, 5.0, 99.0, 99.0), (5, 5, 10, 8)),
        ((-9.0, -9.0, -5.0, -5.0), (0, 0, 1, 1)),
        ((50.0, 50.0, 60.0, 60.0), (9, 7, 10, 8)),
        ((10.0, 8.0, 10.0, 8.0), (9, 7, 10, 8)),
    ],
)
def test_boxes_are_rounded_outward_and_stay_inside(box: FloatBox, expected: PixelBox) -> None:
    assert whole_pixels(box, 10, 8) == expected


def test_every_part_of_a_box_that_is_in_the_picture_is_covered() -> None:
    chance = np.random.default_rng(4)
    for _ in range(500):
        x, y = np.sort(chance.uniform(-20, 60, (2, 2)), axis=1)
        width, height = (int(side) for side in chance.integers(1, 40, 2))
        left, top, right, bottom = whole_pixels((x[0], y[0], x[1], y[1]), width, height)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        if x[0] < width and x[1] > 0:
            assert left <= max(x[0], 0)
            assert right >= min(x[1], width)
        if y[0] < height and y[1] > 0:
            assert top <= max(y[0], 0)
            assert bottom >= min(y[1], height)


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("box", [*INSIDE, (0, 0, 1, 1), (119, 99, 120, 100)])
def test_no_pixel_outside_the_box_changes(box: PixelBox, style: Style) -> None:
    pixels, before = noise(), noise()
    redact(pixels, box, style)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = before[top:bottom, left:right]
    assert (pixels == before).all()


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("size", [(2, 2), (3, 2), (6, 6), (7, 5), (40, 40), (110, 9), (9, 90)])
def test_every_style_leaves_hardly_a_pixel_as_it_was(size: tuple[int, int], style: Style) -> None:
    pixels, before = noise(), noise()
    redact(pixels, (5, 5, 5 + size[0], 5 + size[1]), style)
    kept = (pixels == before).all(axis=2)[5 : 5 + size[1], 5 : 5 + size[0]]
    assert kept.mean() <= 0.1


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (6, 6), (13, 11), (120, 100), (120, 3), (3, 100)])
def test_a_mosaic_leaves_few_colours_whatever_the_size(size: tuple[int, int]) -> None:
    pixels = noise()
    redact(pixels, (0, 0, *size), Style.MOSAIC)
    assert colours(pixels[: size[1], : size[0]]) <= MOSAIC_CELLS**2 == 36


def test_a_mosaic_of_a_huge_region_has_as_few_colours() -> None:
    pixels = noise(1900, 1100)
    redact(pixels, (0, 0, 1900, 1100), Style.MOSAIC)
    assert colours(pixels) <= MOSAIC_CELLS**2


def test_a_mosaic_keeps_the_mean_colour() -> None:
    pixels, before = noise(), noise()
    redact(pixels, (0, 0, 120, 60), Style.MOSAIC)
    means = [picture[:60].reshape(-1, 3).mean(axis=0) for picture in (pixels, before)]
    assert means[0] == pytest.approx(means[1], abs=1)


@pytest.mark.parametrize("box", INSIDE)
def test_solid_leaves_nothing(box: PixelBox) -> None:
    pixels = noise()
    redact(pixels, box, Style.SOLID)
    left, top, right, bottom = box
    assert not pixels[top:bottom, left:right].any()


def test_gaussian_is_smooth() -> None:
    def roughness(pixels: Pixels) -> float:
        return float(np.abs(np.diff(pixels.astype(int), axis=1)).mean())

    pixels = noise()
    redact(pixels, (0, 0, 120, 100), Style.GAUSSIAN)
    assert roughness(pixels) < roughness(noise()) / 50


@pytest.mark.parametrize("style", Style)
def test_two_pictures_that_differ_in_fine_detail_only_become_the_same(style: Style) -> None:
    """A chequered pattern and its negative: whoever could tell them apart could read the region."""
    chequered = np.indices((96, 96)).sum(axis=0) % 2 * 255
    one = np.repeat(chequered[..., None], 3, axis=2).astype(np.uint8)
    other = 255 - one
    for pixels in (one, other):
        redact(pixels, (0, 0, 96, 96), style)
    assert np.abs(one.astype(int) - other).max() <= 1
