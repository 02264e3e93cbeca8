"""Boxes as numbers: growing, clipping and suppression."""

import numpy as np
import pytest

from blurline.geometry import Boxes, area, clip, grow, nms
from tests.boxes import Box, iou


def boxes_of(*rows: Box) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


def slow_nms(
    boxes: list[Box], scores: list[float], threshold: float, classes: list[int]
) -> list[int]:
    """The definition, box by box."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        rivals = (k for k in kept if classes[k] == classes[i])
        if all(iou(boxes[k], boxes[i]) <= threshold for k in rivals):
            kept.append(i)
    return kept


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


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_suppression_is_the_obvious_one(seed: int, threshold: float) -> None:
    chance = np.random.default_rng(seed)
    # Quarters of pixels, so that both ways of counting are exact.
    corner = chance.integers(-80, 2400, (60, 2)) / 4
    size = chance.integers(1, 1200, (60, 2)) / 4
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores = chance.permutation(60).astype(np.float32) / 60
    classes = chance.choice([0, 1, 2, 79], 60)
    kept = nms(boxes, scores, threshold, classes)
    rows = [tuple(box) for box in boxes.tolist()]
    assert kept.tolist() == slow_nms(rows, scores.tolist(), threshold, classes.tolist())


def test_suppression_keeps_equal_boxes_of_different_classes() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 10))
    scores = np.array([0.5, 0.9], np.float32)
    assert nms(boxes, scores, 0.5, np.array([0, 1])).tolist() == [1, 0]
    assert nms(boxes, scores, 0.5, np.array([1, 1])).tolist() == [1]


def test_suppression_keeps_a_box_that_overlaps_by_just_the_threshold() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 5))
    scores = np.array([0.9, 0.8], np.float32)
    one_class = np.zeros(2, np.intp)
    assert nms(boxes, scores, 0.5, one_class).tolist() == [0, 1]
    assert nms(boxes, scores, 0.49, one_class).tolist() == [0]


def test_a_box_of_no_confidence_is_not_suppressed() -> None:
    kept = nms(boxes_of((0, 0, 5, 5)), np.zeros(1, np.float32), 0.5, np.zeros(1, np.intp))
    assert kept.tolist() == [0]


def test_no_boxes_are_no_trouble() -> None:
    none = boxes_of()
    assert nms(none, np.empty(0, np.float32), 0.5, np.empty(0, np.intp)).tolist() == []
    assert grow(none, 0.1).shape == clip(none, 9, 9).shape == (0, 4)
