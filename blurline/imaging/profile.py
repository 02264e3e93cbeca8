"""ICC profiles, built anew from the numbers that say what the colours are, and nothing else.

The format is that of ICC.1:2022 and, where version 2 differs, of ICC.1:2001-04; sections below
are of the former. Names, dates, makers, identifiers and private tags are not taken over, nor is
`lutAToBType` (10.12): a profile that describes its colours by that alone is not kept. What an
adversary writes into the numbers themselves is not looked for.
"""

import struct

MAX_BYTES = 4 << 20
"""The largest profile that is kept; those of printing presses have up to 3 MB."""

_CHANNELS = {b"RGB ": 3, b"GRAY": 1, b"CMYK": 4}
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
_D50 = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)  # 7.2.16
_DATE = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # a profile has to have one
_MAX_TAGS = 100
_MAX_CURVE = 4096

_TYPES = {
    **dict.fromkeys((b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"lumi"), (b"XYZ ",)),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), (b"curv", b"para")),
    **dict.fromkeys((b"A2B0", b"A2B1", b"A2B2"), (b"mft1", b"mft2")),
    **dict.fromkeys((b"B2A0", b"B2A1", b"B2A2", b"gamt"), (b"mft1", b"mft2")),
    b"chad": (b"sf32",),
    b"chrm": (b"chrm",),
    b"cicp": (b"cicp",),
}
"""The tags that are kept, and the types that their data may have (9.2)."""

_MODELS: dict[bytes, tuple[set[bytes], ...]] = {
    b"RGB ": ({b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}, {b"A2B0"}),
    b"GRAY": ({b"kTRC"}, {b"A2B0"}),
    b"CMYK": ({b"A2B0"},),
}
"""Sets of tags of which one must be whole, so that the colours are described (8.3 to 8.5)."""


def rebuilt(profile: bytes) -> bytes | None:
    """A profile of the same colours; None for one that is damaged, too large or of another use.

    >>> rebuilt(b"not a profile") is None
    True
    """
    try:
        return _built(profile)
    except (ValueError, struct.error):
        return None


def colour_space(profile: bytes) -> bytes:
    """The space of the pixels that a profile describes: `RGB `, `GRAY` or `CMYK` (7.2.8)."""
    return profile[16:20]


def _built(profile: bytes) -> bytes:
    size, version = struct.unpack_from(">I4xB", profile)
    if not 132 <= size <= min(len(profile), MAX_BYTES) or version not in (2, 4):
        raise ValueError("no profile of a known version")
    profile = profile[:size]
    kind, space, connection, mark = struct.unpack_from(">4s4s4s12x4s", profile, 12)
    (intent,) = struct.unpack_from(">I", profile, 64)
    if mark != b"acsp" or kind not in _CLASSES or space not in _CHANNELS or intent > 3:
        raise ValueError("no profile of pixels")
    if connection not in (b"XYZ ", b"Lab "):
        raise ValueError("no connection space")
    tags = _tags(profile, _CHANNELS[space])
    if b"wtpt" not in tags or not any(model <= tags.keys() for model in _MODELS[space]):
        raise ValueError("the colours are not described")
    return _assembled(version, (kind, space, connection), intent, tags)


def screen(tags: dict[bytes, bytes]) -> bytes:
    """A profile of RGB that these tags describe, each with its type and the numbers behind it."""
    return _assembled(4, (b"mntr", b"RGB ", b"XYZ "), 0, tags)


def _assembled(
    version: int, kinds: tuple[bytes, bytes, bytes], intent: int, tags: dict[bytes, bytes]
) -> bytes:
    """A profile of a kind, a space and a connection space (7.2)."""
    title = f"{kinds[1].decode().strip()} profile".encode()
    texts = {b"desc": _title(title, version), b"cprt": _text(b"None", version)}
    table = _table({**texts, **tags})
    what = struct.pack(">I4xBB2x4s4s4s", 128 + len(table), version, 0x40, *kinds)
    return what + _DATE + b"acsp" + bytes(24) + struct.pack(">I", intent) + _D50 + bytes(48) + table


def _tags(profile: bytes, channels: int) -> dict[bytes, bytes]:
    """The data of the tags that are kept (7.3), each of just the size that its type implies."""
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > _MAX_TAGS:
        raise ValueError("too many tags")
    found: dict[bytes, bytes] = {}
    for index in range(count):
        name, place, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        data = _part(profile, place, size)
        if data[:4] in _TYPES.get(name, ()):
            if name in found:
                raise ValueError("a tag is there twice")
            found[name] = data[:4] + bytes(4) + _numbers(data, name, channels)
    return found


def _numbers(data: bytes, name: bytes, channels: int) -> bytes:
    """What follows the eight bytes of the type: the numbers it implies, no byte more."""
    kind = data[:4]
    if kind == b"XYZ ":  # 10.31; the tags that are kept hold one colour
        return _part(data, 8, 12)
    if kind == b"sf32":  # 10.22; a matrix of 3 x 3
        return _part(data, 8, 36)
    if kind == b"cicp":  # 10.3
        return _part(data, 8, 4)
    if kind == b"chrm":  # 10.2
        if data[8:10] != b"\0\3":
            raise ValueError("chromaticities of other than three colours")
        return _part(data, 8, 28)
    if kind == b"curv":  # 10.6
        (count,) = struct.unpack_from(">I", data, 8)
        if count > _MAX_CURVE:
            raise ValueError("too long a curve")
        return _part(data, 8, 4 + 2 * count)
    if kind == b"para":  # 10.18
        (function,) = struct.unpack_from(">H", data, 8)
        if function > 4:
            raise ValueError("an unknown function")
        size = 4 * (1, 3, 4, 5, 7)[function]
        return struct.pack(">H2x", function) + _part(data, 12, size)
    return _table_numbers(data, name, channels)


def _table_numbers(data: bytes, name: bytes, channels: int) -> bytes:
    """The numbers of lut8Type and lut16Type (10.11, 10.10)."""
    outwards = (3, 1) if name == b"gamt" else (3, channels)
    sides = (channels, 3) if name.startswith(b"A2B") else outwards
    inputs, outputs, points = struct.unpack_from(">3B", data, 8)
    if (inputs, outputs) != sides or points < 2:
        raise ValueError("a table of other channels")
    width, sizes, start = 1, (256, 256), 48
    if data[:4] == b"mft2":
        width, sizes, start = 2, struct.unpack_from(">HH", data, 48), 52
    if not all(2 <= size <= _MAX_CURVE for size in sizes):
        raise ValueError("a curve of no or too many points")
    cells = sizes[0] * inputs + points**inputs * outputs + sizes[1] * outputs
    head = struct.pack(">3Bx", inputs, outputs, points)
    return head + _part(data, 12, start - 12 + width * cells)


def _part(data: bytes, place: int, size: int) -> bytes:
    part = data[place : place + size]
    if len(part) != size:
        raise ValueError("the data ends too early")
    return part


def _table(tags: dict[bytes, bytes]) -> bytes:
    """The table of tags and their data; tags of the same data share it, as 7.3.1 allows."""
    head, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        head += struct.pack(">4sII", name, places[data], len(data))
    return head + body


def _title(text: bytes, version: int) -> bytes:
    """The tag that names the profile: `textDescriptionType` in version 2 (its 6.5.17)."""
    if version == 4:
        return _text(text, version)
    return b"desc" + struct.pack(">4xI", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67)


def _text(text: bytes, version: int) -> bytes:
    """`textType` (10.24) in version 2, `multiLocalizedUnicodeType` (10.15) in version 4."""
    if version == 2:
        return b"text" + bytes(4) + text + b"\0"
    wide = text.decode().encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(wide), 28) + wide
