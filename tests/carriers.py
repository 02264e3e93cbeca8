"""Picture files that carry what their pixels do not show, one file for each place of a format.

Each holds `MARKER`, `PICTURE` or both. `traces` finds them again, in compressed and coded forms
too, and `embedded_pictures` finds any picture or film inside a file.
"""

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from blurline.imaging.kind import Kind
from tests.parts import drawing, picture_file

AVIF = cast("Kind", "avif")
KINDS = list(dict.fromkeys([*Kind, AVIF]))

MARKER = b"Seen at 48.8584 N by Jane Roe"
BASE = Image.fromarray(drawing(96, 64))
PICTURE = picture_file(BASE.resize((24, 16)), "JPEG", comment=MARKER)
"""A thumbnail: a whole JPEG file with the marker in it."""

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
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


def carrier(kind: Kind, place: str) -> bytes:
    """A file of that kind that carries something in that place."""
    return _MAKERS[kind][place]()


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


def _xmp(content: bytes) -> bytes:
    return b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + content + b"</x:xmpmeta>"


# JPEG


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _jpeg(*segments: bytes, after: bytes = b"", **options: Any) -> bytes:
    """The picture with more segments behind its start, and more bytes behind its end."""
    data = picture_file(BASE, "JPEG", quality=90, **options)
    return data[:2] + b"".join(segments) + data[2:] + after


def _film() -> bytes:
    box = struct.pack(">I4s", 24, b"ftyp") + b"mp42" + bytes(4) + b"mp42isom"
    return box + struct.pack(">I4s", 8 + len(MARKER), b"mdat") + MARKER


def _resource(number: int) -> bytes:
    """A Photoshop segment with a thumbnail resource."""
    size = struct.pack(">6I2H", 1, 24, 16, 72, 1152, len(PICTURE), 24, 1)
    content = size + PICTURE + bytes(len(PICTURE) % 2)
    block = b"8BIM" + struct.pack(">HHI", number, 0, len(size + PICTURE)) + content
    return segment(0xED, b"Photoshop 3.0\0" + block)


def _extended_xmp() -> bytes:
    image = base64.b64encode(PICTURE)
    content = _xmp(b"<rdf:Description GDepth:Data='%s' GImage:Data='%s'/>" % (image, image))
    head = _XMP_EXTENSION + b"0123456789ABCDEF" * 2 + struct.pack(">II", len(content), 0)
    return segment(0xE1, head + content)


def _second_view() -> bytes:
    other = BASE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    other.info["comment"] = MARKER
    return picture_file(BASE, "MPO", save_all=True, append_images=[other], comment=MARKER)


def _unused_tables() -> bytes:
    """Tables in places that no scan asks for, and one that a later one takes the place of."""
    table = (MARKER + PICTURE)[:64]
    spare = segment(0xDB, b"\3" + table) + segment(0xDB, b"\0" + table)
    counts = bytes((0,) * 7 + (len(MARKER),) + (0,) * 8)
    return spare + segment(0xC4, b"\x13" + counts + MARKER)


def _late_table() -> bytes:
    """A table before the last scan, when all components have theirs already."""
    data = _jpeg(progressive=True)
    place = data.rindex(b"\xff\xda")
    return data[:place] + segment(0xDB, b"\0" + (MARKER + PICTURE)[:64]) + data[place:]


_JPEG: dict[str, Callable[[], bytes]] = {
    "EXIF": lambda: _jpeg(exif=exif_block()),
    "JFIF thumbnail": lambda: _jpeg(
        segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\5\5" + MARKER.ljust(75, b"."))
    ),
    "JFXX thumbnail": lambda: _jpeg(segment(0xE0, b"JFXX\0\x10" + PICTURE)),
    "Photoshop 4 thumbnail": lambda: _jpeg(_resource(1033)),
    "Photoshop 5 thumbnail": lambda: _jpeg(_resource(1036)),
    "second view": _second_view,
    "gain map": lambda: _jpeg(
        segment(0xE1, _XMP + _xmp(b"<rdf:Description hdrgm:Version='1.0' a='%s'/>" % MARKER)),
        after=PICTURE,
    ),
    "XMP": lambda: _jpeg(xmp=_xmp(MARKER)),
    "extended XMP": lambda: _jpeg(_extended_xmp()),
    "motion photo": lambda: _jpeg(
        segment(0xE1, _XMP + _xmp(b"<a GCamera:MicroVideo='1' b='%s'/>" % MARKER)), after=_film()
    ),
    "after the end": lambda: _jpeg(after=MARKER + PICTURE),
    "comment": lambda: _jpeg(segment(0xFE, MARKER), segment(0xFE, PICTURE)),
    "Adobe's mark": lambda: _jpeg(
        segment(0xEE, b"Adobe" + bytes((0, 100, 0, 0, 0, 0, 1)) + MARKER)
    ),
    "unused tables": lambda: _jpeg(_unused_tables()),
    "late table": _late_table,
    "colour profile": lambda: _jpeg(icc_profile=telling_profile()),
    **{
        f"APP{number}": lambda number=number: _jpeg(segment(0xE0 + number, MARKER + PICTURE))
        for number in range(3, 16)
    },
    "progressive, in all places": lambda: _jpeg(
        segment(0xFE, PICTURE), exif=exif_block(), progressive=True, after=PICTURE
    ),
    "in all places, restarts": lambda: _jpeg(
        segment(0xFE, PICTURE), exif=exif_block(), restart_marker_rows=1, after=_film()
    ),
}


# PNG and WebP


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _png(*chunks: bytes, after: bytes = b"", **options: Any) -> bytes:
    data = picture_file(BASE, "PNG", **options)
    return data[:33] + b"".join(chunks) + data[33:] + after


def _texts() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", MARKER.decode())
    texts.add_text("Comment", MARKER.decode(), zip=True)
    texts.add_itxt("XML:com.adobe.xmp", _xmp(MARKER).decode(), zip=True)
    texts.add_itxt("Title", MARKER.decode())
    return _png(pnginfo=texts)


def _raw_profile() -> bytes:
    """EXIF as ImageMagick writes it into a text."""
    block = exif_block()
    text = b"\nexif\n%8d\n%s\n" % (len(block), binascii.hexlify(block))
    return _png(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


_PNG: dict[str, Callable[[], bytes]] = {
    "texts": _texts,
    "EXIF": lambda: _png(exif=exif_block()),
    "EXIF in a text": _raw_profile,
    "unknown chunk": lambda: _png(png_chunk(b"prVt", MARKER + PICTURE)),
    "compressed unknown chunk": lambda: _png(png_chunk(b"prVt", zlib.compress(MARKER + PICTURE))),
    "palette of a picture that needs none": lambda: _png(png_chunk(b"PLTE", MARKER + b"!")),
    "physical size, time, histogram": lambda: _png(
        png_chunk(b"tIME", bytes(7)), png_chunk(b"pHYs", bytes(9)), png_chunk(b"sPLT", MARKER)
    ),
    "too long a gamma": lambda: _png(png_chunk(b"gAMA", struct.pack(">I", 45455) + MARKER)),
    "letters as numbers": lambda: _png(png_chunk(b"cHRM", MARKER.ljust(32, b"."))),
    "after the end": lambda: _png(after=MARKER + PICTURE),
    "in the end": lambda: _png()[:-12] + png_chunk(b"IEND", MARKER + PICTURE),
    "colour profile": lambda: _png(icc_profile=telling_profile()),
    "palette picture": lambda: picture_file(
        BASE.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", exif=exif_block()
    ),
}


def _webp(*chunks: tuple[bytes, bytes], after: bytes = b"", **options: Any) -> bytes:
    data = picture_file(BASE, "WEBP", **{"lossless": True, **options})
    more = b"".join(
        struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(more)) + data[8:] + more + after


_WEBP: dict[str, Callable[[], bytes]] = {
    "EXIF": lambda: _webp(exif=exif_block()),
    "XMP": lambda: _webp(xmp=_xmp(MARKER)),
    "colour profile": lambda: _webp(icc_profile=telling_profile()),
    "unknown chunk": lambda: _webp((b"prVt", MARKER + PICTURE), exif=exif_block()),
    "after the end": lambda: _webp(after=MARKER + PICTURE),
    "lossy, in all places": lambda: _webp(
        (b"prVt", PICTURE), exif=exif_block(), xmp=_xmp(MARKER), lossless=False, after=PICTURE
    ),
}


# TIFF


def _tiff(after: bytes = b"", **options: Any) -> bytes:
    return picture_file(BASE, "TIFF", **options) + after


def _tags() -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = tags[315] = tags[305] = MARKER.decode()
    for tag, content in {
        700: _xmp(MARKER),
        33723: MARKER,  # IPTC
        34377: PICTURE,  # Photoshop
        50706: MARKER,
        65000: PICTURE,
    }.items():
        tags[tag] = content
        tags.tagtype[tag] = 7
    return tags


def _pages(subfile_type: int) -> bytes:
    other = BASE.resize((48, 32))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254], tags[270] = subfile_type, MARKER.decode()
    other.encoderinfo = {"tiffinfo": tags}
    return picture_file(BASE, "TIFF", save_all=True, append_images=[other])


def _inner_picture() -> bytes:
    """A directory of directories (tag 330) that holds a thumbnail."""
    data = _tiff()
    place = len(data)
    thumbnail = struct.pack("<H", 1) + struct.pack("<HHII", 0x0201, 4, 1, place + 18) + bytes(4)
    return _with_tag(data + thumbnail + PICTURE, 330, place)


def _with_tag(data: bytes, tag: int, value: int) -> bytes:
    """The file with a copy of its first directory at its end, with one more tag of type LONG."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    rows = [data[start + 2 + 12 * row : start + 14 + 12 * row] for row in range(count)]
    rows.append(struct.pack("<HHII", tag, 4, 1, value))
    rows.sort(key=lambda row: struct.unpack_from("<H", row))
    end = len(data) + len(data) % 2
    table = struct.pack("<H", count + 1) + b"".join(rows) + bytes(4)
    return data[:4] + struct.pack("<I", end) + data[8:].ljust(end - 8, b"\0") + table


def _gap() -> bytes:
    """A file between whose parts bytes lie that no tag speaks of."""
    data = _tiff()
    return _with_tag(data + MARKER + PICTURE, 65001, 0)


_TIFF: dict[str, Callable[[], bytes]] = {
    "tags": lambda: _tiff(tiffinfo=_tags()),
    "deflated, description": lambda: _tiff(
        description=MARKER.decode(), compression="tiff_adobe_deflate"
    ),
    "EXIF": lambda: _tiff(exif=exif_block()),
    "second page": lambda: _pages(0),
    "thumbnail": lambda: _pages(1),
    "directory inside": _inner_picture,
    "gap": _gap,
    "after the end": lambda: _tiff(after=MARKER + PICTURE),
    "colour profile": lambda: _tiff(icc_profile=telling_profile()),
}


# BMP, GIF, AVIF


def _bmp(image: Image.Image = BASE, *, gap: bytes = b"", after: bytes = b"") -> bytes:
    data = picture_file(image, "BMP")
    (start,) = struct.unpack_from("<I", data, 10)
    head = data[:10] + struct.pack("<I", start + len(gap)) + data[14:start]
    return head + gap + data[start:] + after


def _fourth_bytes() -> bytes:
    """A picture of 32 bits a pixel, the fourth byte of which says nothing of its colour."""
    pixels = np.dstack([drawing(96, 64), np.zeros((64, 96), np.uint8)])
    hidden = np.frombuffer(MARKER.ljust(96, b"."), np.uint8)
    pixels[..., 3] = hidden
    data = picture_file(Image.fromarray(pixels), "BMP")
    assert data[28] == 32
    return data + MARKER  # where it can be found as it stands


def _filled_rows() -> bytes:
    """Rows of 95 pixels are filled up with three bytes each."""
    data = bytearray(_bmp(BASE.crop((0, 0, 95, 64))))
    (start,) = struct.unpack_from("<I", data, 10)
    for row in range(64):
        end = start + (row + 1) * 288
        data[end - 3 : end] = MARKER[row % 27 : row % 27 + 3]
    return bytes(data) + MARKER


_BMP: dict[str, Callable[[], bytes]] = {
    "gap": lambda: _bmp(gap=MARKER + PICTURE),
    "after the end": lambda: _bmp(after=MARKER + PICTURE),
    "fourth bytes": _fourth_bytes,
    "filled rows": _filled_rows,
    "palette": lambda: _bmp(
        BASE.convert("P", palette=Image.Palette.ADAPTIVE), gap=MARKER, after=PICTURE
    ),
}


def _gif(extension: bytes = b"", after: bytes = b"", **options: Any) -> bytes:
    data = picture_file(BASE.convert("P", palette=Image.Palette.ADAPTIVE), "GIF", **options)
    place = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:place] + extension + data[place:] + after


def _blocks(content: bytes) -> bytes:
    pieces = [content[start : start + 255] for start in range(0, len(content), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"


_GIF: dict[str, Callable[[], bytes]] = {
    "comment": lambda: _gif(comment=MARKER),
    "picture as a comment": lambda: _gif(b"!\xfe" + _blocks(PICTURE[:200])),
    "application extension": lambda: _gif(b"!\xff\x0bXMP DataXMP" + _blocks(MARKER + PICTURE)),
    "plain text": lambda: _gif(b"!\x01\x0c" + bytes(12) + _blocks(MARKER)),
    "unknown extension": lambda: _gif(b"!\x77" + _blocks(MARKER)),
    "after the end": lambda: _gif(after=MARKER + PICTURE),
    "transparent": lambda: _gif(transparency=3, comment=MARKER),
}


def _avif(*, after: bytes = b"", **options: Any) -> bytes:
    return picture_file(BASE, "AVIF", speed=9, **options) + after


def box(name: bytes, content: bytes) -> bytes:
    """A box of an AVIF file."""
    return struct.pack(">I4s", 8 + len(content), name) + content


def _metadata_unit() -> bytes:
    """A unit of user data in the very stream that codes the picture (AV1, 5.8)."""
    data = _avif()
    stream = data[data.index(b"mdat") + 4 :]
    payload = b"\4\xb5" + MARKER + b"\x80"
    unit = b"\x2a" + bytes((len(payload),)) + payload
    place = struct.pack(">II", len(data) - len(stream), len(stream))
    longer = struct.pack(">II", len(data) - len(stream), len(stream) + len(unit))
    assert data.count(place) == 1
    head = data[: -len(stream) - 8].replace(place, longer)
    return head + box(b"mdat", stream + unit)


_AVIF: dict[str, Callable[[], bytes]] = {
    "EXIF": lambda: _avif(exif=exif_block()),
    "XMP": lambda: _avif(xmp=_xmp(MARKER)),
    "colour profile": lambda: _avif(icc_profile=telling_profile()),
    "unknown box": lambda: _avif(after=box(b"uuid", bytes(16) + MARKER + PICTURE)),
    "free space": lambda: _avif(after=box(b"free", MARKER + PICTURE)),
    "metadata unit": _metadata_unit,
}

_MAKERS: dict[str, dict[str, Callable[[], bytes]]] = {
    "jpeg": _JPEG,
    "png": _PNG,
    "webp": _WEBP,
    "tiff": _TIFF,
    "bmp": _BMP,
    "gif": _GIF,
    "avif": _AVIF,
}

CARRIERS = [(kind, place) for kind in KINDS for place in _MAKERS[kind]]
"""Every kind with every place in it."""
