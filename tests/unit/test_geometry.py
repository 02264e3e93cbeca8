"""Boxes as numbers: growing, clipping, areas."""

import numpy as np
import pytest

from blurline.geometry import Boxes, area, clip, grow, shared_area
from tests.boxes import Box


def boxes_of(*rows: Box) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("box", "margin", "grown"),
    [
        ((10, 20, 30, 60), 0, (10, 20, 30, 60)),
        ((10, 20, 30, 60), 0.1, (8, 16, 32, 64)),
        ((10, 20, 30, 60), 0.5, (0, 0, 40, 80)),
        ((0, 0, 10, 10), 0.2, (-2, -2, 12, 12)),
        ((5, 5, 5, 5), 0.2, (5, 5, 5, 5)),
    ],
)
def test_a_box_grows_by_its_own_size_on_every_side(box: Box, margin: float, grown: Box) -> None:
    assert grow(boxes_of(box), margin)[0].tolist() == pytest.approx(grown)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-5, 2, 30, 99), (0, 2, 20, 10)),
        ((-9, -9, -1, -1), (0, 0, 0, 0)),
        ((25, 15, 30, 20), (20, 10, 20, 10)),
        ((0, 0, 20, 10), (0, 0, 20, 10)),
    ],
)
def test_a_box_is_cut_to_the_picture(box: Box, clipped: Box) -> None:
    assert clip(boxes_of(box), 20, 10).tolist() == [list(clipped)]


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 4, 5), 20), ((3, 3, 3, 9), 0), ((9, 9, 1, 1), 0), ((-2, -2, 2, 2), 16)],
)
def test_the_area_is_never_negative(box: Box, expected: float) -> None:
    assert area(boxes_of(box)).tolist() == [expected]


def test_what_boxes_share_is_never_negative() -> None:
    one = boxes_of((0, 0, 4, 5), (0, 0, 4, 5), (3, 3, 9, 9))
    other = boxes_of((2, 1, 9, 3), (5, 6, 7, 8), (0, 0, 1, 9))
    assert shared_area(one, other).tolist() == [4, 0, 0]


def test_no_boxes_are_no_trouble() -> None:
    none = boxes_of()
    assert grow(none, 0.1).shape == clip(none, 9, 9).shape == (0, 4)
    assert area(none).shape == shared_area(none, none).shape == (0,)
