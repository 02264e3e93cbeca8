"""The colour of the light that a picture was taken in, where the picture says it clearly."""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.effects.channels import brightest
from blurline.effects.scale import reduced
from blurline.imaging.decode import Pixels

WORK_PIXELS = 40_000
GAMMA = 2.2
DARKEST, BRIGHTEST = 8, 250
"""Tones between which a pixel says something of the light."""

MINKOWSKI = 5
"""Power of the mean of shades of grey."""

HIGHLIGHTS = 0.05
NO_CAST, CLEAR_CAST, STRONGEST_CAST = 0.08, 0.2, 0.9
"""Logarithms of a ratio of colours: what may be the things' own colour, what surely is the light's,
and what is corrected at most."""

LUMA = np.array([0.299, 0.587, 0.114])


def neutral_gains(pixels: Pixels) -> NDArray[np.float64]:
    """What red, green and blue are multiplied with to take a colour cast away; else all 1.

    Four ways to guess the light's colour rarely fail together: the median of all pixels' colours,
    the mean of shades of grey (Finlayson and Trezzi, 2004), that of edges (van de Weijer, Gevers
    and Gijsenij, 2007), and the colour of the highlights. A lawn or a face leads some of them
    astray; a cast of the light moves all of them alike, and so only what they have in common is
    taken away.

    Args:
        pixels: RGB, shape (height, width, 3).

    Returns:
        Three factors for values from 0 to 255 as they are stored, which leave the picture's mean
        brightness as it is.
    """
    small = reduced(pixels, WORK_PIXELS)
    most = brightest(small)
    lit = (most < BRIGHTEST) & (most > DARKEST)
    if not lit.any():
        return np.ones(3)
    light = (small[lit] / 255) ** GAMMA
    shades = _colour((light**MINKOWSKI).mean(axis=0) ** (1 / MINKOWSKI))
    edges = _edges(small, lit)
    guesses = np.array(
        [
            np.median(_colour(light), axis=0),
            shades,
            _highlights(light),
            shades if edges is None else edges,
        ]
    )
    mean = guesses.mean(axis=0)
    length = float(np.hypot(*mean))
    if length < NO_CAST:
        return np.ones(3)
    shared = float((guesses @ (mean / length)).min())
    sure = np.clip((shared - NO_CAST) / (CLEAR_CAST - NO_CAST), 0, 1)
    red, blue = mean / length * min(shared, STRONGEST_CAST) * sure
    gains = np.exp(-np.array([red, 0, blue]) / GAMMA)
    brightness = small.reshape(-1, 3).mean(axis=0) * LUMA
    return np.asarray(gains * brightness.sum() / (gains * brightness).sum(), np.float64)


def _highlights(light: NDArray[np.float64]) -> NDArray[np.float64]:
    brightness = light @ LUMA
    return _colour(light[brightness >= np.quantile(brightness, 1 - HIGHLIGHTS)].mean(axis=0))


def _edges(small: Pixels, lit: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Of values as they are stored, in which a factor of the light is one to the power of 1/gamma.

    None where no edge is in sight.
    """
    soft = cv2.GaussianBlur(small, (0, 0), 1.0)
    across, down = (cv2.Sobel(soft, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    inside = cv2.erode(lit.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    steep = (across**2 + down**2)[inside]
    if not steep.size or steep.mean(axis=0).min() < 1:
        return None
    return GAMMA * _colour(np.sqrt(steep.mean(axis=0, dtype=np.float64)))


def _colour(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of red and of blue against green, shape (..., 2)."""
    logarithms = np.log(np.maximum(light, 1e-4))
    return np.asarray(logarithms[..., ::2] - logarithms[..., 1:2], np.float64)
