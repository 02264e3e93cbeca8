"""Pictures and measures for the tests of effects."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from blurline.imaging.decode import Pixels


def photo(picture: bytes) -> Pixels:
    """The pixels of a photo, RGB."""
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB"))


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """The picture at another size."""
    smaller = width < pixels.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)


def lab(pixels: Pixels) -> np.ndarray:
    """CIE L*a*b*, L from 0 to 100."""
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def difference(one: Pixels, other: Pixels) -> float:
    """Mean distance of two pictures' colours in CIE L*a*b*: delta E of 1976."""
    return float(np.linalg.norm(lab(one) - lab(other), axis=2).mean())


def noisy(pixels: Pixels, deviation: float, seed: int = 7) -> Pixels:
    """The picture with normal noise of that deviation, in tones of 255."""
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def plain(colour: tuple[int, int, int], height: int = 300, width: int = 400) -> Pixels:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)
