"""PNG files (W3C PNG, third edition)."""

import struct
import zlib
from collections.abc import Iterator, Mapping

from blurline.imaging.chunks import PNG_SIGNATURE, png_chunk, png_chunks
from blurline.imaging.containers.deflate import check_inflated
from blurline.imaging.metadata import Metadata

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Channels, and bits of a sample, by colour type (11.2.1)."""
_TRUECOLOUR, _INDEXED = 2, 3

_COLOURS = {b"cICP": 4, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
"""Chunks that say in numbers which colours the samples mean, and how long they are (11.3.2)."""

_MOST = 1_000_000  # stands for 10: no exponent and no chromaticity is above (11.3.2.1, 11.3.2.2)

_ONCE = (b"IHDR", b"PLTE", b"tRNS", *_COLOURS)

_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Left, top, and distance of columns and of rows of each pass (8.1)."""

_XMP_MARK = b"XML:com.adobe.xmp" + bytes(5)
"""Keyword, not compressed, of no language (ISO 16684-3, 1.1.5)."""


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The picture with its palette, transparency and colour space, and with `metadata`.

    Raises:
        ValueError: malformed, animated, or with more or fewer samples than its size asks for.
    """
    chunks = list(png_chunks(data))
    names = [name for name, _ in chunks]
    if names[0] != b"IHDR" or any(names.count(name) > 1 for name in _ONCE):
        raise ValueError("a chunk of a PNG file is missing or there twice")
    if b"acTL" in names or b"fdAT" in names:
        raise ValueError("an animated PNG file")
    content = dict(chunks)
    header = content[b"IHDR"]
    samples = b"".join(content for name, content in chunks if name == b"IDAT")
    check_inflated(samples, _size(header))
    icc = metadata.profile_for(b"RGB " if header[9] & _TRUECOLOUR else b"GRAY", has_points=True)
    parts = [PNG_SIGNATURE, png_chunk(b"IHDR", header)]
    if icc is not None:
        parts.append(png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(icc)))
    parts += colour_chunks(data, beside_profile=icc is not None)
    parts += _palette(content, header)
    if exif := metadata.exif():
        parts.append(png_chunk(b"eXIf", exif))
    if xmp := metadata.xmp():
        parts.append(png_chunk(b"iTXt", _XMP_MARK + xmp))
    return b"".join([*parts, png_chunk(b"IDAT", samples), png_chunk(b"IEND", b"")])


def colour_chunks(data: bytes, *, beside_profile: bool = False) -> list[bytes]:
    """Those chunks of a PNG file, whole, that say in numbers which colours its samples mean.

    Args:
        data: the file.
        beside_profile: leave out what must not stand beside a profile.

    Raises:
        ValueError: malformed.
    """
    found = dict(png_chunks(data))
    return [
        png_chunk(name, found[name])
        for name in _COLOURS
        if _is_colour(name, found.get(name, b"")) and not (beside_profile and name == b"sRGB")
    ]


def _is_colour(name: bytes, content: bytes) -> bool:
    """Whether a chunk has its length and, since numbers could be letters, numbers that can be."""
    if len(content) != _COLOURS[name]:
        return False
    if name in (b"gAMA", b"cHRM"):
        return all(number <= _MOST for (number,) in struct.iter_unpack(">I", content))
    return name == b"cICP" or content[0] <= 3


def is_whole(data: bytes) -> bool:
    """Whether all chunks of a PNG file are there and undamaged."""
    try:
        return all(True for _ in png_chunks(data))
    except ValueError:
        return False


def _size(header: bytes) -> int:
    """How many bytes the filtered samples are (7.2, 8.1, 9.1)."""
    if len(header) != 13:
        raise ValueError("a malformed header of a PNG file")
    width, height, depth, colour_type, *methods = struct.unpack(">II5B", header)
    if width * height == 0 or depth not in _DEPTHS.get(colour_type, ()):
        raise ValueError("a PNG file of no pixels or unknown samples")
    if methods not in ([0, 0, 0], [0, 0, 1]):
        raise ValueError("a PNG file of an unknown method")
    bits = depth * _CHANNELS[colour_type]
    passes = _ADAM7 if methods[2] else ((0, 0, 1, 1),)
    size = 0
    for left, top, columns, rows in passes:
        across, down = -(-(width - left) // columns), -(-(height - top) // rows)
        if across > 0 and down > 0:
            size += down * (1 + -(-across * bits // 8))
    return size


def _palette(content: Mapping[bytes, bytes], header: bytes) -> Iterator[bytes]:
    """PLTE and tRNS where the colour type has them (11.2.2, 11.3.1.1)."""
    depth, colour_type = header[8], header[9]
    entries, transparent = content.get(b"PLTE", b""), content.get(b"tRNS", b"")
    most = {0: 2, _TRUECOLOUR: 6, _INDEXED: len(entries) // 3}.get(colour_type, 0)
    if colour_type == _INDEXED:
        if len(entries) % 3 or not 3 <= len(entries) <= 3 << depth:
            raise ValueError("a malformed palette")
        yield png_chunk(b"PLTE", entries)
    elif len(transparent) != most:
        transparent = b""
    if len(transparent) > most:
        raise ValueError("transparency of more colours than there are")
    if transparent:
        yield png_chunk(b"tRNS", transparent)
