"""Samples of 16 bits, of the kinds of files that have them: PNG and TIFF."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.containers import png
from blurline.imaging.kind import Kind
from blurline.imaging.levels import FULL, Levels, levels_of
from blurline.imaging.pillow import opened
from blurline.imaging.plain import plain_png
from blurline.imaging.tiff.samples import read_samples

_PNG_DEPTH = 24  # the place of the bits of a sample in a PNG file


def deep_samples(image: Image.Image, data: bytes) -> NDArray[Any] | None:
    """The samples of a PNG file that Pillow has opened, as OpenCV reads them.

    Pillow makes 8 bits of some.

    Returns:
        Of 16 bits, shape (height, width, channels), grey or RGB, then perhaps alpha; None where it
        has none or others.
    """
    if image.format != "PNG" or data[_PNG_DEPTH] != 16 or not png.is_whole(data):
        return None
    plain = plain_png(data)
    if plain is None:
        return None
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        samples = cv2.imdecode(np.frombuffer(plain, np.uint8), flags)
    except cv2.error:
        return None
    if samples is None or samples.dtype != np.uint16:
        return None
    has_alpha = image.has_transparency_data and not image.mode.startswith("I")
    found: NDArray[Any] = samples if samples.ndim == 3 else samples[..., None]
    order = {(1, False): [0], (3, False): [2, 1, 0], (4, True): [2, 1, 0, 3]}
    chosen = order.get((found.shape[2], has_alpha))
    return None if chosen is None else np.asarray(found[..., chosen])


def colours_of(samples: NDArray[Any]) -> NDArray[Any]:
    """Samples without their transparency."""
    return samples[..., :3]


def png_colours(data: bytes) -> NDArray[Any] | None:
    """The colours of a PNG file of 16 bits, as they are stored, grey or RGB; None for others.

    Raises:
        PictureError: `corrupt_image`.
    """
    if data[_PNG_DEPTH] != 16:
        return None
    try:
        with opened(data, Kind.PNG) as image:
            samples = deep_samples(image, data)
    except Exception as error:  # what Pillow's parsers raise for damaged data has no common base
        raise PictureError("the picture's data is damaged", code="corrupt_image") from error
    return None if samples is None else colours_of(samples)


def file_levels(data: bytes, kind: Kind) -> Levels | None:
    """The levels of a file that `decode` has read, None where its samples are not of 16 bits.

    A HEIC is a photo of many bits, not one of few in samples of many: it is shown as it is.
    """
    if kind is Kind.HEIC:
        return FULL
    if kind not in (Kind.PNG, Kind.TIFF):
        return None
    colours = png_colours(data) if kind is Kind.PNG else read_samples(data).colours
    return None if colours is None or colours.dtype != np.uint16 else levels_of(colours)
