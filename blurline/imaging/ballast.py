"""How much a picture file holds beside its pixels, counted before any reader is let at it.

Readers keep all of it, some join it piece by piece, which takes time by the square of the pieces,
and some make an object of every entry of a table. So both the bytes and the pieces have a bound.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress

from blurline.errors import PictureError
from blurline.imaging.heif.boxes import spans
from blurline.imaging.kind import Kind
from blurline.imaging.tiff.directory import SIZES

MAX_SEGMENTS = 1024
"""Segments of a JPEG before its first scan. One holds 64 kB, and XMP of 10 MB is the most seen."""

MAX_CHUNKS = 100_000
"""Chunks of a PNG, most of which hold its pixels, and of a WebP."""

MAX_GIF_BLOCKS = 300_000
"""Blocks of a GIF; 50 MB are 200,000 of them where each holds the 255 bytes that it may."""

MAX_GIF_BLOCKS_BESIDE = 4096
"""Those of its extensions; Pillow joins the blocks of a comment one by one."""

MAX_STRIPS = 65_536
"""Strips or tiles that a TIFF's pixels lie in; Pillow makes several objects of each."""

_SOS, _EOI = 0xDA, 0xD9
_SCAN_OR_END = re.compile(rb"\xff[\xd9\xda]")
_PIXEL_CHUNKS = (b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
_PLACES_OF_PIXELS = (273, 279, 324, 325)  # TIFF 6.0: offsets and sizes of strips and of tiles


def check_bulk(data: bytes, kind: Kind, max_metadata: int, max_scans: int) -> None:
    """Return if the file holds no more beside its pixels than is taken.

    What is malformed is left to the readers: counting ends where the structure does.

    Args:
        data: the file.
        kind: its kind.
        max_metadata: bytes of segments, chunks, boxes or tags that hold no pixels; of a HEIC those
            of its tables, since nothing else is read.
        max_scans: passes that a JPEG may be coded in.

    Raises:
        PictureError: `too_many_bytes` of metadata; `unsupported_kind` for more pieces than any
            real picture has.
    """
    found = 0
    for size in _pieces(data, kind):
        found += size
        if found > max_metadata:
            raise PictureError(
                f"the {kind} file holds more than {max_metadata} bytes beside its pixels",
                code="too_many_bytes",
            )
    if (
        kind is Kind.JPEG
        and data.count(b"\xff\xda") > max_scans
        and _scans(data, max_scans) > max_scans
    ):
        raise _too_many(f"JPEG files of more than {max_scans} scans")


def _too_many(what: str) -> PictureError:
    return PictureError(f"{what} are not supported", code="unsupported_kind")


def _pieces(data: bytes, kind: Kind) -> Iterator[int]:
    """The sizes in bytes of what the file holds beside its pixels, as far as it is well-formed."""
    match kind:
        case Kind.JPEG:
            return _segments(data)
        case Kind.PNG:
            return _png_chunks(data)
        case Kind.WEBP:
            return _webp_chunks(data)
        case Kind.GIF:
            return _extensions(data)
        case Kind.TIFF:
            return _tags(data)
        case Kind.AVIF:
            return _boxes(data)
        case Kind.HEIC:
            return _tables_of_items(data)
    return iter(())


def _segments(data: bytes) -> Iterator[int]:
    """The segments before the first scan of a JPEG, where readers stop to look for metadata."""
    place, count = 2, 0
    while place + 4 <= len(data):
        if count > MAX_SEGMENTS:
            raise PictureError("the jpeg file's segments are too many, or lie too far apart")
        marker = data[place + 1]
        if data[place] != 0xFF:  # readers skip what is no marker, byte by byte
            following = data.find(b"\xff", place)
            following = len(data) if following < 0 else following
            count += following - place
            place = following
        elif marker in (_SOS, _EOI):
            return
        elif marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no length follows these
            count += 1
            place += 1 if marker == 0xFF else 2
        else:
            size = 2 + int.from_bytes(data[place + 2 : place + 4], "big")
            yield min(size, len(data) - place)
            count += 1
            place += size


def _scans(data: bytes, most: int) -> int:
    """The scans of a JPEG up to its end, behind which further pictures or films may hang; when
    there are more than `most`, it does not count on."""
    start = 2
    while data[start : start + 1] == b"\xff" and data[start + 1 : start + 2] != b"\xda":
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    count = 0
    for mark in _SCAN_OR_END.finditer(data, start):
        if data[mark.start() + 1] == _EOI or count > most:
            break
        count += 1
    return count


def _png_chunks(data: bytes) -> Iterator[int]:
    """The chunks of a PNG that hold no pixels (PNG 3, 5.3)."""
    place = 8
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, place)
        if name not in _PIXEL_CHUNKS:
            yield min(12 + length, len(data) - place)
        place += 12 + length
    raise _too_many(f"PNG files of more than {MAX_CHUNKS} chunks")


def _webp_chunks(data: bytes) -> Iterator[int]:
    """The chunks of a WebP that hold no pixels (RFC 9649, 2.3)."""
    place = 12
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, place)
        if name not in _PIXEL_CHUNKS:
            yield min(8 + length, len(data) - place)
        place += 8 + length + length % 2
    raise _too_many(f"WebP files of more than {MAX_CHUNKS} chunks")


def _extensions(data: bytes) -> Iterator[int]:
    """The extensions of a GIF (GIF89a, sections 18 to 26)."""
    place, blocks, beside = 13, 0, 0
    if len(data) > 10 and data[10] & 0x80:
        place += 3 << (data[10] & 7) + 1
    while place < len(data):
        is_extension = data[place] == 0x21
        if is_extension:
            place += 2
        elif data[place] == 0x2C and place + 10 <= len(data):
            colours = data[place + 9]
            place += 10 + (3 << (colours & 7) + 1 if colours & 0x80 else 0) + 1
        else:
            return
        blocks += 1
        while place < len(data) and data[place]:
            if is_extension:
                beside += 1
                yield 1 + data[place]
            blocks += 1
            place += 1 + data[place]
            if blocks > MAX_GIF_BLOCKS or beside > MAX_GIF_BLOCKS_BESIDE:
                raise _too_many("GIF files in so many blocks")
        place += 1


def _tags(data: bytes) -> Iterator[int]:
    """The values of the first directory of a TIFF; those that say where its pixels lie are counted
    by number."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for index in range(count):
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, start + 2 + 12 * index)
            if tag in _PLACES_OF_PIXELS:
                if number > MAX_STRIPS:
                    raise _too_many(f"TIFF files of more than {MAX_STRIPS} strips or tiles")
            else:
                yield 12 + min(number * SIZES.get(kind, 0), len(data))
    except struct.error:
        return


def _boxes(data: bytes) -> Iterator[int]:
    """The boxes of an AVIF but those of coded data (ISO/IEC 14496-12, 4.2)."""
    place = 0
    for _ in range(MAX_CHUNKS):
        if place + 16 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, place)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
        size = size or len(data) - place
        if size < 8:
            return
        if name != b"mdat":
            yield min(size, len(data) - place)
        place += size
    raise _too_many(f"AVIF files of more than {MAX_CHUNKS} boxes")


def _tables_of_items(data: bytes) -> Iterator[int]:
    """The box of a HEIC that says where all others are (ISO/IEC 14496-12, 8.11.1)."""
    with suppress(ValueError):
        yield from (end - start for name, start, end in spans(data) if name == b"meta")
