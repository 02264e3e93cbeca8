"""What counts as covered, and what as too much, pixel by pixel."""

import numpy as np
import pytest

from blurline.evaluation.coverage import COVERED, covered_shares, mask_of, over_blur
from blurline.geometry import Boxes
from blurline.redaction.styles import PixelBox


def boxes(*sides: tuple[float, float, float, float]) -> Boxes:
    return np.array(sides, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("regions", "share"),
    [
        ([], 0.0),
        ([(0, 0, 100, 80)], 1.0),
        ([(10, 10, 30, 20)], 1.0),
        ([(10, 10, 27, 20)], 0.85),
        ([(10, 10, 30, 15)], 0.5),
        ([(30, 10, 60, 20)], 0.0),
        # What two regions cover together counts, and counts once.
        ([(10, 10, 20, 20), (20, 10, 30, 20)], 1.0),
        ([(10, 10, 25, 20), (15, 10, 25, 20)], 0.75),
    ],
)
def test_a_label_is_covered_as_far_as_its_area_is_redacted(
    regions: list[PixelBox], share: float
) -> None:
    mask = mask_of(regions, 100, 80)

    assert covered_shares(boxes((10, 10, 30, 20)), mask).tolist() == [pytest.approx(share)]


@pytest.mark.parametrize(
    ("label", "share"),
    [((9.5, 10, 10.5, 11), 0.5), ((9.9, 10, 10.1, 20), 0.5), ((10.2, 10.7, 10.4, 10.9), 1.0)],
)
def test_a_pixel_that_a_label_touches_counts_for_that_part(
    label: tuple[float, float, float, float], share: float
) -> None:
    mask = mask_of([(10, 0, 100, 80)], 100, 80)

    assert covered_shares(boxes(label), mask).tolist() == [pytest.approx(share, rel=1e-4)]


def test_no_labels_have_no_shares() -> None:
    assert covered_shares(boxes(), mask_of([], 10, 10)).shape == (0,)


def test_a_label_just_under_the_bar_is_missed() -> None:
    mask = mask_of([(0, 0, 84, 100)], 100, 100)

    assert covered_shares(boxes((0, 0, 100, 100)), mask)[0] < COVERED


@pytest.mark.parametrize(
    ("labels", "regions", "share"),
    [
        ([], [], 0.0),
        ([], [(0, 0, 50, 40)], 0.5),
        ([(40, 10, 50, 20)], [(40, 10, 50, 20)], 0.0),
        # 30 % of each side around a label is free.
        ([(40, 10, 50, 20)], [(37, 7, 53, 23)], 0.0),
        ([(40, 10, 50, 20)], [(36, 7, 53, 23)], 16 / 4000),
        ([(40, 10, 50, 20)], [(60, 0, 70, 40)], 0.1),
        # Regions over each other redact their area once.
        ([], [(0, 0, 50, 40), (0, 0, 50, 20)], 0.5),
        ([(0, 0, 9, 9)], [(0, 0, 5, 5)], 0.0),
    ],
)
def test_over_blur_is_what_is_redacted_away_from_all_labels(
    labels: list[tuple[float, float, float, float]], regions: list[PixelBox], share: float
) -> None:
    mask = mask_of(regions, 100, 40)

    assert over_blur(boxes(*labels), mask) == pytest.approx(share)
