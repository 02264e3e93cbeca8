"""From RGB pixels to the bytes of a picture file that holds nothing but the pixels."""

import cv2
import simplejpeg

from blurline.imaging.decode import Pixels
from blurline.imaging.header import Kind


def encode(pixels: Pixels, kind: Kind, quality: int) -> bytes:
    """`pixels` as a file of `kind.written`, without any metadata.

    Args:
        pixels: shape (height, width, 3), RGB.
        kind: the kind of the original.
        quality: 1 to 100, for JPEG (4:2:0) and WebP; the other kinds are lossless.
    """
    if kind is Kind.JPEG:
        return bytes(
            simplejpeg.encode_jpeg(
                pixels, quality=quality, colorspace="RGB", colorsubsampling="420", fastdct=False
            )
        )
    written = kind.written
    parameters = [cv2.IMWRITE_WEBP_QUALITY, quality] if written is Kind.WEBP else []
    done, buffer = cv2.imencode(
        f".{written.extension}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters
    )
    if not done:
        raise RuntimeError(f"OpenCV could not write {written}")
    return buffer.tobytes()
