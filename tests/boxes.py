"""Boxes number by number, as a check on the package's arrays."""

from collections.abc import Sequence

Box = tuple[float, float, float, float]


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes, by its definition."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / both if both else 0.0


def best_iou(box: Sequence[float], others: Sequence[Sequence[float]]) -> float:
    """The largest with any of the others; 0 if there are none."""
    return max((iou(box, other) for other in others), default=0.0)
