"""AVIF files (AOM, AV1 Image File Format 1.2), a sort of HEIF (ISO/IEC 23008-12), so made of the
boxes of ISO/IEC 14496-12."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from blurline.imaging.colours import SRGB_PRIMARIES, SRGB_TRANSFER, CodePoints
from blurline.imaging.heif.av1 import units
from blurline.imaging.heif.boxes import BoxReader, box, spans
from blurline.imaging.heif.items import Property, read_items
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
class _Item:
    """What an item is, its bytes, what describes it, how it refers to the first item, and what its
    type is by its MIME name, if it has one."""

    kind: bytes
    content: bytes
    properties: tuple[Property, ...] = ()
    reference: bytes = b""
    content_type: bytes = b""


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The primary picture with its transparency, and with `metadata`.

    Raises:
        ValueError: malformed, animated, put together from several pictures, or cropped.
    """
    pictures = _pictures(data)
    colour = pictures[0]
    _, profile, form, _ = next(p.content for p in colour.properties if p.name == b"av1C")
    if icc := metadata.profile_for(b"GRAY" if form & 0x10 else b"RGB ", has_points=True):
        described = (*colour.properties, Property(b"colr", b"prof" + icc))
        pictures[0] = replace(colour, properties=described)
    angle, axis = _TURNS[metadata.orientation]
    turn = [Property(b"irot", bytes((angle,)), essential=True)] if angle is not None else []
    turn += [Property(b"imir", bytes((axis,)), essential=True)] if axis is not None else []
    items = [replace(item, properties=(*item.properties, *turn)) for item in pictures]
    # Properties alone say how the picture is turned; EXIF would only say it again (MIAF 7.3.6.7).
    if exif := replace(metadata, orientation=1).exif():
        items.append(_Item(b"Exif", bytes(4) + exif, reference=b"cdsc"))
    if xmp := metadata.xmp():
        items.append(_Item(b"mime", xmp, (), b"cdsc", b"application/rdf+xml\0"))
    return _file(items, b"MA1A" if profile >> 5 else b"MA1B")


def _pictures(data: bytes) -> list[_Item]:
    """The primary picture and, where there is one, its transparency."""
    names = [name for name, _, _ in spans(data)]
    if names[:1] != [b"ftyp"] or names.count(b"meta") != 1 or b"moov" in names:
        raise ValueError("no still AVIF file")
    items = read_items(data)
    alphas = [
        item
        for item in items.referring(b"auxl", items.primary)
        if any(p.name == b"auxC" and p.content == _ALPHA for p in items.properties.get(item, ()))
    ]
    used = [items.primary, *alphas]
    if len(used) > 2 or any(items.kinds.get(item) != b"av01" for item in used):
        raise ValueError("an AVIF file of another sort of picture")
    if any(row.kind in (b"prem", b"dimg") for row in items.references if row.item in used):
        raise ValueError("an AVIF file whose pictures are put together")
    found = []
    for item in used:
        stream = _coded(items.content(item))
        described = _described(items.properties.get(item, ()))
        found.append(_Item(b"av01", stream, described))
    if alphas:
        mark = Property(b"auxC", _ALPHA)
        found[1] = replace(found[1], properties=(*found[1].properties, mark), reference=b"auxl")
    return found


def _described(properties: Sequence[Property]) -> tuple[Property, ...]:
    """Of the properties of a coded picture those that its pixels need, in their exact length."""
    found: list[Property] = []
    for name, content, essential in ((p.name, p.content, p.essential) for p in properties):
        reader = BoxReader(content)
        if name == b"ispe":
            found.append(Property(name, reader.take(12)))
        elif name == b"pixi":
            found.append(Property(name, reader.take(5) + reader.take(min(content[4], 4))))
        elif name == b"av1C":  # without the repeated units that may follow (AV1-ISOBMFF, 2.3)
            found.append(Property(name, reader.take(4), essential=True))
        elif name == b"colr" and content[:4] == b"nclx":
            found.append(Property(name, reader.take(11)))
        elif name == b"clap" or (essential and name not in (b"irot", b"imir", b"auxC")):
            raise ValueError("a picture that is shown in another way")
    names = [p.name for p in found]
    if names.count(b"ispe") != 1 or names.count(b"av1C") != 1 or len(set(names)) != len(names):
        raise ValueError("a picture that is not described")
    return tuple(found)


def _coded(stream: bytes) -> bytes:
    """The units of an AV1 stream that make the picture, without metadata and padding."""
    return b"".join(unit for kind, unit, _ in units(stream) if kind in _KEPT_UNITS)


def with_code_points(data: bytes, points: CodePoints) -> bytes:
    """A file of Pillow's whose box of colours names others; the samples stay as they are."""
    usual = struct.pack(">4sHH", b"nclx", SRGB_PRIMARIES, SRGB_TRANSFER)
    told = struct.pack(">4sHH", b"nclx", points.primaries, points.transfer)
    return data.replace(b"colr" + usual, b"colr" + told, 1)


def _file(items: Sequence[_Item], profile: bytes) -> bytes:
    head = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf" + profile)
    sizes = [len(item.content) for item in items]
    before = len(head) + len(_meta(items, [0] * len(items))) + 8
    *starts, _ = accumulate(sizes, initial=before)
    return head + _meta(items, starts) + box(b"mdat", b"".join(item.content for item in items))


def _meta(items: Sequence[_Item], starts: Sequence[int]) -> bytes:
    """The tables of items, the first of which is the primary one; they are numbered from 1."""
    shared = list(dict.fromkeys((p.name, p.content) for item in items for p in item.properties))
    kinds = references = places = rows = b""
    for number, (item, start) in enumerate(zip(items, starts, strict=True), 1):
        kind = struct.pack(">B3xHH4sx", 2, number, 0, item.kind) + item.content_type
        kinds += box(b"infe", kind)
        places += struct.pack(">HHHII", number, 0, 1, start, len(item.content))
        if item.reference:
            references += box(item.reference, struct.pack(">HHH", number, 1, 1))
        if item.properties:
            rows += struct.pack(">HB", number, len(item.properties)) + bytes(
                shared.index((p.name, p.content)) + 1 | 0x80 * p.essential for p in item.properties
            )
    described = sum(bool(item.properties) for item in items)
    properties = box(b"ipco", b"".join(box(*entry) for entry in shared))
    properties += box(b"ipma", struct.pack(">4xI", described) + rows)
    tables = [
        box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        box(b"pitm", struct.pack(">4xH", 1)),
        box(b"iloc", struct.pack(">4xBBH", 0x44, 0, len(items)) + places),
        box(b"iinf", struct.pack(">4xH", len(items)) + kinds),
        box(b"iref", bytes(4) + references) if references else b"",
        box(b"iprp", properties),
    ]
    return box(b"meta", bytes(4) + b"".join(tables))
