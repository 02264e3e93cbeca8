"""The brightest and the darkest colour of each pixel."""

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels


def brightest(pixels: Pixels) -> NDArray[np.uint8]:
    """The largest of red, green and blue, shape (height, width)."""
    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def darkest(pixels: Pixels) -> NDArray[np.uint8]:
    """The smallest of red, green and blue, shape (height, width)."""
    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.min(cv2.min(red, green), blue), np.uint8)
