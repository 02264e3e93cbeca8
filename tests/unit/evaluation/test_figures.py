"""From labels and masks to the figures of a row."""

from pathlib import Path

import numpy as np
import pytest

from blurline.evaluation.contender import Redacted
from blurline.evaluation.coverage import mask_of
from blurline.evaluation.dataset import LabelledBox, LabelledPicture
from blurline.evaluation.figures import Marks, curve_point, marks, recall, row
from blurline.redaction.styles import PixelBox

FACE = frozenset({"face"})


def picture(*boxes: LabelledBox) -> LabelledPicture:
    return LabelledPicture(Path("a.jpg"), 100, 100, boxes)


def redacted(cpu_seconds: float = 0.0, **regions: list[PixelBox]) -> Redacted:
    masks = {name: mask_of(boxes, 100, 100) for name, boxes in regions.items()}
    counts = {name: len(boxes) for name, boxes in regions.items()}
    return Redacted(masks, counts, cpu_seconds)


def seen(sides: list[tuple[float, float]], covered: list[bool], over_blur: float = 0.0) -> Marks:
    shape = np.array(sides, np.float32).reshape(-1, 2)
    return Marks(shape, np.array(covered, np.bool_), over_blur, len(sides), 0.002)


def test_an_ignored_label_is_neither_hit_nor_miss_nor_over_blur() -> None:
    labels = picture(LabelledBox("face", (10, 10, 30, 30), ignored=True))

    found = marks(labels, FACE, redacted(face=[(10, 10, 30, 30)]), "face")

    assert len(found.covered) == 0
    assert found.over_blur == 0


def test_a_label_is_covered_by_whatever_lies_over_it() -> None:
    labels = picture(LabelledBox("face", (10, 10, 30, 30)))

    found = marks(labels, FACE, redacted(face=[], car=[(0, 0, 50, 50)]), "face")

    assert found.covered.tolist() == [True]
    assert (found.over_blur, found.redactions) == (0, 0)


def test_labels_of_another_target_do_not_count() -> None:
    labels = picture(LabelledBox("license_plate", (10, 10, 30, 30)))

    found = marks(labels, FACE, redacted(face=[(10, 10, 30, 30)]), "face")

    assert len(found.covered) == 0
    assert found.over_blur == pytest.approx(0.04)


def test_a_label_belongs_to_the_band_of_its_shorter_side() -> None:
    sides = [(7.9, 50), (50, 8), (12, 12), (16, 90), (24, 25), (48, 48)]
    covered = [False, True, False, True, False, True]

    bands = row("fast", "face", [seen(sides, covered)], timed=True).short_sides

    assert [(band.at_least, band.below) for band in bands] == [
        (0, 8),
        (8, 12),
        (12, 16),
        (16, 24),
        (24, 48),
        (48, None),
    ]
    assert [(band.labels, band.covered) for band in bands] == [(1, int(hit)) for hit in covered]


def test_a_label_also_belongs_to_the_band_of_its_width() -> None:
    sides = [(15.9, 99), (16, 1), (32, 1), (64, 1), (500, 1)]

    bands = row("fast", "face", [seen(sides, [True] * 5)], timed=True).widths

    assert [band.labels for band in bands] == [1, 1, 1, 2]


def test_recall_is_of_labels_and_the_rest_a_mean_of_pictures() -> None:
    pictures = [seen([(9, 9)] * 3, [True, True, False], 0.1), seen([(9, 9)], [False]), seen([], [])]

    found = row("fast", "face", pictures, timed=True)

    assert (found.labels, found.covered, recall(found)) == (4, 2, 0.5)
    assert found.over_blur == pytest.approx(0.1 / 3, abs=1e-6)
    assert found.redactions_per_picture == pytest.approx(4 / 3, abs=1e-4)
    assert found.cpu_ms == 2.0
    point = curve_point(0.3, pictures)
    assert (point.covered, point.over_blur) == (found.covered, found.over_blur)


def test_without_labels_there_is_no_recall() -> None:
    assert recall(row("fast", "face", [seen([], [])], timed=True)) is None


def test_cpu_times_are_not_told_where_they_mean_nothing() -> None:
    assert row("fast", "face", [seen([], [])], timed=False).cpu_ms is None
