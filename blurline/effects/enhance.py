"""A better picture: neutral colours, full tones, clear details, little noise.

Each step measures what is wrong and does as much as that, so that a good picture hardly changes.
Brightness alone is changed but for a colour cast: all three colours are multiplied by the same
factor, which leaves hue and saturation, of skin too, as they are.
"""

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.effects.cast import neutral_gains
from blurline.effects.channels import brightest, darkest
from blurline.effects.noise import REACH, noise_of, quietened
from blurline.effects.scale import Field, reduced, strips, unit
from blurline.imaging.decode import Pixels

WORK_PIXELS = 250_000
"""Area at which levels and what surrounds a detail are worked out."""

CUT = 0.004
"""Share of the pixels that may lose their brightest colour to white, and their darkest to black."""

SPARED = 8
"""Tones beside black and white that a picture need not use."""

DARKEST_WHITE, BRIGHTEST_BLACK = 70, 100
SHOULDER = 200
"""Tone from which a colour that is taken back comes closer to itself, so that white stays white."""

DIM, PALE = 0.33, 0.68
"""Medians, 0 to 1, from which a picture is too dark or too pale."""

LIFTED = 0.65
"""Share of the way to `DIM` or `PALE` that the median goes."""

STEEPEST_GAMMA = 0.5
AROUND = 0.06
"""How far around a detail is looked, as a share of the square root of the area."""

EDGE = 0.02
"""Variance, in squares of the full range, from which a step is an edge and stays."""

DETAILED, PLAIN = 0.055, 0.02
"""Mean contrast of details, in shares of the full range, that needs no more, and that needs all."""

CLARITY = 0.5
LEAST_CLARITY = 0.08
NOISE_LEFT_ALONE = 1.2
"""Deviation in tones of 255 that nobody sees."""

QUIET = (0.0, 1.4, 2.2, 3.2)
"""Sigma of the bilateral filter in deviations of the noise, for each level of denoising."""

COLOUR_QUIET = 1.4
"""How much more the differences of colour are smoothed than the brightness."""

SHARP_RADIUS, OVERSHOOT = 0.9, 12.0
"""Sigma in pixels of a picture of a megapixel; tones of 255 by which an edge may overshoot."""

MOST_GAIN = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is to be done to a picture, by what was seen of all of it.

    Attributes:
        gains: what red, green and blue are multiplied with to take a colour cast away.
        black, white: the values that become 0 and 255 after that.
        gamma: power of the curve of brightness; below 1 it gets brighter.
        levels: new values of red, green and blue for each old one, shape (256, 1, 3).
        curve: the new brightness for each old one, both of 0 to 255.
        slope, offset: what surrounds a detail is slope times its brightness plus offset.
        clarity: how much more details stand out.
        noise: deviation of the noise to take away, in tones of 255.
    """

    gains: NDArray[np.float64]
    black: int
    white: int
    gamma: float
    levels: NDArray[np.uint8]
    curve: NDArray[np.float32]
    slope: Field
    offset: Field
    clarity: float
    noise: float


def enhanced(
    pixels: Pixels, plan: Plan, *, denoise: int = 2, sharpen: float = 0.3, strength: float = 1.0
) -> Pixels:
    """A better picture.

    Args:
        pixels: RGB, shape (height, width, 3), of any size.
        plan: see `planned`, made of this picture.
        denoise: how much of the noise that is seen is taken away, 0 (none) to 3.
        sharpen: how much edges are sharpened, 0 (not) to 1.
        strength: share of the better picture in the result, 0 (the picture as it is) to 1.

    Returns:
        A new picture of the same size.
    """
    height, width = pixels.shape[:2]
    quiet = QUIET[denoise] * plan.noise
    soft = max(0.5, SHARP_RADIUS * unit(pixels))
    reach = ceil(4 * soft) + 1 + REACH // 2
    result = np.empty_like(pixels)
    for top, bottom in strips(height, width):
        first, last = max(0, top - reach), min(height, bottom + reach)
        rows = pixels[first:last]
        if quiet:
            parts = np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2YCrCb), np.uint8)
            parts = quietened(parts, quiet, COLOUR_QUIET * quiet)
            rows = np.asarray(cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB), np.uint8)
        rows = np.asarray(cv2.LUT(rows, plan.levels), np.uint8)
        luma = np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY), np.uint8)
        tone: NDArray[np.float32] = np.asarray(cv2.LUT(luma, plan.curve), np.float32)
        base = tone * plan.slope.rows(first, last) + plan.offset.rows(first, last)
        tone = np.asarray(tone + np.float32(plan.clarity) * (tone - base), np.float32)
        if sharpen > 0:
            tone += _edges(tone, soft, sharpen, plan.noise)
        inside = slice(top - first, bottom - first)
        better = _with_tones(rows[inside], luma[inside], tone[inside])
        cv2.addWeighted(
            better, strength, pixels[top:bottom], 1 - strength, 0, dst=result[top:bottom]
        )
    return result


def planned(pixels: Pixels) -> Plan:
    """What is to be done to a picture: RGB, shape (height, width, 3), of any size."""
    height, width = pixels.shape[:2]
    small = reduced(pixels, WORK_PIXELS)
    gains = neutral_gains(pixels)
    neutral = _neutral(gains)
    black, white = _ends(np.asarray(cv2.LUT(small, neutral), np.uint8))
    wide = np.clip((neutral.astype(np.float32) - black) * (255 / (white - black)), 0, 255)
    levels = np.rint(wide).astype(np.uint8)
    luma = np.asarray(cv2.cvtColor(cv2.LUT(small, levels), cv2.COLOR_RGB2GRAY), np.uint8)
    gamma = _gamma(luma)
    curve = np.asarray(255 * np.linspace(0, 1, 256) ** gamma, np.float32)
    tone = np.asarray(cv2.LUT(luma, curve), np.float32)
    slope, offset = _surroundings(tone)
    contrast = float(np.abs(tone - (slope * tone + offset)).mean()) / 255
    need = float(np.clip((DETAILED - contrast) / (DETAILED - PLAIN), 0, 1))
    whole = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return Plan(
        gains,
        black,
        white,
        gamma,
        levels,
        curve,
        Field.of(slope, height, width),
        Field.of(offset, height, width),
        LEAST_CLARITY + (CLARITY - LEAST_CLARITY) * need,
        max(0.0, noise_of(whole) - NOISE_LEFT_ALONE),
    )


def _neutral(gains: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values of red, green and blue without the cast, shape (256, 1, 3); white stays white."""
    value = np.arange(256)[:, None]
    back = np.clip((value - SHOULDER) / (255 - SHOULDER), 0, 1) * np.maximum(1 - gains, 0)
    return np.rint(np.clip(value * (gains + back), 0, 255)).astype(np.uint8)[:, None]


def _ends(small: Pixels) -> tuple[int, int]:
    """The values that become black and white, so that hardly a colour is cut."""
    black = int(np.quantile(darkest(small), CUT)) - SPARED
    white = int(np.quantile(brightest(small), 1 - CUT)) + SPARED
    black = min(max(0, black), BRIGHTEST_BLACK)
    return black, min(255, max(white, DARKEST_WHITE, black + DARKEST_WHITE))


def _gamma(luma: NDArray[np.uint8]) -> float:
    """The power that leads a picture's middle out of the dark, or out of the glare."""
    middle = float(np.clip(np.median(luma) / 255, 0.02, 0.98))
    wanted = middle + LIFTED * (float(np.clip(middle, DIM, PALE)) - middle)
    return float(np.clip(np.log(wanted) / np.log(middle), STEEPEST_GAMMA, 1 / STEEPEST_GAMMA))


def _surroundings(tone: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What of each pixel belongs to its surroundings: slope and offset of its brightness.

    The guided filter of He, Sun and Tang (2010), led by the picture itself, which has no halos.
    """
    side = max(1, 2 * round(AROUND * float(np.sqrt(tone.size))) + 1)
    window = side, side

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, window), np.float32)

    level = mean(tone)
    variance = np.maximum(mean(tone * tone) - level * level, 0)
    slope = np.asarray(variance / (variance + EDGE * 255**2), np.float32)
    return mean(slope), mean(level - slope * level)


def _edges(
    tone: NDArray[np.float32], soft: float, sharpen: float, noise: float
) -> NDArray[np.float32]:
    """What is added to sharpen edges: nothing for what may be noise, and never too much."""
    detail = tone - cv2.GaussianBlur(tone, (0, 0), soft)
    least = 1 + noise
    clear = detail - np.clip(detail, -least, least)
    return np.asarray(np.clip(3 * sharpen * clear, -OVERSHOOT, OVERSHOOT), np.float32)


def _with_tones(rows: Pixels, luma: NDArray[np.uint8], tone: NDArray[np.float32]) -> Pixels:
    """The colours at another brightness, no brighter than keeps their hue."""
    gain = np.clip(tone, 0, 255) / np.maximum(luma, 1, dtype=np.float32)
    gain = np.minimum(
        np.minimum(gain, MOST_GAIN), np.maximum(255 / np.maximum(brightest(rows), 1), 1)
    )
    return np.asarray(cv2.multiply(rows, cv2.merge([gain] * 3), dtype=cv2.CV_8U), np.uint8)
