"""Which boxes are left of those that show one thing, and how few are compared for that."""

import numpy as np
import pytest

from blurline.geometry import Boxes
from blurline.inference.neighbours import Neighbours
from blurline.inference.suppression import BATCH, inside_larger, nms
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


def slow_inside(boxes: Boxes, scores: list[float], classes: list[int], share: float) -> list[bool]:
    """The definition, box by box."""

    def holds(larger: Box, box: Box) -> bool:
        width = min(larger[2], box[2]) - max(larger[0], box[0])
        height = min(larger[3], box[3]) - max(larger[1], box[1])
        return max(width, 0) * max(height, 0) >= share * size(box)

    def size(box: Box) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    rows: list[Box] = [tuple(box) for box in boxes.tolist()]
    return [
        any(
            size(other) > size(box)
            and scores[j] >= scores[i]
            and classes[j] == classes[i]
            and holds(other, box)
            for j, other in enumerate(rows)
        )
        for i, box in enumerate(rows)
    ]


def of_all_sizes(seed: int, count: int) -> Boxes:
    """Boxes with sides of half a pixel to a thousand, in quarters of pixels, in a large picture."""
    chance = np.random.default_rng(seed)
    corner = chance.integers(-400, 8000, (count, 2)) / 4
    size = np.ceil(np.exp2(chance.uniform(1, 12, (count, 2)))) / 4
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def crowd(faces: int, looks: int = 6) -> tuple[Boxes, np.ndarray]:
    """Boxes of faces of 20 pixels in rows and columns 50 pixels apart, each seen several times."""
    chance = np.random.default_rng(faces)
    columns = int(np.ceil(np.sqrt(faces)))
    place = np.repeat(np.arange(faces), looks)
    corner = np.stack([place % columns, place // columns], axis=1) * 50
    corner = corner + chance.integers(-8, 9, corner.shape) / 4
    boxes = np.concatenate([corner, corner + 20], axis=1).astype(np.float32)
    return boxes, chance.permutation(len(boxes)).astype(np.float32) / len(boxes)


def compared(boxes: Boxes, *, least: float, most: float) -> int:
    """How many pairs are looked at if all are asked about their neighbours."""
    neighbours = Neighbours(boxes, np.zeros(len(boxes), np.intp))
    every = np.arange(len(boxes))
    return sum(len(one) for one, _ in neighbours.pairs(every, least=least, most=most))


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


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_of_more_boxes_than_are_compared_at_once_the_same_are_kept(
    threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blurline.inference.suppression.BATCH", 150)
    chance = np.random.default_rng(2)
    boxes = of_all_sizes(2, 600)
    boxes[1::2] = boxes[::2] + chance.integers(-4, 5, (len(boxes) // 2, 1)) / 4
    scores = chance.permutation(len(boxes)).astype(np.float32) / len(boxes)
    classes = chance.choice([0, 1], len(boxes))
    kept = nms(boxes, scores, threshold, classes)
    rows: list[Box] = [tuple(box) for box in boxes.tolist()]
    expected = slow_nms(rows, scores.tolist(), threshold, classes.tolist())
    assert len(expected) < len(boxes) - 100
    assert kept.tolist() == expected


def test_a_crowd_is_one_face_a_place() -> None:
    boxes, scores = crowd(2000)
    kept = nms(boxes, scores, 0.3, np.zeros(len(boxes), np.intp))
    assert sorted((kept // 6).tolist()) == list(range(2000))
    best = scores.reshape(2000, 6).argmax(axis=1)
    assert set(kept.tolist()) == set((np.arange(2000) * 6 + best).tolist())


@pytest.mark.parametrize("seed", range(4))
def test_boxes_inside_larger_ones_are_the_obvious_ones(seed: int) -> None:
    chance = np.random.default_rng(seed)
    boxes = of_all_sizes(seed, 200)
    scores = chance.choice([0.2, 0.5, 0.9], 200).astype(np.float32)
    classes = chance.choice([0, 7], 200)
    inside = inside_larger(boxes, scores, classes)
    assert 10 < inside.sum() < 190
    assert inside.tolist() == slow_inside(boxes, scores.tolist(), classes.tolist(), 0.9)


def test_no_pair_of_boxes_that_meet_is_missing() -> None:
    boxes = of_all_sizes(9, 300)
    found: set[tuple[int, int]] = set()
    for one, other in Neighbours(boxes, np.zeros(300, np.intp)).pairs(
        np.arange(300), least=0, most=np.inf
    ):
        found |= set(zip(one.tolist(), other.tolist(), strict=True))
    rows: list[Box] = [tuple(box) for box in boxes.tolist()]
    meeting = {(i, j) for i in range(300) for j in range(300) if iou(rows[i], rows[j]) > 0}
    assert meeting <= found


@pytest.mark.parametrize(("least", "most"), [(0.3, 1 / 0.3), (0.9, np.inf)])
def test_four_times_the_crowd_is_four_times_the_work(least: float, most: float) -> None:
    few, many = (compared(crowd(faces)[0], least=least, most=most) for faces in (900, 3600))
    assert few < 900 * 6 * 60
    assert many < 4.5 * few


def test_one_box_as_large_as_the_picture_makes_no_more_work_for_all_others() -> None:
    boxes, _ = crowd(900)
    with_one = np.concatenate([boxes, boxes_of((0, 0, 1500, 1500))])
    for least, most in ((0.3, 1 / 0.3), (0.9, np.inf)):
        before, after = (compared(one, least=least, most=most) for one in (boxes, with_one))
        assert after <= before + 2 * len(with_one)


def test_boxes_that_are_no_numbers_do_no_harm() -> None:
    boxes = boxes_of(*[(0, 0, 10, 10)] * (BATCH + 1))
    boxes[5], boxes[6] = (np.nan, 0, np.inf, 3), (-np.inf, -np.inf, np.inf, np.inf)
    scores = np.linspace(1, 0, len(boxes), dtype=np.float32)
    classes = np.zeros(len(boxes), np.intp)
    with np.errstate(invalid="ignore"):
        assert 0 in nms(boxes, scores, 0.3, classes)
        assert inside_larger(boxes, scores, classes).shape == scores.shape


def test_no_boxes_are_no_trouble() -> None:
    none, scores, classes = boxes_of(), np.empty(0, np.float32), np.empty(0, np.intp)
    assert nms(none, scores, 0.5, classes).tolist() == []
    assert inside_larger(none, scores, classes).tolist() == []
