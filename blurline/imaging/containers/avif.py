"""AVIF files (AOM, AV1 Image File Format 1.2), a sort of HEIF (ISO/IEC 23008-12), so made of the
boxes of ISO/IEC 14496-12."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from blurline.imaging.chunks import Reader
from blurline.imaging.metadata import Metadata

_ALPHA = bytes(4) + b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"  # AVIF 1.2, 4

_TURNS: dict[int, tuple[int | None, int | None]] = {
    1: (None, None),
    2: (None, 1),
    3: (2, None),
    4: (None, 0),
    5: (1, 0),
    6: (3, None),
    7: (3, 0),
    8: (1, None),
}
"""For each orientation of EXIF the quarter turns to the left, then how it is mirrored: 0 upside
down, 1 left to right (HEIF 6.5.10, 6.5.12)."""

_KEPT_UNITS = (1, 3, 4, 6, 7)
"""Sequence header, frame header, tile group, frame, repeated frame header (AV1, 6.2.2)."""


@dataclass(frozen=True, slots=True)
class _Property:
    """A box that describes an item; whoever does not know an essential one must not show it."""

    name: bytes
    content: bytes
    essential: bool = False


@dataclass(frozen=True, slots=True)
class _Item:
    """What an item is, its bytes, what describes it, and how it refers to the first item."""

    kind: bytes
    content: bytes
    properties: tuple[_Property, ...] = ()
    reference: bytes = b""


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The primary picture with its transparency, and with `metadata`.

    Raises:
        ValueError: malformed, animated, put together from several pictures, or cropped.
    """
    pictures = _pictures(data)
    colour = pictures[0]
    _, profile, form, _ = next(p.content for p in colour.properties if p.name == b"av1C")
    if icc := metadata.profile_for(b"GRAY" if form & 0x10 else b"RGB "):
        described = (*colour.properties, _Property(b"colr", b"prof" + icc))
        pictures[0] = replace(colour, properties=described)
    angle, axis = _TURNS[metadata.orientation]
    turn = [_Property(b"irot", bytes((angle,)), essential=True)] if angle is not None else []
    turn += [_Property(b"imir", bytes((axis,)), essential=True)] if axis is not None else []
    items = [replace(item, properties=(*item.properties, *turn)) for item in pictures]
    # Properties alone say how the picture is turned; EXIF would only say it again (MIAF 7.3.6.7).
    if exif := replace(metadata, orientation=1).exif():
        items.append(_Item(b"Exif", bytes(4) + exif, reference=b"cdsc"))
    return _file(items, b"MA1A" if profile >> 5 else b"MA1B")


def _pictures(data: bytes) -> list[_Item]:
    """The primary picture and, where there is one, its transparency."""
    boxes = list(_boxes(data))
    names = [name for name, _ in boxes]
    if names[:1] != [b"ftyp"] or names.count(b"meta") != 1 or b"moov" in names:
        raise ValueError("no still AVIF file")
    meta = dict(_boxes(dict(boxes)[b"meta"][4:]))
    if not meta.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
        raise ValueError("an AVIF file without its tables")
    first = _Reader(meta[b"pitm"])
    primary = first.number(4 if first.head() else 2)
    properties, kinds = _properties(meta[b"iprp"]), _kinds(meta[b"iinf"])
    references = _references(meta[b"iref"]) if b"iref" in meta else []
    places = _places(meta[b"iloc"])
    alphas = [
        item
        for kind, item, targets in references
        if kind == b"auxl"
        and primary in targets
        and any(p.name == b"auxC" and p.content == _ALPHA for p in properties.get(item, ()))
    ]
    used = [primary, *alphas]
    if len(used) > 2 or any(kinds.get(item) != b"av01" for item in used):
        raise ValueError("an AVIF file of another sort of picture")
    if any(kind in (b"prem", b"dimg") for kind, item, _ in references if item in used):
        raise ValueError("an AVIF file whose pictures are put together")
    found = []
    for item in used:
        stream = _coded(_content(data, meta.get(b"idat", b""), places.get(item)))
        described = _described(properties.get(item, ()))
        found.append(_Item(b"av01", stream, described))
    if alphas:
        mark = _Property(b"auxC", _ALPHA)
        found[1] = replace(found[1], properties=(*found[1].properties, mark), reference=b"auxl")
    return found


class _Reader(Reader):
    """Big-endian numbers, one after the other."""

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def head(self) -> int:
        """The version of a full box, past its flags (14496-12, 4.2)."""
        version, _ = self.number(1), self.number(3)
        return version

    @property
    def more(self) -> bool:
        return self.place < len(self.data)

    @property
    def rest(self) -> bytes:
        return self.data[self.place :]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box (14496-12, 4.2)."""
    reader = _Reader(data)
    while reader.more:
        start = reader.place
        size, name = reader.number(4), reader.take(4)
        if size == 1:
            size = reader.number(8)
        end = start + size if size else len(data)
        if end < reader.place:
            raise ValueError("a box smaller than its head")
        yield name, reader.take(end - reader.place)


def _kinds(table: bytes) -> dict[int, bytes]:
    """The type of each item (14496-12, 8.11.6)."""
    reader = _Reader(table)
    reader.number(4 if reader.head() else 2)
    found = {}
    for name, entry in _boxes(reader.rest):
        if name != b"infe" or entry[:1] not in (b"\2", b"\3"):
            raise ValueError("an item of an unknown form")
        row = _Reader(entry, 4)
        item, _ = row.number(2 if entry[0] == 2 else 4), row.number(2)
        found[item] = row.take(4)
    return found


_Place = tuple[int, list[tuple[int, int]]]
"""How an item is stored, and the start and length of each of its parts."""


def _places(table: bytes) -> dict[int, _Place]:
    """Where each item is (14496-12, 8.11.3)."""
    reader = _Reader(table)
    version = reader.head()
    (start_size, length_size), (base_size, index_size) = (
        divmod(reader.number(1), 16) for _ in range(2)
    )
    wide = 4 if version == 2 else 2
    found = {}
    for _ in range(reader.number(wide)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        if reader.number(2):
            raise ValueError("an item in another file")
        base, parts = reader.number(base_size), []
        for _ in range(reader.number(2)):
            reader.number(index_size if version else 0)
            parts.append((base + reader.number(start_size), reader.number(length_size)))
        found[item] = (method, parts)
    return found


def _content(data: bytes, inner: bytes, place: _Place | None) -> bytes:
    method, parts = place or (0, [])
    if method > 1 or not parts:
        raise ValueError("an item that is not in the file")
    return b"".join(
        _Reader(inner if method else data, start).take(length) for start, length in parts
    )


def _references(table: bytes) -> list[tuple[bytes, int, list[int]]]:
    """Kind, item and the items it refers to (14496-12, 8.11.12)."""
    outer, found = _Reader(table), []
    wide = 4 if outer.head() else 2
    for kind, entry in _boxes(outer.rest):
        reader = _Reader(entry)
        item = reader.number(wide)
        found.append((kind, item, [reader.number(wide) for _ in range(reader.number(2))]))
    return found


def _properties(table: bytes) -> dict[int, list[_Property]]:
    """The properties of each item, in the order in which they apply (14496-12, 8.11.14)."""
    boxes = list(_boxes(table))
    known = [list(_boxes(content)) for name, content in boxes if name == b"ipco"]
    found: dict[int, list[_Property]] = {}
    for _, content in (box for box in boxes if box[0] == b"ipma"):
        reader = _Reader(content)
        version, flags = reader.number(1), reader.number(3)
        width = 2 if flags & 1 else 1
        for _ in range(reader.number(4)):
            item = reader.number(4 if version else 2)
            for _ in range(reader.number(1)):
                essential, index = divmod(reader.number(width), 1 << 8 * width - 1)
                if len(known) != 1 or index > len(known[0]):
                    raise ValueError("a property that is not there")
                if index:
                    name, value = known[0][index - 1]
                    found.setdefault(item, []).append(_Property(name, value, bool(essential)))
    return found


def _described(properties: Sequence[_Property]) -> tuple[_Property, ...]:
    """Of the properties of a coded picture those that its pixels need, in their exact length."""
    found: list[_Property] = []
    for name, content, essential in ((p.name, p.content, p.essential) for p in properties):
        reader = _Reader(content)
        if name == b"ispe":
            found.append(_Property(name, reader.take(12)))
        elif name == b"pixi":
            found.append(_Property(name, reader.take(5) + reader.take(min(content[4], 4))))
        elif name == b"av1C":  # without the repeated units that may follow (AV1-ISOBMFF, 2.3)
            found.append(_Property(name, reader.take(4), essential=True))
        elif name == b"colr" and content[:4] == b"nclx":
            found.append(_Property(name, reader.take(11)))
        elif name == b"clap" or (essential and name not in (b"irot", b"imir", b"auxC")):
            raise ValueError("a picture that is shown in another way")
    names = [p.name for p in found]
    if names.count(b"ispe") != 1 or names.count(b"av1C") != 1 or len(set(names)) != len(names):
        raise ValueError("a picture that is not described")
    return tuple(found)


def _coded(stream: bytes) -> bytes:
    """The units of an AV1 stream that make the picture, without metadata and padding (AV1, 5.3)."""
    reader, kept = _Reader(stream), []
    while reader.more:
        start = reader.place
        head = reader.number(1)
        if head & 0x80:
            raise ValueError("a malformed AV1 stream")
        if head & 4:
            reader.take(1)
        size = _leb128(reader) if head & 2 else len(reader.rest)
        reader.take(size)
        if head >> 3 & 15 in _KEPT_UNITS:
            kept.append(stream[start : reader.place])
    return b"".join(kept)


def _leb128(reader: _Reader) -> int:
    """A number in groups of seven bits, the lowest first (AV1, 4.10.5)."""
    value = 0
    for shift in range(0, 56, 7):
        byte = reader.number(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError("a malformed AV1 stream")


def _file(items: Sequence[_Item], profile: bytes) -> bytes:
    head = _box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf" + profile)
    sizes = [len(item.content) for item in items]
    before = len(head) + len(_meta(items, [0] * len(items))) + 8
    *starts, _ = accumulate(sizes, initial=before)
    return head + _meta(items, starts) + _box(b"mdat", b"".join(item.content for item in items))


def _meta(items: Sequence[_Item], starts: Sequence[int]) -> bytes:
    """The tables of items, the first of which is the primary one; they are numbered from 1."""
    shared = list(dict.fromkeys((p.name, p.content) for item in items for p in item.properties))
    kinds = references = places = rows = b""
    for number, (item, start) in enumerate(zip(items, starts, strict=True), 1):
        kinds += _box(b"infe", struct.pack(">B3xHH4sx", 2, number, 0, item.kind))
        places += struct.pack(">HHHII", number, 0, 1, start, len(item.content))
        if item.reference:
            references += _box(item.reference, struct.pack(">HHH", number, 1, 1))
        if item.properties:
            rows += struct.pack(">HB", number, len(item.properties)) + bytes(
                shared.index((p.name, p.content)) + 1 | 0x80 * p.essential for p in item.properties
            )
    described = sum(bool(item.properties) for item in items)
    properties = _box(b"ipco", b"".join(_box(*entry) for entry in shared))
    properties += _box(b"ipma", struct.pack(">4xI", described) + rows)
    tables = [
        _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        _box(b"pitm", struct.pack(">4xH", 1)),
        _box(b"iloc", struct.pack(">4xBBH", 0x44, 0, len(items)) + places),
        _box(b"iinf", struct.pack(">4xH", len(items)) + kinds),
        _box(b"iref", bytes(4) + references) if references else b"",
        _box(b"iprp", properties),
    ]
    return _box(b"meta", bytes(4) + b"".join(tables))


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
