"""What a PNG file holds compressed or as text beside its pixels: profile, XMP, and EXIF of old.

Each is inflated no further than it may be long, so that no chunk can fill the memory.
"""

import zlib
from collections.abc import Iterator
from contextlib import suppress

from blurline.imaging.profile import MAX_BYTES

_RAW_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")
"""Keywords of texts under which ImageMagick and ExifTool write EXIF as hexadecimal digits."""

_XMP = b"XML:com.adobe.xmp\0"

_LONGEST_EXIF = 1 << 16
"""Bytes, as many as a segment of a JPEG can hold."""


def profile_of_png(data: bytes) -> bytes | None:
    """The first colour profile (PNG 3, 11.3.2.3); None without one, or for a damaged one or one of
    more than `profile.MAX_BYTES`."""
    content = chunk_of_png(data, b"iCCP") or b""
    _, _, packed = content.partition(b"\0")
    return _inflated(packed[1:], MAX_BYTES) if packed[:1] == b"\0" else None


def chunk_of_png(data: bytes, name: bytes) -> bytes | None:
    """The content of the first chunk of that name; None without one."""
    return next((content for found, content in _chunks(data) if found == name), None)


def exif_of_png(data: bytes) -> bytes | None:
    """The first EXIF block, wherever it lies (PNG 3, 11.3.3.3), else the first that is a text."""
    raw: bytes | None = None
    for name, content in _chunks(data):
        if name == b"eXIf":
            return content
        if raw is None and name in (b"tEXt", b"zTXt", b"iTXt") and content.startswith(_RAW_EXIF):
            raw = _raw_exif(name, content)
    return raw


def xmp_of_png(data: bytes, most: int) -> bytes:
    """The first packet of XMP (ISO 16684-3, 1.1.5); empty without one, or for one of more than
    `most` bytes."""
    texts = (content for name, content in _chunks(data) if name == b"iTXt")
    text = next((text for text in texts if text.startswith(_XMP)), b"")
    packet = _international(text[len(_XMP) :], most)
    return packet if len(packet) <= most else b""


def _international(text: bytes, most: int) -> bytes:
    """The text of an iTXt chunk behind its keyword (PNG 3, 11.3.3.4)."""
    is_packed, content = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    return (_inflated(content, most) or b"") if is_packed else content


def _raw_exif(name: bytes, content: bytes) -> bytes | None:
    """The block of a text: a line with its kind, one with its length, then the digits."""
    _, _, text = content.partition(b"\0")
    longest = 3 * _LONGEST_EXIF  # two digits a byte, and line breaks
    if name == b"zTXt":
        text = _inflated(text[1:], longest) or b""
    elif name == b"iTXt":
        text = _international(text, longest)
    lines = text[:longest].strip().split(b"\n")
    with suppress(ValueError):
        block = bytes.fromhex(b"".join(lines[2:]).decode("latin-1"))
        return block if block.startswith((b"Exif\0\0", b"II*\0", b"MM\0*")) else None
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk, whether or not its checksum is right (PNG 3, 5.3)."""
    place = 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def _inflated(stream: bytes, most: int) -> bytes | None:
    """What a whole zlib stream holds, None where it is damaged or holds more than `most` bytes."""
    inflater = zlib.decompressobj()
    with suppress(zlib.error):
        content = inflater.decompress(stream, most + 1)
        return content if inflater.eof and len(content) <= most else None
    return None
