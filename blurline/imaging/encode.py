"""From RGB pixels to the bytes of a picture file that holds nothing but the pixels."""

from io import BytesIO

import cv2
import simplejpeg
from PIL import Image

from blurline.imaging.decode import Pixels
from blurline.imaging.kind import Kind

AVIF_SPEED = 8
"""Of 0 to 10; 6, the usual one, takes three times as long for a fifth of the size."""


def encode(pixels: Pixels, kind: Kind, quality: int) -> bytes:
    """`pixels` as a file of `kind.written`, without any metadata.

    Args:
        pixels: shape (height, width, 3), RGB.
        kind: the kind of the original.
        quality: 1 to 100, for JPEG (4:2:0), WebP and AVIF; the other kinds are lossless.
    """
    written = kind.written
    if written is Kind.JPEG:
        return bytes(
            simplejpeg.encode_jpeg(
                pixels, quality=quality, colorspace="RGB", colorsubsampling="420", fastdct=False
            )
        )
    if written is Kind.AVIF:
        with BytesIO() as file:
            Image.fromarray(pixels).save(file, "AVIF", quality=quality, speed=AVIF_SPEED)
            return file.getvalue()
    parameters = [cv2.IMWRITE_WEBP_QUALITY, quality] if written is Kind.WEBP else []
    done, buffer = cv2.imencode(
        f".{written.extension}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters
    )
    if not done:
        raise RuntimeError(f"OpenCV could not write {written}")
    return buffer.tobytes()
