"""How much of what is labelled lies in redacted pixels, as pure functions.

The measure looks at pixels, not at boxes: a label is covered when at least `COVERED` of its area is
redacted, by however many regions. What is redacted away from all labels is over-blur.
"""

from collections.abc import Iterable, Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from blurline.geometry import Boxes, clip, grow
from blurline.redaction.styles import PixelBox

COVERED = 0.85
"""Share of a label's area that has to be redacted."""

GROWN = 0.3
"""Labels are grown by this share of their size on each side before over-blur is counted."""

Mask = NDArray[np.bool_]
"""Which pixels are redacted, shape (height, width)."""


def mask_of(boxes: Iterable[PixelBox], width: int, height: int) -> Mask:
    """The pixels that lie in any of the boxes."""
    mask = np.zeros((height, width), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def covered_shares(boxes: Boxes, mask: Mask) -> NDArray[np.float64]:
    """Share of each box's area, 0 to 1, that lies in redacted pixels, shape (n,).

    A pixel that a box covers in part counts in part. Boxes lie inside the picture and are not
    empty.

    >>> covered_shares(np.array([[0.5, 0, 2.5, 1]], np.float32), np.array([[True, True, False]]))
    array([0.75])
    """
    return np.array([_covered_share(box, mask) for box in boxes.tolist()], np.float64)


def over_blur(boxes: Boxes, mask: Mask) -> float:
    """Share of the picture's area, 0 to 1, that is redacted outside all boxes grown by `GROWN`."""
    height, width = mask.shape
    outside = mask.copy()
    for x1, y1, x2, y2 in clip(grow(boxes, GROWN), width, height).tolist():
        outside[floor(y1) : ceil(y2), floor(x1) : ceil(x2)] = False
    return float(np.count_nonzero(outside)) / outside.size


def _covered_share(box: Sequence[float], mask: Mask) -> float:
    left, top, right, bottom = box
    inside = mask[floor(top) : ceil(bottom), floor(left) : ceil(right)]
    redacted = _lengths(top, bottom) @ inside @ _lengths(left, right)
    return float(redacted) / ((right - left) * (bottom - top))


def _lengths(start: float, end: float) -> NDArray[np.float64]:
    """How much of each pixel that a stretch touches lies in it, 0 to 1."""
    places = np.arange(floor(start), ceil(end))
    return np.asarray(np.minimum(places + 1, end) - np.maximum(places, start), np.float64)
