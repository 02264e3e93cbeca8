"""Boxes as numpy arrays of shape (n, 4): left, top, right, bottom in pixels, as pure functions."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
Scores = NDArray[np.float32]


def grow(boxes: Boxes, margin: float) -> Boxes:
    """Boxes made wider by `margin` of their width on either side, and likewise higher.

    >>> grow(np.array([[10, 20, 30, 60]], np.float32), 0.1).tolist()
    [[8.0, 16.0, 32.0, 64.0]]
    """
    dx = (boxes[:, 2] - boxes[:, 0]) * margin
    dy = (boxes[:, 3] - boxes[:, 1]) * margin
    return np.asarray(boxes + np.stack([-dx, -dy, dx, dy], axis=1), dtype=np.float32)


def clip(boxes: Boxes, width: int, height: int) -> Boxes:
    """Boxes cut to the picture of `width` by `height` pixels.

    >>> clip(np.array([[-5, 2, 30, 99]], np.float32), 20, 10).tolist()
    [[0.0, 2.0, 20.0, 10.0]]
    """
    most = np.array([width, height, width, height], np.float32)
    return np.asarray(np.clip(boxes, 0, most), dtype=np.float32)


def iou(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each of n boxes with each of m others, shape (n, m), 0 to 1."""
    left_top = np.maximum(boxes[:, None, :2], others[None, :, :2])
    right_bottom = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.clip(right_bottom - left_top, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(boxes)[:, None] + area(others)[None, :] - intersection
    return np.asarray(intersection / np.maximum(union, 1e-9), dtype=np.float32)


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Area of each box in square pixels, shape (n,); 0 for one turned inside out."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def nms(
    boxes: Boxes, scores: Scores, threshold: float, classes: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes to keep, best score first.

    A box is dropped when its IoU with a better one of the same class is above `threshold`.
    Without `classes` all boxes are of one class.
    """
    if len(boxes) == 0:
        return np.empty(0, dtype=np.intp)
    if classes is not None:
        # Classes that lie in places of their own never meet, so one pass serves them all.
        offset = (boxes.max() - min(float(boxes.min()), 0.0) + 1) * classes.astype(np.float32)
        boxes = boxes + offset[:, None]
    order = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while len(order) > 0:
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[iou(boxes[best][None], boxes[rest])[0] <= threshold]
    return np.array(kept, dtype=np.intp)
