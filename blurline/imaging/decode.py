"""From the bytes of a picture file to upright RGB pixels."""

from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from blurline.errors import PictureError
from blurline.imaging.deep import png_colours
from blurline.imaging.ending import with_end
from blurline.imaging.header import Header
from blurline.imaging.kind import Kind
from blurline.imaging.levels import FULL, Levels, levels_of
from blurline.imaging.pillow import opened
from blurline.imaging.plain import plain_png
from blurline.imaging.tiff.samples import read_samples

Pixels = NDArray[np.uint8]
"""A picture of shape (height, width, 3): red, green, blue, 0 to 255, C-contiguous."""


HALF = 2
"""The reduction at which large JPEGs are read."""


def decode(
    data: bytes, header: Header, *, reduction: int = 1, levels: Levels | None = None
) -> Pixels:
    """The pixels of the picture in `data`, turned upright, transparency dropped.

    Of an animation the first frame is read. Samples of 16 bits become 8, from black to white where
    they keep to less than half of the tones (or by `levels`, if given), other colour spaces RGB.
    Transparency is dropped rather than blended, so that what detectors see is all that is there.

    With a `reduction` of 2 each pixel is the mean of two by two, and libjpeg-turbo computes no more
    than these means. Only JPEGs of even sides are read so, since another one, once it is turned,
    would lie half a pixel off.

    Raises:
        PictureError: `corrupt_image`, also when the pixels are not as many as the header said;
            `not_reducible`, only the whole of this picture can be read.
    """
    if header.kind is Kind.JPEG:
        data = with_end(data)
    if reduction != 1:
        return _decode_reduced(data, header, reduction)
    if header.kind is Kind.TIFF:
        pixels: Pixels | None = _decode_tiff(data, levels)
    elif header.kind is Kind.HEIC:
        pixels = _decode_heic(data)
    elif header.kind is Kind.JPEG:
        pixels = _decode_jpeg(data)
    else:
        pixels = _decode_other(data, header.kind)
    if pixels is None:
        pixels = _decode_with_pillow(data, header.kind)
    if pixels.shape != (header.height, header.width, 3):
        raise PictureError("the file's header and pixels disagree", code="corrupt_image")
    if header.kind is Kind.PNG and (colours := png_colours(data)) is not None:
        pixels = _narrowed(colours, levels)
    return turn_upright(pixels, header.orientation)


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """`pixels` as they are meant to be seen, for an EXIF orientation of 1 to 8.

    The value names the places of the stored first row and first column (EXIF 2.32, 4.6.5.1.A).
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode_reduced(data: bytes, header: Header, reduction: int) -> Pixels:
    width, height = header.width // reduction, header.height // reduction
    if header.kind is Kind.JPEG and not (header.width % reduction or header.height % reduction):
        pixels = _decode_jpeg(data, (height, width), reduction)
        if pixels is not None and pixels.shape == (height, width, 3):
            return turn_upright(pixels, header.orientation)
    raise PictureError("the picture can only be read as a whole", code="not_reducible")


def _decode_jpeg(data: bytes, least: tuple[int, int] = (0, 0), reduction: int = 1) -> Pixels | None:
    """libjpeg-turbo's answer, or None for a file that it warns of or whose colours it lacks.

    It is reduced by a scale that libjpeg-turbo has (jddctmgr.c), at most by `reduction`, to no less
    than `least` (height, width).
    """
    height, width = least
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="RGB",
            min_height=height,
            min_width=width,
            min_factor=reduction,
            strict=True,
        )
    except ValueError:
        return None
    return pixels


def _decode_other(data: bytes, kind: Kind) -> Pixels | None:
    """OpenCV's answer, or None where it has none or one that is not to be trusted.

    It reads no GIF in all its builds, and loses a colour of BMP with bit masks.
    """
    if kind not in (Kind.PNG, Kind.WEBP):
        return None
    plain = plain_png(data) if kind is Kind.PNG else data
    if plain is None:
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(plain, np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)


def _decode_tiff(data: bytes, levels: Levels | None) -> Pixels:
    """The pixels, turned, of 8 bits."""
    samples = read_samples(data)
    return turn_upright(_narrowed(samples.colours, levels), samples.orientation)


def _narrowed(colours: NDArray[Any], levels: Levels | None) -> Pixels:
    """Grey or RGB of 8 or 16 bits as RGB of 8, by the levels or by its own."""
    narrow = colours
    if colours.dtype == np.uint16:
        narrow = (levels or levels_of(colours)).narrowed(colours)
    return np.repeat(narrow, 3, axis=2) if narrow.shape[2] == 1 else narrow


def _decode_heic(data: bytes) -> Pixels:
    from blurline.imaging.heif.pixels import read_colours  # FFmpeg is loaded where it is needed

    samples = read_colours(data)
    return samples if samples.dtype == np.uint8 else FULL.narrowed(samples)


def _decode_with_pillow(data: bytes, kind: Kind) -> Pixels:
    """Pillow's answer: the stricter reader, and the one that knows the rarer kinds of files."""
    try:
        with opened(data, kind) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip these at 255
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, 2)
            return np.array(image.convert("RGB"), dtype=np.uint8)  # Pillow's own is read-only
    except Exception as error:  # what Pillow's decoders raise for damaged data has no common base
        raise PictureError("the picture's data is damaged", code="corrupt_image") from error
