"""Large pictures worked at a size that does not grow, so that they look as their small copies do.

What spreads over many pixels (flattening, lines, glow, grain) is worked out on a reduced copy of
fixed area, and shown at the picture's size, strip by strip. So radii follow the picture's size,
cost per pixel falls with it, and memory stays that of the picture and its result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

STRIP_PIXELS = 1 << 18
"""Pixels of a strip: its fields of floats stay in a core's cache, more or less."""


def unit(pixels: NDArray[Any]) -> float:
    """The side of a pixel of a square picture of one megapixel, in pixels of this picture."""
    return sqrt(pixels.shape[0] * pixels.shape[1] / 1e6)


def reduced(pixels: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """The picture at `most` pixels or less, each the mean of what it stands for."""
    height, width = pixels.shape[:2]
    share = sqrt(most / (height * width))
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of strips that make up the picture, from its top."""
    rows = max(1, STRIP_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Something smooth, shown at the size of a large picture, a few rows at a time.

    Between the rows it is interpolated by hand, since OpenCV's last digits depend on how many rows
    it is given, and a strip must not show.

    Attributes:
        wide: the field at the width of the picture and its own height.
        height: of the picture.
        is_cubic: whether corners are rounded: Keys' kernel with a = -1/2, else straight lines.
    """

    wide: NDArray[np.float32]
    height: int
    is_cubic: bool

    @classmethod
    def of(cls, small: NDArray[Any], height: int, width: int, *, is_cubic: bool = False) -> "Field":
        """`small`, shape (rows, columns) or (rows, columns, channels), at that size."""
        way = cv2.INTER_CUBIC if is_cubic else cv2.INTER_LINEAR
        wide = cv2.resize(small, (width, small.shape[0]), interpolation=way)
        return cls(np.asarray(wide, np.float32), height, is_cubic)

    def rows(self, top: int, bottom: int) -> NDArray[np.float32]:
        """The rows from `top` to `bottom` (exclusive); the same ones, however they are asked."""
        own = self.wide.shape[0]
        if own == self.height:
            return self.wide[top:bottom]
        at = (np.arange(top, bottom) + 0.5) * (own / self.height) - 0.5
        first = np.floor(at)
        shape = -1, *[1] * (self.wide.ndim - 1)
        after = (at - first).astype(np.float32).reshape(shape)
        shown = np.zeros((bottom - top, *self.wide.shape[1:]), np.float32)
        for step, weight in _weights(after, is_cubic=self.is_cubic).items():
            shown += self.wide[np.clip(first.astype(int) + step, 0, own - 1)] * weight
        return shown


def _weights(after: NDArray[np.float32], *, is_cubic: bool) -> dict[int, NDArray[np.float32]]:
    """What the rows before, at and behind a place count there, `after` it by 0 to 1.

    R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981).
    """
    if not is_cubic:
        return {0: 1 - after, 1: after}
    before = 1 - after
    return {
        -1: -0.5 * after * before**2,
        0: 1 - 2.5 * after**2 + 1.5 * after**3,
        1: 1 - 2.5 * before**2 + 1.5 * before**3,
        2: -0.5 * before * after**2,
    }
