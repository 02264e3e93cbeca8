"""Picture files that carry what their pixels do not show, one file for each place of a format.

Each holds `MARKER`, `PICTURE` or both.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from blurline.imaging.kind import Kind
from tests.heic_files import DEPTH, GAIN_MAP, Item, auxiliary, exif_item, heic, heif, still
from tests.parts import drawing, picture_file
from tests.telltales import BASE, MARKER, PICTURE, exif_block, telling_profile

AVIF = Kind.AVIF
KINDS = list(Kind)
WRITTEN = [kind for kind in KINDS if kind is not Kind.HEIC]
"""The kinds that there are encoders of."""

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


def carrier(kind: Kind, place: str) -> bytes:
    """A file of that kind that carries something in that place."""
    return _MAKERS[kind][place]()


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


def _heic(*properties: tuple[bytes, bytes], after: bytes = b"", **hung: Item) -> bytes:
    return heic(np.asarray(BASE), *properties, **hung) + after


def _told_in_the_stream() -> bytes:
    """A unit of user data in the very stream that codes the picture (H.265, D.2.7)."""
    item = still(np.asarray(BASE))
    unit = b"\x4e\1\5" + bytes((16 + len(MARKER),)) + bytes(16) + MARKER + b"\x80"
    content = struct.pack(">I", len(unit)) + unit + item.content
    return heif({1: replace(item, content=content)})


_SMALL = np.asarray(BASE.resize((24, 16)))
_OTHER = np.asarray(BASE.transpose(Image.Transpose.FLIP_LEFT_RIGHT))

_HEIC: dict[str, Callable[[], bytes]] = {
    "EXIF": lambda: _heic(exif=exif_item(exif_block())),
    "XMP": lambda: _heic(xmp=Item(b"mime", _xmp(MARKER)).referring(b"cdsc", 1)),
    "colour profile": lambda: _heic((b"colr", b"prof" + telling_profile())),
    "thumbnail": lambda: _heic(small=still(_SMALL).referring(b"thmb", 1)),
    "JPEG thumbnail": lambda: _heic(small=Item(b"jpeg", PICTURE).referring(b"thmb", 1)),
    "depth map": lambda: _heic(depth=auxiliary(_SMALL, DEPTH)),
    "gain map": lambda: _heic(gain=auxiliary(_SMALL[..., 0], GAIN_MAP)),
    "second picture": lambda: _heic(other=still(_OTHER), text=Item(b"mime", MARKER)),
    "unknown item": lambda: _heic(other=Item(b"abcd", MARKER + PICTURE)),
    "unknown property": lambda: _heic((b"abcd", MARKER + PICTURE)),
    "unknown box": lambda: _heic(after=box(b"uuid", bytes(16) + MARKER + PICTURE)),
    "motion photo": lambda: _heic(after=box(b"mpvd", _film())),
    "film behind it": lambda: _heic(after=_film() + box(b"moov", MARKER)),
    "after the end": lambda: _heic(after=MARKER + PICTURE),
    "message in the stream": _told_in_the_stream,
}

_MAKERS: dict[str, dict[str, Callable[[], bytes]]] = {
    "jpeg": _JPEG,
    "png": _PNG,
    "webp": _WEBP,
    "tiff": _TIFF,
    "bmp": _BMP,
    "gif": _GIF,
    "avif": _AVIF,
    "heic": _HEIC,
}

CARRIERS = [(kind, place) for kind in KINDS for place in _MAKERS[kind]]
"""Every kind with every place in it."""
