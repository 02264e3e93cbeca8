"""BMP files, by the headers of Windows GDI: BITMAPFILEHEADER, BITMAPINFOHEADER, BITMAPV4HEADER."""

import struct

import numpy as np
from numpy.typing import NDArray

from blurline.imaging.metadata import Metadata

_HEADERS = (40, 52, 56, 108, 124)
_RGB, _BITFIELDS = 0, 3
_DEPTHS = ((1, _RGB), (4, _RGB), (8, _RGB), (24, _RGB), (32, _RGB), (32, _BITFIELDS))
_MASKS = struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF)
_ALPHA_MASK = struct.pack("<I", 0xFF000000)
_SRGB = b"BGRs"  # LCS_sRGB, little-endian


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The pixels under a new header; of `metadata` there is no place for anything.

    Raises:
        ValueError: malformed or compressed, or it would have to be shown turned.
    """
    if metadata.orientation != 1:
        raise ValueError("a BMP file can't say how it is turned")
    if len(data) < 54 or data[:2] != b"BM":
        raise ValueError("no BMP file")
    place, size, width, height, planes, depth, form = struct.unpack_from("<10xIIiiHHI", data)
    if size not in _HEADERS or planes != 1 or (depth, form) not in _DEPTHS or width < 1:
        raise ValueError("a BMP file of another form")
    has_alpha = form == _BITFIELDS and size >= 56 and data[66:70] == _ALPHA_MASK
    if form == _BITFIELDS and data[54:66] != _MASKS:
        raise ValueError("a BMP file of other bit masks")
    pixels = _rows(data, place, width, abs(height), depth)
    if depth == 32 and not has_alpha:
        pixels[:, 3::4] = 0
    palette = _palette(data, 14 + size, depth)
    header = struct.pack(
        "<IiiHHIIiiII",
        108 if has_alpha else 40,
        width,
        height,
        1,
        depth,
        _BITFIELDS if has_alpha else _RGB,
        pixels.size,
        0,
        0,
        len(palette) // 4,
        0,
    )
    if has_alpha:
        header += _MASKS + _ALPHA_MASK + _SRGB + bytes(48)
    start = 14 + len(header) + len(palette)
    head = b"BM" + struct.pack("<I4xI", start + pixels.size, start)
    return head + header + palette + pixels.tobytes()


def _rows(data: bytes, place: int, width: int, height: int, depth: int) -> NDArray[np.uint8]:
    """The rows as bytes, one row each, with zeros where they are filled up to four bytes."""
    stride = (width * depth + 31) // 32 * 4
    pixels = data[place : place + stride * height]
    if not height or len(pixels) != stride * height:
        raise ValueError("a BMP file of fewer pixels than it says")
    rows = np.frombuffer(pixels, np.uint8).reshape(height, stride).copy()
    whole, bits = divmod(width * depth, 8)
    if bits:
        rows[:, whole] &= 0xFF00 >> bits & 0xFF
        whole += 1
    rows[:, whole:] = 0
    return rows


def _palette(data: bytes, place: int, depth: int) -> bytes:
    """The colours of a picture of up to 8 bits, each with a zero as its fourth byte."""
    if depth > 8:
        return b""
    (used,) = struct.unpack_from("<I", data, 46)
    count = used or 1 << depth
    colours = bytearray(data[place : place + 4 * count])
    if count > 1 << depth or len(colours) != 4 * count:
        raise ValueError("a malformed palette")
    colours[3::4] = bytes(count)
    return bytes(colours)
