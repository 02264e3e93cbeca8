"""Boxes as numpy arrays of shape (n, 4): left, top, right, bottom in pixels, as pure functions."""

import cv2
import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
Scores = NDArray[np.float32]
Margin = float | tuple[float, float, float, float]
"""What is added to a box, in shares of its width and height: on every side alike, or left, top,
right and bottom."""


def grow(boxes: Boxes, margin: Margin) -> Boxes:
    """Boxes made larger by `margin`.

    >>> grow(np.array([[10, 20, 30, 60]], np.float32), 0.1).tolist()
    [[8.0, 16.0, 32.0, 64.0]]
    >>> grow(np.array([[10, 20, 30, 60]], np.float32), (0, 0, 0, 0.5)).tolist()
    [[10.0, 20.0, 30.0, 80.0]]
    """
    left, top, right, bottom = margin if isinstance(margin, tuple) else (margin,) * 4
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    outwards = [-left * width, -top * height, right * width, bottom * height]
    return np.asarray(boxes + np.stack(outwards, axis=1), dtype=np.float32)


def clip(boxes: Boxes, width: int, height: int) -> Boxes:
    """Boxes cut to the picture of `width` by `height` pixels.

    >>> clip(np.array([[-5, 2, 30, 99]], np.float32), 20, 10).tolist()
    [[0.0, 2.0, 20.0, 10.0]]
    """
    most = np.array([width, height, width, height], np.float32)
    return np.asarray(np.clip(boxes, 0, most), dtype=np.float32)


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
    # Row by row, since thousands of boxes at once would take gigabytes.
    for index, box in enumerate(boxes):
        larger = (areas > areas[index]) & (scores >= scores[index])
        rivals = boxes[larger & (classes == classes[index])]
        sides = np.minimum(box[2:], rivals[:, 2:]) - np.maximum(box[:2], rivals[:, :2])
        shared = np.clip(sides, 0, None).prod(axis=1)
        inside[index] = bool((shared >= share * areas[index]).any())
    return inside


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Area of each box in square pixels, shape (n,); 0 for one turned inside out."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def nms(
    boxes: Boxes, scores: Scores, threshold: float, classes: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes to keep, best score first.

    A box is dropped when its IoU with a better one of the same class is above `threshold`.
    """
    # A crowd has thousands of candidates, so the loop over them is OpenCV's, outside the GIL.
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        rectangles.astype(np.float64).tolist(),
        scores.tolist(),
        classes.tolist(),
        score_threshold=-1.0,
        nms_threshold=threshold,
    )
    return np.array(kept, dtype=np.intp)
