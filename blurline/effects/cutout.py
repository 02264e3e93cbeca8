"""What a picture is about, cut out of it along soft edges."""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels

Mask = NDArray[np.float32]
"""Shape (height, width), 0 to 1: how much of each pixel belongs to what is cut out."""

GUIDE = 768
"""Longest side at which a mask is fitted to the picture's edges. What is found there is a rule from
colours to the mask, which then holds for the picture's own pixels."""

RADIUS = 6
"""Pixels around each pixel of the guide over which one such rule holds."""

SMOOTHNESS = 1e-4
"""Variance of colours, 0 to 1, below which there is no edge to follow."""

CERTAIN = 0.05
"""A pixel that belongs to one side by less than this belongs to the other."""

WIDE, NEAR = 45, 6
"""Reach in pixels, at `GUIDE`, over which colours of either side are estimated: first and second
pass."""


def fitted(mask: Mask, pixels: Pixels) -> Mask:
    """The mask in the picture's size, its edges drawn along those of the picture.

    By the guided filter with colours (He, Sun and Tang, 2013), whose coefficients are found at
    `GUIDE` (He and Sun, "Fast Guided Filter", 2015): near each pixel the mask is a linear function
    of red, green and blue.
    """
    height, width = pixels.shape[:2]
    small = _reduced(pixels, GUIDE) * np.float32(1 / 255)
    rows, columns = small.shape[:2]
    wanted = _sized(mask, columns, rows)
    mean, mean_wanted = _mean(small), _mean(wanted)
    centred = _mean(small * wanted[..., None]) - mean * mean_wanted[..., None]
    covariance = np.empty((rows, columns, 3, 3), np.float32)
    for first in range(3):
        for second in range(first, 3):
            both = _mean(small[..., first] * small[..., second])
            covariance[..., first, second] = both - mean[..., first] * mean[..., second]
            covariance[..., second, first] = covariance[..., first, second]
    covariance += SMOOTHNESS * np.eye(3, dtype=np.float32)
    slopes = np.linalg.solve(covariance, centred[..., None])[..., 0]
    offset = _mean(mean_wanted - (slopes * mean).sum(-1))
    slopes = _sized(_mean(slopes), width, height)
    result = _sized(offset, width, height)
    for colour in range(3):
        result += slopes[..., colour] * (pixels[..., colour] * np.float32(1 / 255))
    result = (result - np.float32(CERTAIN)) / np.float32(1 - 2 * CERTAIN)
    return np.clip(result, 0, 1, out=result)


def feathered(mask: Mask, radius: float) -> Mask:
    """The mask with edges softer by `radius` pixels, from 0."""
    if radius == 0:
        return mask
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), radius / 2), np.float32)


def own_colours(pixels: Pixels, mask: Mask) -> Pixels:
    """The colours of what is cut out, without what its soft edges show of the background.

    By "Approximate Fast Foreground Colour Estimation" (Forte, 2021): the colours of either side are
    means of what is near, weighted by the mask, and then such that both mixed by the mask give the
    picture. They are estimated at `GUIDE`, and hold for mixed pixels alone.
    """
    height, width = pixels.shape[:2]
    small = _reduced(pixels, GUIDE).astype(np.float32)
    inside = _sized(mask, small.shape[1], small.shape[0])
    front, back = small, small
    for reach in (WIDE, NEAR):
        front, back = _sides(small, front, back, inside, reach)
    mixed = (mask > 0) & (mask < 1)
    result = pixels.copy()
    whole_front, whole_back = (_sized(side, width, height)[mixed] for side in (front, back))
    share = mask[mixed][:, None]
    seen = pixels[mixed].astype(np.float32)
    own = whole_front + share * (seen - share * whole_front - (1 - share) * whole_back)
    result[mixed] = np.rint(np.clip(own, 0, 255)).astype(np.uint8)
    return result


def over(pixels: Pixels, mask: Mask, background: Pixels) -> Pixels:
    """The cut-out over another picture of its size, or over one colour of shape (3,)."""
    share = mask[..., None]
    mixed = share * pixels + (1 - share) * background
    return np.rint(mixed).astype(np.uint8)


def blurred_behind(pixels: Pixels, mask: Mask, share: float) -> Pixels:
    """The background, out of focus by `share` of the picture's longest side.

    What is cut out does not run into it: its pixels have no weight in the means.
    """
    height, width = pixels.shape[:2]
    small = _reduced(pixels, GUIDE).astype(np.float32)
    weights = np.float32(1.001) - _sized(mask, small.shape[1], small.shape[0])
    sigma = max(0.5, share * max(small.shape[:2]))
    sums = np.asarray(cv2.GaussianBlur(small * weights[..., None], (0, 0), sigma), np.float32)
    sums /= cv2.GaussianBlur(weights, (0, 0), sigma)[..., None]
    return np.rint(np.clip(_sized(sums, width, height), 0, 255)).astype(np.uint8)


def _sides(small: Mask, front: Mask, back: Mask, inside: Mask, reach: int) -> tuple[Mask, Mask]:
    """Better estimates of both sides' colours, from those that are there."""
    size = (2 * reach + 1,) * 2
    share, rest = inside[..., None], 1 - inside[..., None]
    tiny = np.float32(1e-5)
    near_front = cv2.blur(front * share, size) / (cv2.blur(inside, size)[..., None] + tiny)
    near_back = cv2.blur(back * rest, size) / (cv2.blur(1 - inside, size)[..., None] + tiny)
    better = near_front + share * (small - share * near_front - rest * near_back)
    return np.clip(better, 0, 255), near_back


def _mean(values: Mask) -> Mask:
    return np.asarray(cv2.blur(values, (2 * RADIUS + 1,) * 2), np.float32)


def _reduced(pixels: Pixels, longest: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _sized(values: Mask, width: int, height: int) -> Mask:
    return np.asarray(
        cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
