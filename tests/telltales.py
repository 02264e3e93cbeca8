"""What is planted in files beside their pixels, and how it is found again.

`traces` finds the marker and the picture in compressed and coded forms too, and `embedded_pictures`
finds any picture or film inside a file.
"""

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageCms

from tests.parts import drawing, picture_file

MARKER = b"Seen at 48.8584 N by Jane Roe"
BASE = Image.fromarray(drawing(96, 64))
PICTURE = picture_file(BASE.resize((24, 16)), "JPEG", comment=MARKER)
"""A thumbnail: a whole JPEG file with the marker in it."""

_SIGNATURES = re.compile(
    rb"(?=\xff\xd8\xff[\xc0-\xff]|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....(?:WEBP|AVI )"
    rb"|\x00\x00..ftyp[ -~]{4}|\x00\x00\x00\x0c(?:JXL |jP  )\r\n\x87\n"
    rb"|8BPS\x00\x01|\x1aE\xdf\xa3[\x80-\xff])",
    re.DOTALL,
)


def embedded_pictures(data: bytes) -> int:
    """How many signatures of pictures and films stand in a file, but for that at its very start."""
    return sum(found.start() > 0 for found in _SIGNATURES.finditer(data))


def traces(data: bytes) -> list[str]:
    """What of the marker and the planted picture is still there, and in which form."""
    shapes = {
        "marker": MARKER,
        "wide marker": MARKER.decode().encode("utf-16-le")[:-1],
        "picture": PICTURE[:32],
        "picture's pixels": PICTURE[-64:-2],
        "picture in base64": base64.b64encode(PICTURE)[:32],
        "picture in hex": binascii.hexlify(PICTURE)[:32],
    }
    return [
        f"{shape} in {where}"
        for where, content in [("the file", data), *_inflated(data)]
        for shape, mark in shapes.items()
        if mark in content
    ]


def _inflated(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Everything in the file that is a zlib stream."""
    for found in re.finditer(rb"x[\x01\x5e\x9c\xda]", data):
        try:
            yield (
                f"a stream at {found.start()}",
                zlib.decompressobj().decompress(data[found.start() :]),
            )
        except zlib.error:
            continue


def exif_block() -> bytes:
    """An EXIF block with a thumbnail, a maker's note, comments, and more than a position in GPS.

    It has the make, a time and a position as well, which a policy may keep.
    """
    note = b"MAKER\0" + MARKER + PICTURE
    ifd0 = {
        0x010E: (2, MARKER + b"\0"),  # ImageDescription
        0x010F: (2, b"Acme\0"),
        0x013B: (2, MARKER + b"\0"),  # Artist
        0xC7A5: (7, PICTURE),  # of nobody
    }
    capture = {
        0x9003: (2, b"2024:05:17 12:34:56\0"),
        0x927C: (7, note),
        0x9286: (7, b"ASCII\0\0\0" + MARKER),  # UserComment
        0xA420: (2, MARKER + b"\0"),  # ImageUniqueID
    }
    gps = {
        1: (2, b"N\0"),
        2: (5, struct.pack(">6I", 48, 1, 51, 1, 3024, 100)),
        27: (7, b"ASCII\0\0\0" + MARKER),  # GPSProcessingMethod
        28: (7, MARKER),  # GPSAreaInformation
    }
    thumbnail = {0x0103: (3, b"\0\6"), 0x0202: (4, struct.pack(">I", len(PICTURE)))}
    return _directories(ifd0, capture, gps, thumbnail)


_Fields = dict[int, tuple[int, bytes]]
_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}


def _directories(ifd0: _Fields, capture: _Fields, gps: _Fields, thumbnail: _Fields) -> bytes:
    """The four directories in the byte order of Motorola, and the thumbnail behind them."""
    parts = [
        {**ifd0, 0x8769: (4, bytes(4)), 0x8825: (4, bytes(4))},
        capture,
        gps,
        {**thumbnail, 0x0201: (4, bytes(4))},
    ]
    starts, place = [], 8
    for part in parts:
        starts.append(place)
        place += len(_directory(part, 0, 0))
    parts[0][0x8769] = (4, struct.pack(">I", starts[1]))
    parts[0][0x8825] = (4, struct.pack(">I", starts[2]))
    parts[3][0x0201] = (4, struct.pack(">I", place))
    following = [starts[3], 0, 0, 0]
    body = b"".join(map(_directory, parts, starts, following))
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + body + PICTURE


def _directory(fields: _Fields, start: int, following: int) -> bytes:
    head, values = struct.pack(">H", len(fields)), b""
    behind = start + 2 + 12 * len(fields) + 4
    for tag, (kind, value) in sorted(fields.items()):
        head += struct.pack(">HHI", tag, kind, len(value) // _UNITS[kind])
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += struct.pack(">I", behind + len(values))
            values += value + bytes(len(value) % 2)
    return head + struct.pack(">I", following) + values


def srgb() -> bytes:
    """A colour profile that LittleCMS has made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def telling_profile() -> bytes:
    """A colour profile with a private tag, a copyright and bytes between its tags that tell."""
    profile = srgb()
    (count,) = struct.unpack_from(">I", profile, 128)
    rows = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(count)]
    tags = {name: profile[start : start + size] for name, start, size in rows}
    tags[b"cprt"] = b"text" + bytes(4) + MARKER + b"\0"
    tags[b"rTRC"] += MARKER
    tags[b"wtpt"] += MARKER
    tags[b"prVt"] = b"data" + bytes(4) + MARKER + PICTURE
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        place = 128 + 4 + 12 * len(tags) + len(body)
        table += struct.pack(">4sII", name, place, len(data))
        body += data + bytes(-len(data) % 4) + MARKER + bytes(-len(MARKER) % 4)
    whole = profile[4:84] + MARKER[:16] + profile[100:128] + table + body
    return struct.pack(">I", len(whole) + 4) + whole
