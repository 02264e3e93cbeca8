"""Which of a picture's boxes are left of those that show one thing, as pure functions.

A crowd has tens of thousands of them, so that nothing here asks each about each other.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.geometry import Boxes, Scores, area, shared_area
from blurline.inference.neighbours import Indices, Neighbours

BATCH = 2048
"""Boxes that are compared each with each, best ones first. OpenCV does so in some milliseconds."""


def nms(boxes: Boxes, scores: Scores, threshold: float, classes: NDArray[np.intp]) -> Indices:
    """Greedy non-maximum suppression: indices of the boxes to keep, best score first.

    A box is dropped when its IoU with a better one of the same class is above `threshold`.

    The best that are left are compared among themselves, and what is kept of them drops whatever it
    meets among all others. So the outcome is that of comparing each with each.
    """
    left = np.argsort(-scores, kind="stable")
    if len(left) <= BATCH:
        return _greedy(boxes, scores, threshold, classes)
    neighbours = Neighbours(boxes, classes)
    # Boxes of an IoU above the threshold differ in each of their sides by no more than this.
    most = 1 / max(threshold, 1e-6)
    dropped = np.zeros(len(boxes), np.bool_)
    kept = [left[:0]]
    while len(left):
        best = left[:BATCH]
        kept.append(best[_greedy(boxes[best], scores[best], threshold, classes[best])])
        dropped[best] = True
        for one, other in neighbours.pairs(kept[-1], least=1 / most, most=most):
            dropped[other[iou(boxes[one], boxes[other]) > threshold]] = True
        left = left[~dropped[left]]
    return np.concatenate(kept)


def inside_larger(
    boxes: Boxes, scores: Scores, classes: NDArray[np.intp], share: float = 0.9
) -> NDArray[np.bool_]:
    """Of each box whether at least `share` of it lies in one larger, no less sure box of its class.

    Whatever threshold would keep the box keeps the larger one too.

    >>> boxes = np.array([[0, 0, 10, 10], [1, 1, 5, 5], [2, 2, 6, 6]], np.float32)
    >>> scores = np.array([0.5, 0.4, 0.9], np.float32)
    >>> inside_larger(boxes, scores, np.zeros(3, np.intp)).tolist()
    [False, True, False]
    """
    areas = area(boxes)
    inside = np.zeros(len(boxes), dtype=np.bool_)
    # A larger one that holds so much of a box is hardly shorter than it on either side.
    every = np.arange(len(boxes))
    for one, other in Neighbours(boxes, classes).pairs(every, least=share, most=np.inf):
        rivals = (areas[other] > areas[one]) & (scores[other] >= scores[one])
        one, other = one[rivals], other[rivals]
        holds = shared_area(boxes[one], boxes[other]) >= share * areas[one]
        inside[one[holds]] = True
    return inside


def iou(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of each box with the other one in its place, shape (n,)."""
    shared = shared_area(boxes, others).astype(np.float64)
    union = area(boxes).astype(np.float64) + area(others) - shared
    return np.asarray(shared / np.where(union > 0, union, 1))


def _greedy(boxes: Boxes, scores: Scores, threshold: float, classes: NDArray[np.intp]) -> Indices:
    """`nms` of a few boxes. The loop over them is OpenCV's, outside the GIL."""
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        rectangles.astype(np.float64).tolist(),
        scores.tolist(),
        classes.tolist(),
        score_threshold=-1.0,
        nms_threshold=threshold,
    )
    return np.array(kept, dtype=np.intp)
