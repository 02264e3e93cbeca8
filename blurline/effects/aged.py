"""A picture as an old print: brown tones, faded, soft, with grain, stains and darker corners."""

from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.effects.scale import Field, reduced, strips, unit
from blurline.imaging.decode import Pixels

WORK_PIXELS = 1_000_000
"""Area at which grain, stains, glow and the darker corners are worked out."""

FILM = np.array([[0.22, 0.53, 0.25]], np.float32)
"""What red, green and blue add to a plate's tone: old emulsions see little red."""

INK, BROWN, PAPER = (46, 33, 24), (152, 121, 88), (242, 228, 198)
"""The darkest tone, the middle one and the brightest one of the print, RGB."""

SOFT, GLOW = 0.9, 7.0
"""Sigma of the lens' blur and of its glow, in pixels of a picture of a megapixel."""

GLOWING = 0.2
CURVED = 0.55
"""Share of the curve of an emulsion in the tones, beside a straight line."""

CORNERS = 0.27
RIM_WIDTH, RIM = 0.02, 0.066
"""How far from its edges paper fades, as a share of the longer side, and by how much there."""

GRAIN, STAINS = 0.11, 0.018
GRAIN_SEED, STAINS_SEED = 1, 2
STAINS_ACROSS = 9


def aged(pixels: Pixels, *, grain: float = 0.4, strength: float = 1.0) -> Pixels:
    """The picture as an old print. Grain and stains lie in the same places each time.

    Args:
        pixels: RGB, shape (height, width, 3), of any size.
        grain: how coarse the film was, 0 (none) to 1.
        strength: share of the print in the result, 0 (the picture as it is) to 1.

    Returns:
        A new picture of the same size.
    """
    height, width = pixels.shape[:2]
    small = reduced(pixels, WORK_PIXELS)
    glow = Field.of(_glow(small), height, width)
    light = Field.of(_paper(small.shape[0], small.shape[1]), height, width)
    specks = Field.of(_specks(small.shape[0], small.shape[1], grain), height, width)
    soft = max(0.4, SOFT * unit(pixels))
    reach = ceil(3 * soft) + 1
    print_ = _print()
    result = np.empty_like(pixels)
    for top, bottom in strips(height, width):
        first = max(0, top - reach)
        seen = cv2.transform(pixels[first : bottom + reach], FILM)
        sharp = cv2.GaussianBlur(seen, (0, 0), soft)[top - first :][: bottom - top]
        tone = cv2.addWeighted(
            sharp, (1 - GLOWING) / 255, glow.rows(top, bottom), GLOWING / 255, 0, dtype=cv2.CV_32F
        )
        tone = (1 - CURVED) * tone + CURVED * tone * tone * (3 - 2 * tone)
        multiplied, added = cv2.split(light.rows(top, bottom))
        tone = tone * multiplied + added
        tone = tone + specks.rows(top, bottom) * (1 - 0.45 * np.abs(2 * tone - 1))
        index = np.clip(tone * 255, 0, 255).astype(np.uint8)
        printed = cv2.LUT(cv2.merge([index] * 3), print_)
        cv2.addWeighted(
            printed, strength, pixels[top:bottom], 1 - strength, 0, dst=result[top:bottom]
        )
    return result


def _glow(small: Pixels) -> NDArray[np.uint8]:
    """The light that an old lens spreads: the tones, much blurred."""
    height, width = small.shape[:2]
    tone = cv2.transform(small, FILM)
    size = max(1, width // 4), max(1, height // 4)
    quarter = cv2.resize(tone, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(quarter, (0, 0), max(0.5, GLOW / 4 * unit(small))), np.uint8)


def _paper(height: int, width: int) -> NDArray[np.float32]:
    """What the tones are multiplied with and what is added: dark corners, a faded rim, stains."""
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width
    from_middle = (2 * y - 1) ** 2 + (2 * x - 1) ** 2
    corners = 1 - CORNERS * np.clip((from_middle - 0.35) / 1.65, 0, 1)
    longer = max(height, width)
    from_edge = np.minimum(
        np.minimum(y, 1 - y) * (height / longer), np.minimum(x, 1 - x) * (width / longer)
    )
    down, across = (max(2, round(STAINS_ACROSS * side / longer)) for side in (height, width))
    stains = cv2.resize(
        _noise(down, across, STAINS_SEED), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.dstack([corners, RIM * np.exp(-from_edge / RIM_WIDTH) + STAINS * stains])


def _specks(height: int, width: int, grain: float) -> NDArray[np.float32]:
    """Grain of mean 0, as shares of the full range of tones."""
    sigma = max(0.6, 0.8 * float(np.sqrt(height * width / WORK_PIXELS)))
    blurred = cv2.GaussianBlur(_noise(height, width, GRAIN_SEED), (0, 0), sigma)
    # White noise of deviation 1, blurred, has one of 1 / (2 sqrt(pi) sigma).
    return np.asarray(blurred * (GRAIN * grain * 2 * np.sqrt(np.pi) * sigma / 1.6), np.float32)


def _noise(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Even noise of mean 0 and deviation 1.

    NumPy keeps the raw numbers of a bit generator the same for ever; those of its distributions
    may change with a version.
    """
    raw = np.random.PCG64(seed).random_raw(-(-height * width // 8)).astype("<u8").view(np.uint8)
    return (raw[: height * width].reshape(height, width).astype(np.float32) - 127.5) / 73.9


def _print() -> NDArray[np.uint8]:
    """The colour of each tone, shape (256, 1, 3): a parabola through ink, brown and paper."""
    tone = np.linspace(0, 1, 256)[:, None]
    ink, brown, paper = (np.array(colour) for colour in (INK, BROWN, PAPER))
    colours = (
        ink * (1 - tone) * (1 - 2 * tone)
        + brown * 4 * tone * (1 - tone)
        + paper * tone * (2 * tone - 1)
    )
    return np.rint(np.clip(colours, 0, 255)).astype(np.uint8)[:, None]
