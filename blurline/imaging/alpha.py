"""Straight transparency: colours that are not multiplied by how opaque they are."""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels

REACH = 8
"""Pixels from what can be seen within which hidden colours are replaced."""


def bled(pixels: Pixels, alpha: NDArray[np.uint8]) -> Pixels:
    """The picture with the colours of what can be seen running over into what can't, near it.

    What lies under full transparency is most often black, and would darken the edges of the rest
    as soon as pixels are mixed.
    """
    weights = alpha.astype(np.float32)
    size = (2 * REACH + 1,) * 2
    near = cv2.boxFilter(weights, -1, size, normalize=False)
    hidden = (alpha == 0) & (near > 0)
    if not hidden.any():
        return pixels
    sums = cv2.boxFilter(pixels * weights[..., None], -1, size, normalize=False)
    result = pixels.copy()
    result[hidden] = np.rint(sums[hidden] / near[hidden][:, None]).astype(np.uint8)
    return result
