"""Polygons: what lies inside them, and which pixels they touch."""

import numpy as np
import pytest
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels
from blurline.redaction.polygons import (
    holds,
    near_an_edge,
    points_inside,
    polygon_mask,
    share_inside,
)
from blurline.redaction.region import redact
from blurline.redaction.styles import PixelBox, Style, whole_pixels
from blurline.redaction.zones import FloatBox, Polygon, bounds, scaled

SQUARE: Polygon = ((0, 0), (10, 0), (10, 10), (0, 10))
TRIANGLE: Polygon = ((0, 0), (10, 0), (0, 10))
BOW_TIE: Polygon = ((0, 0), (10, 10), (10, 0), (0, 10))
U_SHAPE: Polygon = ((0, 0), (10, 0), (10, 10), (6, 10), (6, 4), (4, 4), (4, 10), (0, 10))
TWICE_ROUND: Polygon = SQUARE + SQUARE
LINE: Polygon = ((0, 0), (5, 5), (10, 10))


def inside(x: NDArray[np.float64], y: NDArray[np.float64], polygon: Polygon) -> NDArray[np.bool_]:
    """Whether each point lies inside, by counting the edges to the right of it one by one."""
    result = np.zeros(np.broadcast(x, y).shape, np.bool_)
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if y1 != y2:
            result ^= ((y1 <= y) != (y2 <= y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return result


def random_polygons(count: int) -> list[Polygon]:
    """Of 3 to 12 points from 0 to 1; most of them cross themselves."""
    chance = np.random.default_rng(5)
    return [
        tuple(map(tuple, chance.uniform(0, 1, (chance.integers(3, 13), 2)).tolist()))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("box", "polygon", "share"),
    [
        ((2, 2, 4, 4), SQUARE, 1),
        ((0, 0, 10, 10), SQUARE, 1),
        ((5, 5, 15, 15), SQUARE, 0.25),
        ((-10, -10, 20, 20), SQUARE, 1 / 9),
        ((11, 0, 12, 10), SQUARE, 0),
        ((0, 11, 10, 12), SQUARE, 0),
        ((0, 0, 10, 10), SQUARE[::-1], 1),
        ((0, 0, 10, 10), TRIANGLE, 0.5),
        ((0, 0, 5, 5), TRIANGLE, 1),
        ((5, 5, 10, 10), TRIANGLE, 0),
        ((0, 0, 10, 10), BOW_TIE, 0.5),
        ((0, 0, 10, 10), U_SHAPE, 0.88),
        ((4, 5, 6, 9), U_SHAPE, 0),
        ((0, 0, 10, 10), TWICE_ROUND, 0),
        ((0, 0, 10, 10), LINE, 0),
    ],
)
def test_a_share_is_that_of_the_area_by_the_even_odd_rule(
    box: FloatBox, polygon: Polygon, share: float
) -> None:
    assert share_inside(box, polygon) == pytest.approx(share, abs=0.004)


def test_shares_agree_with_counted_points() -> None:
    chance = np.random.default_rng(6)
    for polygon in random_polygons(200):
        left, right = np.sort(chance.uniform(-0.2, 1.2, 2))
        top, bottom = np.sort(chance.uniform(-0.2, 1.2, 2))
        steps = (np.arange(300) + 0.5) / 300
        x, y = left + (right - left) * steps, top + (bottom - top) * steps[:, None]
        counted = inside(x, y, polygon).mean()
        assert share_inside((left, top, right, bottom), polygon) == pytest.approx(counted, abs=0.01)


def test_a_box_that_no_edge_runs_through_is_inside_or_outside_as_its_middle_is() -> None:
    chance = np.random.default_rng(8)
    corner = chance.uniform(-0.2, 1.2, (300, 2))
    boxes = np.concatenate([corner, corner + chance.uniform(0.01, 0.1, (300, 2))], axis=1)
    for polygon in random_polygons(20):
        near = near_an_edge(polygon, boxes)
        middles = points_inside(polygon, (boxes[:, :2] + boxes[:, 2:]) / 2)
        shares = np.array([share_inside((a, b, c, d), polygon) for a, b, c, d in boxes.tolist()])
        assert 0 < near.sum() < 300
        assert shares[~near] == pytest.approx(middles[~near].astype(float), abs=1e-6)


@pytest.mark.parametrize(
    ("right", "held"), [(9.0, True), (10.0, True), (10.1, True), (10.3, False), (30.0, False)]
)
def test_a_box_is_held_if_no_more_than_a_hair_of_it_pokes_out(right: float, held: bool) -> None:
    assert holds(SQUARE, (0, 0, right, 10)) is held


def test_bounds_and_scale_are_those_of_the_corners() -> None:
    polygon = scaled(((0.25, 0.5), (1.0, 0.5), (0.5, 0.75)), 200, 100)
    assert polygon == ((50, 50), (200, 50), (100, 75))
    assert bounds(polygon) == (50, 50, 200, 75)


def test_every_pixel_that_a_polygon_touches_is_in_its_mask() -> None:
    chance, fine = np.random.default_rng(7), 5
    for polygon in random_polygons(200):
        width, height = (int(side) for side in chance.integers(1, 90, 2))
        corners = scaled(polygon, width, height)
        left, top, right, bottom = whole_pixels(bounds(corners), width, height)
        mask = np.zeros((height, width), np.bool_)
        mask[top:bottom, left:right] = polygon_mask(corners, (left, top, right, bottom))
        x, y = (np.arange(width * fine) + 0.5) / fine, (np.arange(height * fine) + 0.5) / fine
        points = inside(x, y[:, None], corners).reshape(height, fine, width, fine)
        assert mask[points.any(axis=(1, 3))].all()


@pytest.mark.parametrize("box", [(0, 0, 10, 7), (3, 2, 9, 6), (9, 6, 10, 7)])
def test_the_mask_of_a_rectangle_is_all_of_its_box(box: PixelBox) -> None:
    left, top, right, bottom = box
    polygon = ((left, top), (right, top), (right, bottom), (left, bottom))
    assert polygon_mask(polygon, box).all()


def test_the_mask_of_a_polygon_stays_close_to_it() -> None:
    mask = polygon_mask(scaled(TRIANGLE, 10, 10), (0, 0, 100, 100))
    below = np.add.outer(np.arange(100), np.arange(100)) > 103
    assert not mask[below].any()


def test_the_mask_of_a_star_leaves_out_its_middle() -> None:
    turns = np.arange(5) * 2 * 2 * np.pi / 5
    star = tuple(zip(50 + 49 * np.sin(turns), 50 - 49 * np.cos(turns), strict=True))
    mask = polygon_mask(star, (0, 0, 100, 100))
    assert not mask[45:55, 45:55].any()
    assert mask[15:25, 50].all()


@pytest.mark.parametrize("style", Style)
def test_redaction_with_a_mask_leaves_all_other_pixels(style: Style) -> None:
    pixels: Pixels = np.random.default_rng(8).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    before, whole = pixels.copy(), pixels.copy()
    mask = np.random.default_rng(9).random((40, 50)) < 0.5
    redact(pixels, (20, 10, 70, 50), style, mask)
    redact(whole, (20, 10, 70, 50), style)
    expected = before.copy()
    expected[10:50, 20:70][mask] = whole[10:50, 20:70][mask]
    assert (pixels == expected).all()
