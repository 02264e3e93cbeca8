"""How bright a picture is, and how it looks to whoever pulls its tones apart.

Any viewer can do so: what is too dark to be seen in the file as it is may be plain after that, so
that the networks look at pictures that were pulled apart already.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PATCH = np.ones((2, 2), np.uint8)
"""How large something bright, or dark, has to be: a bad pixel says nothing of a picture."""

NARROW = 0.5
"""Share of the full range of tones from which a picture is taken as it is."""

SPARSE, STRIP = 32, 4
"""Of so many rows so many are looked at first; most pictures show all tones in these."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The darkest and the brightest tone of a picture in samples of 16 bits, at least 255 apart."""

    black: int
    white: int

    def narrowed(self, samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Samples in 8 bits, from 0 for black to 255 for white; with full levels the upper 8."""
        tones = np.clip(samples, self.black, self.white).astype(np.uint32) - self.black
        return (tones * 256 // (self.white - self.black + 1)).astype(np.uint8)

    def widened(self, values: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Samples of 16 bits that `narrowed` makes these values of; 0 is black, 255 is white."""
        tones = (values.astype(np.uint32) * (self.white - self.black) + 254) // 255
        return (tones + self.black).astype(np.uint16)


FULL = Levels(0, 65_535)


def levels_of(samples: NDArray[np.uint16]) -> Levels:
    """The levels of a picture's colours, shape (height, width, channels).

    Those of most are `FULL`. Of data of 10 bits in samples of 16, of a dark or of a pale picture
    they are its own.
    """
    black, white = _extremes(samples)
    if white - black >= NARROW * FULL.white:
        return FULL
    black = min(black, FULL.white - 255)
    return Levels(black, max(white, black + 255))


def stretched(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB from black to white if the picture keeps to less than half of the tones, else itself."""
    height, width = pixels.shape[:2]
    if height >= SPARSE:
        strips = pixels[: height // SPARSE * SPARSE].reshape(-1, SPARSE, width, 3)[:, :STRIP]
        black, white = _extremes(strips.reshape(-1, width, 3))
        if white - black >= NARROW * 255:
            return pixels
    black, white = _extremes(pixels)
    if white == black or white - black >= NARROW * 255:
        return pixels
    tones = (np.arange(256) - black) * 255 / (white - black)
    table = np.clip(np.rint(tones), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table), np.uint8)


def _extremes(samples: NDArray[Any]) -> tuple[int, int]:
    """The darkest and the brightest tone, of whatever channel, that a whole patch reaches."""
    tones = int(cv2.dilate(samples, PATCH).min()), int(cv2.erode(samples, PATCH).max())
    # Among nothing but single pixels the brightest patch is darker than the darkest one.
    return min(tones), max(tones)
