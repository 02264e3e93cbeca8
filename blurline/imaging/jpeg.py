"""The structure of a JPEG file, read without decoding its pixels.

Markers and segments are those of ITU-T T.81, annex B; which colours the components stand for is
decided as libjpeg does, whose decoder the pixels come from.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from blurline.errors import BlurlineError

BLOCK = 8
"""Samples on each side of a block (T.81, A.3.3)."""

# The order in which a file stores the 64 values of a block (T.81, figure A.6), as places in
# natural order: by diagonals, of which every other one is walked upwards.
_ZIGZAG = sorted(
    range(BLOCK * BLOCK),
    key=lambda place: (
        place // BLOCK + place % BLOCK,
        place // BLOCK if (place // BLOCK + place % BLOCK) % 2 else place % BLOCK,
    ),
)

_DHT, _SOI, _EOI, _SOS, _DQT, _DRI = 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD
_APP0, _APP14 = 0xE0, 0xEE
_BASELINE, _EXTENDED, _PROGRESSIVE, _PROGRESSIVE_ARITHMETIC = 0xC0, 0xC1, 0xC2, 0xCA
_JPG, _DAC = 0xC8, 0xCC
_FRAMES = set(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}

# Behind fill bytes; a stuffed zero and restart markers belong to the coded data (T.81, B.1.1).
_MARKER = re.compile(rb"\xff\xff*([^\x00\xff\xd0-\xd7])")


class JpegError(BlurlineError):
    """A JPEG's coefficients can't be changed in place; its pixels may decode all the same."""

    code = "untreatable_jpeg"


class Colours(StrEnum):
    """What the components of a JPEG stand for."""

    GREY = "grey"
    YCBCR = "ycbcr"
    RGB = "rgb"
    CMYK = "cmyk"
    YCCK = "ycck"


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One of the planes of a JPEG.

    Attributes:
        identifier: what scans call it, 0 to 255.
        horizontal: samples in x for each unit of the frame, 1 to 4.
        vertical: samples in y for each unit of the frame, 1 to 4.
        table: quantisation steps, shape (64,), 1 to 65535, in natural order: index 8 * v + u for
            the vertical frequency v and the horizontal frequency u.
    """

    identifier: int
    horizontal: int
    vertical: int
    table: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class JpegFrame:
    """What the markers of a Huffman-coded JPEG say.

    Attributes:
        width: in pixels, as stored.
        height: in pixels, as stored.
        precision: bits of a sample.
        components: in the order of the frame header.
        progressive: whether the coefficients come in several passes.
        jfif: whether there is a JFIF header.
        adobe_transform: the last byte of Adobe's APP14 segment, None without one.
        restart_interval: MCUs between two restart markers, 0 without them.
    """

    width: int
    height: int
    precision: int
    components: tuple[Component, ...]
    progressive: bool
    jfif: bool
    adobe_transform: int | None
    restart_interval: int

    @property
    def colours(self) -> Colours:
        """The colour space that libjpeg takes the file for (jdapimin.c, default_decompress_parms).

        Raises:
            JpegError: there is no rule for such a file, or readers differ: of CMYK without Adobe's
                segment some take 0 and some take 255 for full ink.
        """
        identifiers = [component.identifier for component in self.components]
        match len(identifiers), self.adobe_transform:
            case 1, _:
                return Colours.GREY
            case 3, _ if self.jfif:
                return Colours.YCBCR
            case 3, 0:
                return Colours.RGB
            case 3, 1:
                return Colours.YCBCR
            case 3, None:
                return Colours.RGB if bytes(identifiers) == b"RGB" else Colours.YCBCR
            case 4, 0:
                return Colours.CMYK
            case 4, 2:
                return Colours.YCCK
        raise JpegError("the JPEG's colour space is not certain")

    def block_size(self, component: Component) -> tuple[int, int]:
        """Height and width in pixels of what a block of the component covers (T.81, A.1.1).

        Raises:
            JpegError: a sample of the component does not cover whole pixels.
        """
        highest = max(other.vertical for other in self.components)
        widest = max(other.horizontal for other in self.components)
        if highest % component.vertical or widest % component.horizontal:
            raise JpegError("the JPEG's sampling factors are no multiples of each other")
        return BLOCK * highest // component.vertical, BLOCK * widest // component.horizontal


def read_frame(data: bytes) -> JpegFrame:
    """What the markers in `data` say, which begin at its first byte.

    Raises:
        JpegError: the file is damaged, is neither sequential nor progressive DCT with Huffman
            coding, or changes its quantisation tables between scans.
    """
    tables: dict[int, NDArray[np.uint16]] = {}
    header: tuple[int, bytes] | None = None
    jfif, adobe_transform, restart_interval = False, None, 0
    segments = _segments(data)
    for marker, content in segments:
        if marker == _SOS:
            break
        if marker == _DQT:
            tables |= _quantisation_tables(content)
        elif marker in _FRAMES and header is None:
            header = marker, content
        elif marker == _DRI and len(content) == 2:
            restart_interval = int.from_bytes(content, "big")
        elif marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
            jfif = True
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            adobe_transform = content[11]
    else:
        raise JpegError("the JPEG has no scan")
    if any(marker == _DQT for marker, _ in segments):
        raise JpegError("the JPEG's quantisation tables change between scans")
    if header is None:
        raise JpegError("the JPEG has no frame")
    marker, content = header
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        raise JpegError("the JPEG is neither sequential nor progressive with Huffman coding")
    precision, height, width, components = _frame_header(content, tables)
    return JpegFrame(
        width=width,
        height=height,
        precision=precision,
        components=components,
        progressive=marker == _PROGRESSIVE,
        jfif=jfif,
        adobe_transform=adobe_transform,
        restart_interval=restart_interval,
    )


@dataclass(frozen=True, slots=True)
class Scans:
    """The scans of a JPEG: how many components there are, and whether the scans bring every
    coefficient of each in full."""

    components: int
    are_all: bool


def scans_of(data: bytes) -> Scans:
    """The scans of the JPEG in `data`, which may lack the mark of its end.

    Raises:
        JpegError: it has no frame, or is no JPEG.
    """
    missing: dict[int, dict[int, int]] = {}
    progressive = False
    with suppress(JpegError):  # which is what the end without a mark is
        for marker, content in _segments(data):
            if marker in _FRAMES and len(content) >= 6 and not missing:
                progressive = marker in (_PROGRESSIVE, _PROGRESSIVE_ARITHMETIC)
                missing = {name: dict.fromkeys(range(64), 1) for name in content[6::3]}
            elif marker == _SOS:
                _take_scan(content, missing, progressive=progressive)
    if not missing:
        raise JpegError("the JPEG has no frame")
    are_all = not any(any(bits.values()) for bits in missing.values())
    return Scans(len(missing), are_all)


def coded_start(data: bytes) -> int:
    """Where the coded data of the first scan begins.

    Raises:
        JpegError: it has no scan, or is no JPEG.
    """
    for marker, _, end in _placed_segments(data):
        if marker == _SOS:
            return end
    raise JpegError("the JPEG has no scan")


def _take_scan(content: bytes, missing: dict[int, dict[int, int]], *, progressive: bool) -> None:
    """Take what a scan brings from the lowest bits that the coefficients of each component lack:
    those of a band, down to a bit in progressive files, all of them in others (T.81, G.1.1.1)."""
    count = content[0] if content else 0
    if len(content) != 4 + 2 * count:
        return
    first, last, precision = content[-3:]
    band = range(first, min(last, 63) + 1) if progressive else range(64)
    for name in content[1 : 1 + 2 * count : 2]:
        for place in band:
            missing.get(name, {})[place] = precision & 15 if progressive else 0


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment up to the end of the image; coded data is left out."""
    for marker, content, _ in _placed_segments(data):
        yield marker, content


def _placed_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The same, and where each segment ends."""
    if not data.startswith(bytes((0xFF, _SOI))):
        raise JpegError("the file is no JPEG")
    marker, place = _SOI, 2
    # Coded data follows a scan's header. Nothing may lie between other segments, since readers
    # differ in what they make of it.
    while found := (_MARKER.search if marker == _SOS else _MARKER.match)(data, place):
        marker, place = found[1][0], found.end()
        if marker == _EOI:
            return
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + length > len(data):
            break
        content, place = data[place + 2 : place + length], place + length
        yield marker, content, place
    raise JpegError("the JPEG's segments are damaged")


def _quantisation_tables(content: bytes) -> dict[int, NDArray[np.uint16]]:
    """The tables of a DQT segment by their number, in natural order (T.81, B.2.4.1)."""
    tables = {}
    place = 0
    while place < len(content):
        wide, number = divmod(content[place], 16)
        end = place + 1 + (128 if wide else 64)
        if end > len(content):
            raise JpegError("the JPEG's quantisation tables are damaged")
        table = np.zeros(64, np.uint16)
        table[_ZIGZAG] = np.frombuffer(content[place + 1 : end], ">u2" if wide else "u1")
        if not table.all():
            raise JpegError("the JPEG's quantisation tables hold a step of 0")
        tables[number] = table
        place = end
    return tables


def _frame_header(
    content: bytes, tables: dict[int, NDArray[np.uint16]]
) -> tuple[int, int, int, tuple[Component, ...]]:
    """Precision, height, width and components of an SOF segment (T.81, B.2.2)."""
    if len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise JpegError("the JPEG's frame header is damaged")
    precision, height, width, _ = struct.unpack(">BHHB", content[:6])
    components = []
    for identifier, factors, number in struct.iter_unpack("3B", content[6:]):
        horizontal, vertical = divmod(factors, 16)
        if not (1 <= horizontal <= 4 and 1 <= vertical <= 4 and number in tables):
            raise JpegError("the JPEG's frame header is damaged")
        components.append(Component(identifier, horizontal, vertical, tables[number]))
    if not (height and width and components):
        raise JpegError("the JPEG's frame header names no size or no components")
    return precision, height, width, tuple(components)
