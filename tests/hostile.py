"""Files that mean harm, made on the spot: those that collections of broken pictures lack."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO

from PIL import Image

from blurline.imaging.chunks import PNG_SIGNATURE, png_chunk
from tests.jpegs import with_size
from tests.parts import drawing, picture_file

SCRIPT = b"alert('run me')"
MEGABYTE = 1 << 20


def bomb(megabytes: int) -> bytes:
    """A whole zlib stream (RFC 1950) of so many megabytes of zeros, in a thousandth of them."""
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1 | (megabytes * MEGABYTE % 65521) << 16
    return head + block * (megabytes - 1) + b"\x03\x00" + struct.pack(">I", checksum)


_SEVEN = bomb(7)


def png(width: int, height: int, samples: bytes, *chunks: bytes, depth: int = 8) -> bytes:
    """A grey PNG with a zlib stream of samples, and further chunks before it."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [PNG_SIGNATURE, png_chunk(b"IHDR", header), *chunks]
    return b"".join([*parts, png_chunk(b"IDAT", samples), png_chunk(b"IEND", b"")])


def _small_png(*chunks: bytes, late: bytes = b"") -> bytes:
    data = png(8, 8, zlib.compress(bytes(8 * 9)), *chunks)
    return data[:-12] + late + data[-12:]


def progressive(scans: int, side: int = 64) -> bytes:
    """A JPEG whose last scan, a refinement, is there again and again."""
    image = Image.fromarray(drawing(side, side))
    data = picture_file(image, "JPEG", quality=80, progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + b"\xff\xd9"


def _jpeg(*segments: bytes, after: bytes = b"") -> bytes:
    data = picture_file(Image.fromarray(drawing(64, 48)), "JPEG")
    return data[:2] + b"".join(segments) + data[2:] + after


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _archive() -> bytes:
    with BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("run.js", SCRIPT)
        return file.getvalue()


def _gif(*extensions: bytes) -> bytes:
    data = picture_file(Image.fromarray(drawing(64, 48)).quantize(16), "GIF")
    place = 13 + (3 << (data[10] & 7) + 1)
    return data[:place] + b"".join(extensions) + data[place:]


def _comment(size: int) -> bytes:
    return b"\x21\xfe" + (b"\xff" + b"c" * 255) * (size // 255) + b"\0"


def _script_in_gif() -> bytes:
    """A GIF whose signature and width read as the beginning of a script with a comment."""
    data = _gif(b"\x21\xfe" + bytes((len(SCRIPT) + 4,)) + b"*/=1" + SCRIPT + b"\0")
    return data[:6] + b"/*" + data[8:]


def _tiff_of_tags(number: int, size: int) -> bytes:
    """A TIFF whose many tags all point to the same bytes."""
    rows = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    rows += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 4), (279, 4, 1, 16)]
    start = 8 + size
    rows += [(500 + index, 7, size, 8) for index in range(number)]
    entries = b"".join(struct.pack("<HHII", *row) for row in rows)
    directory = struct.pack("<H", len(rows)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + bytes(size) + directory


def _tiff_of_strips(number: int) -> bytes:
    """A TIFF of more strips than rows."""
    places = struct.pack("<I", 8) * number
    rows = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    rows += [(273, 4, number, 8), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, number, 8)]
    entries = b"".join(struct.pack("<HHII", *row) for row in rows)
    directory = struct.pack("<H", len(rows)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(places)) + places + directory


def _exif_of_tags(number: int, size: int) -> bytes:
    """An EXIF block whose many tags all point to the same bytes."""
    rows = [(500 + index, 7, size, 8) for index in range(number)]
    entries = b"".join(struct.pack("<HHII", *row) for row in rows)
    start = 8 + size
    return b"II*\0" + struct.pack("<I", start) + bytes(size) + struct.pack("<H", number) + entries


def _with_exif(kind: str, number: int, size: int) -> bytes:
    image = Image.fromarray(drawing(64, 48))
    return picture_file(image, kind, exif=b"Exif\0\0" + _exif_of_tags(number, size))


def _jpeg_of_exif(block: bytes) -> bytes:
    """A JPEG with an EXIF block that takes several segments, which Pillow joins."""
    parts = [block[start : start + 65_000] for start in range(0, len(block), 65_000)]
    return _jpeg(*(_segment(0xE1, b"Exif\0\0" + part) for part in parts))


def _tiff_of_one_tile(side: int) -> bytes:
    """A TIFF of 8 x 8 pixels in a compressed tile of that side, which is not there."""
    samples = zlib.compress(bytes(64))
    rows = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    rows += [(277, 3, 1, 1), (322, 4, 1, side), (323, 4, 1, side)]
    rows += [(324, 4, 1, 8), (325, 4, 1, len(samples))]
    start = 8 + len(samples) + len(samples) % 2
    entries = b"".join(struct.pack("<HHII", *row) for row in rows)
    directory = struct.pack("<H", len(rows)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + samples.ljust(start - 8, b"\0") + directory


def _one_wide(kind: str, height: int, **options: object) -> bytes:
    return picture_file(Image.new("RGB", (1, height), (200, 10, 10)), kind, **options)


NO_PICTURES: dict[str, bytes] = {
    "nothing": b"",
    "a ZIP": _archive(),
    "an HTML page": b"<!doctype html><script>" + SCRIPT + b"</script>",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>' + SCRIPT + b"</script></svg>",
    "a PHP script": b"<?php system($_GET['c']); ?>",
    "a PHP script behind two bytes of a JPEG": b"\xff\xd8<?php system($_GET['c']); ?>",
    "a shell script": b"#!/bin/sh\nrm -rf /\n",
    "an ELF program": b"\x7fELF" + bytes(100),
}
"""What is no picture that is taken, whatever its name says."""

BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG samples of 1 GB": lambda: png(64, 64, bomb(1024)),
    "PNG text of 256 MB": lambda: _small_png(png_chunk(b"zTXt", b"a\0\0" + bomb(256))),
    "PNG international text of 256 MB": lambda: _small_png(
        png_chunk(b"iTXt", b"a\0\1\0\0\0" + bomb(256))
    ),
    "PNG profile of 256 MB": lambda: _small_png(png_chunk(b"iCCP", b"a\0\0" + bomb(256))),
    "200 PNG texts of 1 MB": lambda: _small_png(
        *(png_chunk(b"zTXt", b"a%d\0\0" % number + bomb(1)) for number in range(200))
    ),
    "900 PNG texts of 7 MB behind the pixels": lambda: _small_png(
        late=b"".join(png_chunk(b"zTXt", b"a%d\0\0" % number + _SEVEN) for number in range(900))
    ),
    "PNG profile of 7 MB behind the pixels": lambda: _small_png(
        late=png_chunk(b"iCCP", b"a\0\0" + _SEVEN)
    ),
    "PNG of a billion pixels": lambda: png(65_000, 20_000, bomb(8), depth=1),
    "PNG of 200,000 empty chunks": lambda: _small_png(png_chunk(b"teSt", b"") * 200_000),
    "PNG metadata of 12 MB": lambda: _small_png(png_chunk(b"teSt", bytes(12 * MEGABYTE))),
    "JPEG of 1,000 scans": lambda: progressive(1000),
    "JPEG of 12 MB of EXIF": lambda: _jpeg(*[_segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 200),
    "JPEG of 100,000 bits of EXIF": lambda: _jpeg(*[_segment(0xE1, b"Exif\0\0ab")] * 100_000),
    "JPEG behind 5 MB of nothing": lambda: _jpeg(bytes(5 * MEGABYTE)),
    "JPEG behind 5 MB of fill bytes": lambda: _jpeg(b"\xff" * (5 * MEGABYTE)),
    "JPEG of 10,000 EXIF tags of 300 kB": lambda: _jpeg_of_exif(_exif_of_tags(10_000, 300_000)),
    "PNG of 10,000 EXIF tags of 300 kB": lambda: _small_png(
        png_chunk(b"eXIf", _exif_of_tags(10_000, 300_000))
    ),
    "WebP of 10,000 EXIF tags of 300 kB": lambda: _with_exif("WEBP", 10_000, 300_000),
    "AVIF of 10,000 EXIF tags of 300 kB": lambda: _with_exif("AVIF", 10_000, 300_000),
    "TIFF of a tile of 60,000 x 60,000": lambda: _tiff_of_one_tile(59_984),
    "GIF comment of 5 MB": lambda: _gif(_comment(5 * MEGABYTE)),
    "GIF of a million empty blocks": lambda: _gif(b"\x21\xfe\0" * 1_000_000),
    "TIFF of 60,000 tags of 1 MB": lambda: _tiff_of_tags(60_000, MEGABYTE),
    "TIFF of a million strips": lambda: _tiff_of_strips(1_000_000),
}
"""Small files that ask for much more memory or time than a picture of their size."""

ODDITIES: dict[str, Callable[[], bytes]] = {
    "1 x 65,500 JPEG": lambda: _one_wide("JPEG", 65_500),
    "1 x 65,535 JPEG": lambda: with_size(_one_wide("JPEG", 65_500), 1, 65_535),
    "1 x 65,535 PNG": lambda: _one_wide("PNG", 65_535),
    "1 x 65,535 BMP": lambda: _one_wide("BMP", 65_535),
    "1 x 65,535 TIFF": lambda: _one_wide("TIFF", 65_535),
    "1 x 16,383 WebP": lambda: _one_wide("WEBP", 16_383),
    "1 x 1 PNG": lambda: _one_wide("PNG", 1),
    "JPEG of 100 scans": lambda: progressive(100),
    "JPEG that says it is larger": lambda: with_size(_jpeg(), 640, 480),
    "JPEG and ZIP": lambda: _jpeg(after=_archive()),
    "JPEG with a script as comment": lambda: _jpeg(
        _segment(0xFE, b"<?php system($_GET['c']); ?>" + SCRIPT)
    ),
    "PNG with a script as text": lambda: _small_png(png_chunk(b"tEXt", b"a\0" + SCRIPT)),
    "GIF and script": _script_in_gif,
    **{
        f"{kind} cut after {share:.0%}": lambda kind=kind, share=share: _cut(kind, share)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
        for share in (0.02, 0.3, 0.97)
    },
}
"""Files at the edge of what readers know; each may become a result or be refused."""


def _cut(kind: str, share: float) -> bytes:
    data = picture_file(Image.fromarray(drawing(160, 120)), kind)
    return data[: round(len(data) * share)]


NAMES = {
    "../../../../etc/passwd": "passwd",
    "..\\..\\windows\\system.ini": "system.ini",
    "/etc/cron.d/x": "x",
    "a\0.jpg": "a.jpg",
    "photo\u202egpj.exe": "photogpj.exe",
    "\u2066\u200f.jpg": ".jpg",
    "...": "...",
    "x" * 4096: "x" * 255,
    "'; DROP TABLE jobs; --.jpg": "'; DROP TABLE jobs; --.jpg",
}
"""File names as they are sent, and as they are shown."""
