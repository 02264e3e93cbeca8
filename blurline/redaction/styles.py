"""The styles of redaction, as functions on the pixels of one region."""

from enum import StrEnum
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels

MOSAIC_CELLS = 6
"""Cells on the longer side of a mosaic: a region keeps at most 6 x 6 colours, whatever its size."""

GAUSSIAN_SIDE = 48
"""Pixels of the longer side on which the Gaussian is computed; more would only cost more."""

PixelBox = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels, right and bottom exclusive."""


class Style(StrEnum):
    """How a region is made unreadable. `GAUSSIAN` is cosmetic: a network may undo it in part."""

    MOSAIC = "mosaic"
    SOLID = "solid"
    GAUSSIAN = "gaussian"


def whole_pixels(box: tuple[float, float, float, float], width: int, height: int) -> PixelBox:
    """The smallest box of whole pixels inside the picture that holds `box`, never an empty one.

    >>> whole_pixels((1.2, 1.9, 3.1, 4.0), 10, 10)
    (1, 1, 4, 4)
    """
    left = min(max(floor(box[0]), 0), width - 1)
    top = min(max(floor(box[1]), 0), height - 1)
    right = min(max(ceil(box[2]), left + 1), width)
    bottom = min(max(ceil(box[3]), top + 1), height)
    return left, top, right, bottom


def redact(
    pixels: Pixels, box: PixelBox, style: Style, mask: NDArray[np.bool_] | None = None
) -> None:
    """Make the pixels inside `box` unreadable, in place; no other pixel changes.

    Args:
        pixels: shape (height, width, 3).
        box: not empty and inside the picture.
        style: `MOSAIC` leaves the mean colour of each of a few cells, `SOLID` nothing at all,
            `GAUSSIAN` a smooth picture with a sigma of an eighth of the longer side.
        mask: which pixels of the box change, in its shape (height, width); all without it.
    """
    left, top, right, bottom = box
    region = pixels[top:bottom, left:right]
    if style is Style.SOLID:
        unreadable = np.zeros_like(region)
    elif style is Style.MOSAIC:
        unreadable = _mosaic(region)
    else:
        unreadable = _gaussian(region)
    np.copyto(region, unreadable, where=True if mask is None else mask[..., None])


def _mosaic(region: Pixels) -> Pixels:
    height, width = region.shape[:2]
    longer = max(width, height)
    columns, rows = _shrunk(width, height, min(MOSAIC_CELLS, max(1, longer // 4)))
    cells = _averaged(region, columns, rows)
    return _resized(cells, width, height, cv2.INTER_NEAREST)


def _gaussian(region: Pixels) -> Pixels:
    height, width = region.shape[:2]
    columns, rows = _shrunk(width, height, GAUSSIAN_SIDE)
    small = _averaged(region, columns, rows)
    blurred = cv2.GaussianBlur(small, (0, 0), max(1.0, max(columns, rows) / 8))
    return _resized(np.asarray(blurred, np.uint8), width, height, cv2.INTER_LINEAR)


def _shrunk(width: int, height: int, longer: int) -> tuple[int, int]:
    """Width and height in the same proportion with at most `longer` on the longer side."""
    scale = min(1.0, longer / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _averaged(region: Pixels, columns: int, rows: int) -> Pixels:
    """The mean colour of each cell of a grid over the region."""
    while region.shape[1] >= 8 * columns and region.shape[0] >= 8 * rows:
        # Halving even sides is several times cheaper than averaging large cells in one step.
        width, height = region.shape[1] // 2, region.shape[0] // 2
        region = _resized(region[: 2 * height, : 2 * width], width, height, cv2.INTER_AREA)
    return _resized(region, columns, rows, cv2.INTER_AREA)


def _resized(pixels: Pixels, width: int, height: int, interpolation: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)
