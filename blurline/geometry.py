"""Boxes as numpy arrays of shape (n, 4): left, top, right, bottom in pixels, as pure functions."""

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


def turned_back(boxes: Boxes, turns: int, width: int, height: int) -> Boxes:
    """Boxes of a picture that `numpy.rot90` turned so often, as boxes of the picture before.

    That is of `width` by `height` pixels.

    >>> turned_back(np.array([[1, 2, 3, 6]], np.float32), 1, 20, 10).tolist()
    [[14.0, 1.0, 18.0, 3.0]]
    """
    left, top, right, bottom = boxes.T
    corners = {
        0: (left, top, right, bottom),
        1: (width - bottom, left, width - top, right),
        2: (width - right, height - bottom, width - left, height - top),
        3: (top, height - right, bottom, height - left),
    }
    return np.stack(corners[turns % 4], axis=1).astype(np.float32)


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Area of each box in square pixels, shape (n,); 0 for one turned inside out."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def shared_area(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """What each box has in common with the other one in its place, in square pixels, shape (n,).

    >>> one, other = np.array([[[0, 0, 4, 4]], [[2, 1, 9, 9]]], np.float32)
    >>> shared_area(one, other).tolist()
    [6.0]
    """
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    return np.asarray(np.clip(sides, 0, None).prod(axis=1), dtype=np.float32)
