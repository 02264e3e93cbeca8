"""JPEG files (ITU-T T.81; JFIF 1.02; Adobe's mark by its TN 5116, section 18)."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from blurline.imaging.metadata import Metadata

_EOI, _SOS, _DQT, _DHT, _DAC, _DRI = 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_LEFT_BEHIND = (*range(0xE0, 0xF0), 0xFE)  # all APPn and COM

_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
"""Sequential and progressive frames, with Huffman or arithmetic coding (T.81, table B.1)."""
_PROGRESSIVE = (0xC2, 0xCA)
_ARITHMETIC = (0xC9, 0xCA)

_AFTER_SAMPLES = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""A marker that is neither a stuffed byte nor a restart (T.81, B.1.1.5)."""

_JFIF = b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, 0, 1, 1, 0, 0)  # square pixels, no thumbnail
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"  # ISO 16684-3, 1.1.3
_ICC_MARK = b"ICC_PROFILE\0"
_ICC_PART = 0xFFFF - 2 - len(_ICC_MARK) - 2

_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}
"""The colour space that a profile must be of, for each number of components."""

_Key = tuple[int, int, int]
"""A table's place: marker, class, destination."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """A marker, what its length spans, and for a scan the coded samples behind it."""

    marker: int
    content: bytes
    samples: bytes = b""


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The picture with its scans, the tables that they use, and `metadata`.

    JFIF's or Adobe's mark is written anew, so that readers see the same colour space as before.

    Raises:
        ValueError: malformed, or of a process that is not read here.
    """
    segments = list(_segments(data))
    frames = [segment for segment in segments if segment.marker in _FRAMES]
    if len(frames) != 1:
        raise ValueError("not one frame in a JPEG file")
    components = _components(frames[0])
    first, last = _colour_marks(segments, list(components))
    exif, icc = metadata.exif(), metadata.profile_for(_SPACES[len(components)])
    parts = [b"\xff\xd8", first]
    if exif:
        parts.append(_written(_APP1, b"Exif\0\0" + exif))
    if xmp := metadata.xmp():
        parts.append(_written(_APP1, _XMP_MARK + xmp))
    if icc:
        parts += _profile(icc)
    return b"".join([*parts, last, *_scans(segments, frames[0], components), b"\xff\xd9"])


def _segments(data: bytes) -> Iterator[_Segment]:
    """All segments from the start to the first end of image, which must be there."""
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("no start of a JPEG file")
    place = 2
    while True:
        start = place
        while data[place : place + 1] == b"\xff":  # one, and fill bytes (T.81, B.1.1.2)
            place += 1
        if place == start or place >= len(data):
            raise ValueError("no marker where one must be")
        marker = data[place]
        place += 1
        if marker == _EOI:
            return
        if marker not in (*_FRAMES, _SOS, _DQT, _DHT, _DAC, _DRI, *_LEFT_BEHIND):
            raise ValueError("an unknown marker in a JPEG file")
        end = place + int.from_bytes(data[place : place + 2], "big")
        if end < place + 2 or end > len(data):
            raise ValueError("a segment that ends too late")
        content, place = data[place + 2 : end], end
        if marker == _SOS:
            after = _AFTER_SAMPLES.search(data, end)
            if after is None:
                raise ValueError("a JPEG file without an end")
            place = after.start()
        yield _Segment(marker, content, data[end:place])


def _components(frame: _Segment) -> dict[int, int]:
    """The destination of its quantisation table for each component (T.81, B.2.2)."""
    content = frame.content
    if len(content) < 6 or content[5] not in _SPACES or len(content) != 6 + 3 * content[5]:
        raise ValueError("a malformed frame")
    if content[0] not in (8, 12) or not any(content[1:3]) or not any(content[3:5]):
        raise ValueError("a frame of no pixels or other samples")
    components = {content[place]: content[place + 2] for place in range(6, len(content), 3)}
    if len(components) != content[5]:
        raise ValueError("two components of one name")
    return components


def _colour_marks(segments: Sequence[_Segment], names: list[int]) -> tuple[bytes, bytes]:
    """What is to stand first and last before the tables, that the samples mean what they did.

    The colour space is the one that libjpeg takes (jdapimin.c, `default_decompress_parms`).
    """
    jfif, adobe = False, None
    for segment in segments:
        if segment.marker == _SOS:
            break
        if segment.marker == _APP0 and segment.content.startswith(b"JFIF\0"):
            jfif = jfif or len(segment.content) >= 14
        if segment.marker == _APP14 and segment.content.startswith(b"Adobe"):
            adobe = segment.content[11] if len(segment.content) >= 12 else adobe
    if len(names) == 4:
        return b"", b"" if adobe is None else _adobe(0 if adobe == 0 else 2)
    is_rgb = adobe == 0 if adobe is not None else names == [*b"RGB"]
    if len(names) == 3 and not jfif and is_rgb:
        return b"", _adobe(0)
    return _written(_APP0, _JFIF), b""


def _adobe(transform: int) -> bytes:
    return _written(_APP14, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def _profile(icc: bytes) -> list[bytes]:
    """The profile in as many segments as it needs (ICC.1:2022, B.4)."""
    pieces = [icc[start : start + _ICC_PART] for start in range(0, len(icc), _ICC_PART)]
    return [
        _written(_APP2, _ICC_MARK + bytes((number, len(pieces))) + piece)
        for number, piece in enumerate(pieces, 1)
    ]


def _scans(
    segments: Sequence[_Segment], frame: _Segment, components: Mapping[int, int]
) -> Iterator[bytes]:
    """The frame and its scans, each after those tables that it uses."""
    tables: dict[_Key, bytes] = {}
    restart = written_restart = b"\0\0"
    begun: set[int] = set()
    for segment in segments:
        if segment.marker == _DRI:
            restart = segment.content
            if len(restart) != 2:
                raise ValueError("a malformed restart interval")
        if segment.marker != _SOS:
            tables.update(_tables(segment))
            continue
        names, keys = _scan(segment.content, frame.marker, components)
        # A component's quantisation is fixed by its first scan (T.81, B.2.4.1).
        keys += [(_DQT, 0, components[name]) for name in names if name not in begun]
        for key in dict.fromkeys(keys):
            if key in tables:
                yield _written(key[0], tables[key])
            elif key[0] != _DAC:  # arithmetic coding has values for when none are given
                raise ValueError("a scan without its tables")
        if not begun:
            yield _written(frame.marker, frame.content)
        begun |= set(names)
        if restart != written_restart:
            written_restart = restart
            yield _written(_DRI, restart)
        yield _written(_SOS, segment.content) + segment.samples
    if begun != set(components):
        raise ValueError("a component without a scan")


def _tables(segment: _Segment) -> dict[_Key, bytes]:
    """The tables of a DQT, DHT or DAC segment, each as it stands there (T.81, B.2.4)."""
    found: dict[_Key, bytes] = {}
    content, place = segment.content, 0
    while place < len(content) and segment.marker in (_DQT, _DHT, _DAC):
        first, second = divmod(content[place], 16)
        if segment.marker == _DQT:
            key, size = (_DQT, 0, second), 64 * (1 + first)
        elif segment.marker == _DHT:
            counts = content[place + 1 : place + 17]
            key, size = (_DHT, first, second), 16 + sum(counts)
        else:
            key, size = (_DAC, first, second), 1
        table = content[place : place + 1 + size]
        if first > 1 or second > 3 or size > 16 + 256 or len(table) != 1 + size:
            raise ValueError("a malformed table")
        found[key] = table
        place += len(table)
    return found


def _scan(
    content: bytes, process: int, components: Mapping[int, int]
) -> tuple[list[int], list[_Key]]:
    """The components of a scan, and the tables of entropy coding that it uses (T.81, B.2.3)."""
    count = content[0] if content else 0
    if not 1 <= count <= 4 or len(content) != 4 + 2 * count:
        raise ValueError("a malformed scan")
    names = list(content[1 : 1 + 2 * count : 2])
    first, last, precision = content[-3:]
    if len(set(names)) != count or not set(names) <= set(components) or max(first, last) > 63:
        raise ValueError("a malformed scan")
    if process in _PROGRESSIVE:
        # The first bits of the DC values need their table, further bits none (T.81, G.1.2).
        classes = {1} if first else (set() if precision >> 4 else {0})
    else:
        classes = {0, 1}
    marker = _DAC if process in _ARITHMETIC else _DHT
    keys = [
        (marker, kind, number)
        for pair in content[2 : 2 + 2 * count : 2]
        for kind, number in enumerate(divmod(pair, 16))
        if kind in classes
    ]
    return names, keys


def _written(marker: int, content: bytes) -> bytes:
    if len(content) > 0xFFFF - 2:
        raise ValueError("more than a segment holds")
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
