"""The styles of redaction, and the boxes that they are applied to."""

from enum import StrEnum
from math import ceil, floor

MOSAIC_CELLS = 6
"""Cells on the longer side of a mosaic: a region keeps at most 6 x 6 colours, whatever its size."""

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
