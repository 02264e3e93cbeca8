"""Fitting a picture into a network's input without changing its proportions."""

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from blurline.geometry import Boxes
from blurline.imaging.decode import Pixels

STRIDE = 32
"""Every network here halves its input five times, so both sides are multiples of 2 to the 5th."""

SHAPES = (1 / 4, 1 / 2, 9 / 16, 2 / 3, 3 / 4, 1.0)
"""Short to long side of the inputs: those of panoramas, videos and photos, and the square.

A network is compiled for each size that it sees, so that sizes should be few; pictures of these
shapes are padded no more than the stride wants.
"""

GREY = 114
"""Ultralytics' padding value, which its networks were trained with."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture lies in a network's input: scaled by `scale`, moved by `left` and `top`."""

    scale: float
    left: int
    top: int

    def to_picture(self, boxes: Boxes) -> Boxes:
        """Boxes of shape (n, 4) from input pixels back to the picture's pixels."""
        offset = np.array([self.left, self.top, self.left, self.top], np.float32)
        return ((boxes - offset) / np.float32(self.scale)).astype(np.float32)


def letterbox(
    pixels: Pixels, long_side: int, fixed_size: tuple[int, int] | None = None
) -> tuple[Pixels, Letterbox]:
    """The picture scaled to `long_side` and padded evenly to the next input size.

    The input is the smallest of `SHAPES` that holds the picture: one of 16:9 at 640 becomes
    640 x 384, as in Ultralytics' `LetterBox` with `auto=True`. A network of `fixed_size` (height,
    width) gets just that, and `long_side` is not asked.
    """
    height, width = pixels.shape[:2]
    if fixed_size is None:
        scale = long_side / max(height, width)
    else:
        scale = min(fixed_size[0] / height, fixed_size[1] / width)
    fitted = scaled(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    padded, left, top = pad(fitted, fixed_size)
    return padded, Letterbox(scale, left, top)


def scaled(pixels: Pixels, width: int, height: int) -> Pixels:
    """The picture in that size; the same array if it has it already."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def pad(pixels: Pixels, size: tuple[int, int] | None = None) -> tuple[Pixels, int, int]:
    """The picture in the middle of grey, and how far from the left and from the top it lies there.

    The result has `size` (height, width), by default the next input size.
    """
    height, width = pixels.shape[:2]
    full_height, full_width = size or input_size(height, width)
    left, top = (full_width - width) // 2, (full_height - height) // 2
    right, bottom = full_width - width - left, full_height - height - top
    grey = (GREY, GREY, GREY)
    padded = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey)
    return np.asarray(padded, np.uint8), left, top


def input_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the smallest input that holds a picture of that height and width.

    >>> input_size(360, 640)
    (384, 640)
    >>> input_size(640, 400)
    (640, 448)
    """
    long = _strides(max(height, width))
    sides = (_strides(long * share) for share in SHAPES)
    short = next(side for side in sides if side >= min(height, width))
    return (short, long) if height <= width else (long, short)


def _strides(length: float) -> int:
    return ceil(length / STRIDE) * STRIDE
