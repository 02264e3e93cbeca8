"""From single labels to the figures of a table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from blurline.evaluation.contender import Redacted
from blurline.evaluation.coverage import COVERED, covered_shares, over_blur
from blurline.evaluation.dataset import LabelledPicture

SHORT_SIDES = (0, 8, 12, 16, 24, 48, inf)
"""Edges of the bands of a label's shorter side, in pixels of the picture."""

WIDTHS = (0, 16, 32, 64, inf)
"""Edges of the bands of a label's width, in pixels of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """How one picture came out for one target.

    Attributes:
        sides: width and height of each label in pixels, shape (n, 2).
        covered: whether each label is covered, shape (n,).
        over_blur: share of the picture's area, 0 to 1.
        redactions: number of regions.
    """

    sides: NDArray[np.float32]
    covered: NDArray[np.bool_]
    over_blur: float
    redactions: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Band:
    """Labels of one size, from `at_least` to less than `below` pixels; None: no upper end."""

    at_least: float
    below: float | None
    labels: int
    covered: int


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one threshold would give."""

    threshold: float
    covered: int
    over_blur: float
    redactions_per_picture: float


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one contender for one target on one or several sets.

    Attributes:
        labels: labels that count; where there is none, every redaction is a false alarm.
        over_blur: mean share of the pictures' area, 0 to 1.
        cpu_ms: mean of a picture; None where several pictures ran at a time.
        curve: the same figures at other thresholds; empty where they were not asked for.
    """

    contender: str
    target: str
    pictures: int
    labels: int
    covered: int
    short_sides: tuple[Band, ...]
    widths: tuple[Band, ...]
    over_blur: float
    redactions_per_picture: float
    cpu_ms: float | None
    curve: tuple[CurvePoint, ...] = ()


def recall(counts: Row | Band) -> float | None:
    """Share of the labels that are covered, None where there are none."""
    return counts.covered / counts.labels if counts.labels else None


def marks(
    picture: LabelledPicture, labels: Collection[str], redacted: Redacted, target: str
) -> Marks:
    """How one picture came out for the target that has these labels.

    A label is covered by whatever lies over it, be it another target's redaction; over-blur and
    redactions are those of the target alone.
    """
    boxes = picture.boxes_of(labels, ignored=False)
    anything = np.logical_or.reduce(list(redacted.masks.values()))
    return Marks(
        sides=boxes[:, 2:] - boxes[:, :2],
        covered=covered_shares(boxes, anything) >= COVERED,
        over_blur=over_blur(picture.boxes_of(labels, ignored=True), redacted.masks[target]),
        redactions=redacted.regions[target],
        cpu_seconds=redacted.cpu_seconds,
    )


def row(contender: str, target: str, pictures: Sequence[Marks], *, timed: bool) -> Row:
    """The figures of at least one picture; `timed` where the CPU seconds mean something."""
    sides = np.concatenate([one.sides for one in pictures])
    covered = np.concatenate([one.covered for one in pictures])
    return Row(
        contender=contender,
        target=target,
        pictures=len(pictures),
        labels=len(covered),
        covered=int(covered.sum()),
        short_sides=_bands(SHORT_SIDES, sides.min(axis=1), covered),
        widths=_bands(WIDTHS, sides[:, 0], covered),
        over_blur=round(fmean(one.over_blur for one in pictures), 6),
        redactions_per_picture=round(fmean(one.redactions for one in pictures), 4),
        cpu_ms=round(1000 * fmean(one.cpu_seconds for one in pictures), 2) if timed else None,
    )


def curve_point(threshold: float, pictures: Sequence[Marks]) -> CurvePoint:
    """The figures of at least one picture at one threshold."""
    return CurvePoint(
        threshold=threshold,
        covered=int(sum(one.covered.sum() for one in pictures)),
        over_blur=round(fmean(one.over_blur for one in pictures), 6),
        redactions_per_picture=round(fmean(one.redactions for one in pictures), 4),
    )


def _bands(
    edges: Sequence[float], lengths: NDArray[np.float32], covered: NDArray[np.bool_]
) -> tuple[Band, ...]:
    bands = []
    for at_least, below in pairwise(edges):
        inside = (lengths >= at_least) & (lengths < below)
        counts = int(inside.sum()), int(covered[inside].sum())
        bands.append(Band(at_least, None if below == inf else below, *counts))
    return tuple(bands)
