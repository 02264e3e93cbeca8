"""How noisy a picture is, and the same picture with less noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels

MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Sees noise and neither slopes nor straight edges; white noise of deviation 1 becomes one of 6."""

BLOCK = 16
PLAINEST = 0.15
"""Share of a picture's blocks that show its noise and hardly anything else."""

MOST_BLOCKS = 4096
REACH, NEAR = 5, 1.6
"""Of the bilateral filter: across how many pixels, and its sigma in space."""


def noise_of(luma: NDArray[np.uint8]) -> float:
    """Deviation of the noise of a picture's brightness, in tones of 255.

    J. Immerkær, "Fast noise variance estimation" (1996), in blocks, of which the plainest count.

    Args:
        luma: shape (height, width); of less than a block there is no estimate, which is 0.
    """
    height, width = (side // BLOCK for side in luma.shape)
    if not height or not width:
        return 0.0
    rows = max(1, MOST_BLOCKS // width)
    picked = np.unique(np.linspace(0, height - 1, min(rows, height)).astype(int))
    means = []
    for row in picked.tolist():
        strip = luma[row * BLOCK : (row + 1) * BLOCK, : width * BLOCK]
        seen = np.abs(cv2.filter2D(strip, cv2.CV_32F, MASK))
        means.append(seen[1:-1].mean(axis=0).reshape(width, BLOCK)[:, 1:-1].mean(axis=1))
    return float(np.quantile(np.concatenate(means), PLAINEST)) * float(np.sqrt(np.pi / 2)) / 6


def quietened(pixels: Pixels, deviation: float, colour_deviation: float) -> Pixels:
    """The picture with what differs from its neighbours by about those deviations smoothed.

    Args:
        pixels: luma and two differences of colour, shape (height, width, 3).
        deviation: of the luma, in tones of 255.
        colour_deviation: of the differences of colour.

    Returns:
        A new picture. Each of its pixels depends on the `REACH` x `REACH` pixels around it.
    """
    luma, *colours = cv2.split(pixels)
    quiet = [cv2.bilateralFilter(luma, REACH, deviation, NEAR)]
    quiet += [cv2.bilateralFilter(one, REACH, colour_deviation, NEAR) for one in colours]
    return np.asarray(cv2.merge(quiet), np.uint8)
