"""A picture as a comic: flat colours in a few tones, inked lines.

The way is that of Winnemöller, Olsen and Gooch, "Real-time video abstraction" (SIGGRAPH 2006):
colours flattened by a bilateral filter again and again, brightness in soft steps, lines where the
difference of two Gaussians says that one side of an edge is dark. Lines of little weight are left
out, which keeps skin clean.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.effects.scale import Field, reduced, strips
from blurline.imaging.decode import Pixels

WORK_PIXELS = 500_000
"""Area at which colours are flattened and lines are found."""

ROUNDS, REACH, ALIKE, NEAR = 4, 5, 26.0, 4.0
"""Of the bilateral filter: how often, across how many pixels, how far in colour and in space."""

LINE = 1.0
"""Sigma of the narrower Gaussian, in pixels of the working copy; the wider one has 1.6 of it."""

FAINT, BOLD = 5.1, 0.7
"""Darkness from which a line is drawn, in tones of 255, with no ink and with all of it."""

LEAST_LINE = 30.0
"""Weight of a line that is worth drawing, in pixels of just enough darkness."""

VIVID = 1.35
SHADOW = 26
"""Tones of 255 below which all is black ink."""


def comic(pixels: Pixels, *, ink: float = 0.5, tones: int = 6, strength: float = 1.0) -> Pixels:
    """The picture as a comic.

    Args:
        pixels: RGB, shape (height, width, 3), of any size.
        ink: how easily a line is drawn, 0 (no lines) to 1.
        tones: steps of brightness, 2 or more.
        strength: share of the comic in the result, 0 (the picture as it is) to 1.

    Returns:
        A new picture of the same size.
    """
    height, width = pixels.shape[:2]
    small = reduced(pixels, WORK_PIXELS)
    size = float(np.sqrt(small.shape[0] * small.shape[1] / WORK_PIXELS))
    sketched, flat = _flattened(small)
    colours = Field.of(_vivid(flat), height, width, is_cubic=True)
    faint = FAINT - (FAINT - BOLD) * ink
    dark = Field.of(_lines(sketched, faint, size), height, width, is_cubic=True)
    gains = _gains(tones)
    result = np.empty_like(pixels)
    for top, bottom in strips(height, width):
        colour = np.clip(np.rint(colours.rows(top, bottom)), 0, 255).astype(np.uint8)
        gain = cv2.LUT(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), gains)
        if ink > 0:
            gain = gain * (1 - _smooth((dark.rows(top, bottom) - 0.75 * faint) / (0.5 * faint)))
        drawn = cv2.multiply(colour, cv2.merge([gain] * 3), dtype=cv2.CV_8U)
        cv2.addWeighted(
            drawn, strength, pixels[top:bottom], 1 - strength, 0, dst=result[top:bottom]
        )
    return result


def _flattened(small: Pixels) -> tuple[Pixels, Pixels]:
    """The picture without noise, in which lines are found, and its flat colours."""
    rounds: list[Pixels] = []
    flat = np.asarray(cv2.medianBlur(small, 3), np.uint8)
    for _ in range(ROUNDS):
        flat = np.asarray(cv2.bilateralFilter(flat, REACH, ALIKE, NEAR), np.uint8)
        rounds.append(flat)
    return rounds[0], rounds[-1]


def _vivid(flat: Pixels) -> Pixels:
    """Colours further from grey of the same brightness."""
    grey = cv2.cvtColor(cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(flat, VIVID, grey, 1 - VIVID, 0), np.uint8)


def _lines(sketched: Pixels, faint: float, size: float) -> NDArray[np.float32]:
    """How dark each pixel is against what surrounds it; at most 0 where no line is worth drawing.

    Args:
        faint: darkness from which on a line is drawn.
        size: the copy's side as a share of that of a full working copy.
    """
    grey = cv2.cvtColor(sketched, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sigma = max(0.5, LINE * size)
    dark = cv2.GaussianBlur(grey, (0, 0), 1.6 * sigma) - cv2.GaussianBlur(grey, (0, 0), sigma)
    count, lines = cv2.connectedComponents((dark > faint).astype(np.uint8), connectivity=8)
    weights = np.bincount(lines.ravel(), (dark - 0.5 * faint).ravel(), count)
    drawn = weights >= LEAST_LINE * faint * size**2
    drawn[0] = False  # what is no line
    near = cv2.dilate(drawn[lines].astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(np.where(near > 0, dark, np.minimum(dark, 0)), np.float32)


def _gains(tones: int) -> NDArray[np.float32]:
    """What a colour of each brightness, 0 to 255, is multiplied with, to be one of the tones.

    Steps are soft, so that a sky shows no contours, and the darkest is black.
    """
    tone = np.arange(256)
    whole, rest = np.divmod(tone / 255 * tones, 1)
    stepped = (whole + 0.5 + 0.5 * np.tanh(5 * (rest - 0.5)) / np.tanh(2.5)) / tones
    bright = np.clip(stepped**0.95 * 1.06, 0, 1) * 255
    black = _smooth((tone - 0.55 * SHADOW) / (0.45 * SHADOW))
    return np.asarray(bright / np.maximum(tone, 12) * black, np.float32)


def _smooth(share: NDArray[Any]) -> NDArray[np.float32]:
    """From 0 at 0 to 1 at 1, without corners."""
    inside = np.clip(share, 0, 1).astype(np.float32)
    return np.asarray(inside * inside * (3 - 2 * inside), np.float32)
