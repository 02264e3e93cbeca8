"""What each style does to the pixels of one region."""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels
from blurline.redaction.styles import MOSAIC_CELLS, PixelBox, Style

GAUSSIAN_SIDE = 48
"""Pixels of the longer side on which the Gaussian is computed; more would only cost more."""


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
