"""JPEG files that are whole but for the mark of their end (T.81, B.2.1).

Some cameras and programs leave it out, or fill the file up with zeros instead. Readers can't tell
that from a file that was cut: they take zeros for coded data, and show grey or noise. So it is
proved here: every component has all the scans that it needs, and with the mark put back
libjpeg-turbo finds neither a bit too few nor a byte too many.
"""

from collections.abc import Iterator

import simplejpeg

from blurline.errors import PictureError
from blurline.imaging.jpeg import JpegError, coded_start, scans_of

_END = b"\xff\xd9"
_CODED = 2
"""Zeros at the end of coded data that may belong to it; more are there by no chance."""

_SMALLEST = 8
"""The reduction at which a decoder reads all of a file's bits and computes least of its pixels."""


def with_end(data: bytes) -> bytes:
    """The JPEG with the mark of its end, if that is all that it lacks; else the file as it is.

    Raises:
        PictureError: `corrupt_image`, it was cut and filled up with zeros.
    """
    if data.endswith(_END):
        return data
    try:
        if data.rfind(_END, coded_start(data)) >= 0:
            return data
        scans = scans_of(data)
    except JpegError:
        return data
    if scans.are_all:
        for file in _ended(data):
            if _is_sound(file, scans.components):
                return file
    if data.endswith(b"\0"):
        raise PictureError("the picture's data ends too early", code="corrupt_image")
    return data


def _ended(data: bytes) -> Iterator[bytes]:
    """The file with the mark at each place where its coded data may end."""
    filled = data.rstrip(b"\0")
    if len(data) - len(filled) <= _CODED:
        yield data + _END
    yield filled + (b"\0" if filled.endswith(b"\xff") else b"") + _END  # T.81, B.1.1.5


def _is_sound(data: bytes, components: int) -> bool:
    """Whether libjpeg-turbo reads all of the file and warns of nothing."""
    colours = "CMYK" if components == 4 else "GRAY"  # it makes no grey of ink
    try:
        simplejpeg.decode_jpeg(data, colorspace=colours, min_factor=_SMALLEST, strict=True)
    except ValueError:
        return False
    return True
