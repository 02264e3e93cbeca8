"""EXIF's orientation alone says how a picture lies, and all who ask hear the same."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from blurline.imaging.chunks import riff_chunk
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import Pixels, decode, turn_upright
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from tests.carriers import png_chunk, segment
from tests.parts import drawing, picture_file

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
PIXELS = drawing(64, 48)
PICTURE = Image.fromarray(PIXELS)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def tags(*entries: tuple[int, int, int, int], order: str = "<", following: bytes = b"") -> bytes:
    """A block of one directory of entries: tag, type, count, and what its four bytes hold."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    rows = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    end = 8 + 2 + len(rows) + 4
    head = mark + struct.pack(f"{order}IH", 8, len(entries))
    return head + rows + struct.pack(f"{order}I", end if following else 0) + following


def short(orientation: int) -> tuple[int, int, int, int]:
    return (0x0112, 3, 1, orientation)


def jpeg(*segments: bytes) -> bytes:
    data = picture_file(PICTURE, "JPEG", quality=95)
    return data[:2] + b"".join(segments) + data[2:]


def png(*chunks: bytes, late: bytes = b"") -> bytes:
    data = picture_file(PICTURE, "PNG")
    return data[:33] + b"".join(chunks) + data[33:-12] + late + data[-12:]


def webp(exif: bytes) -> bytes:
    extended = struct.pack("<I", 8) + bytes((63, 0, 0, 47, 0, 0))
    plain = picture_file(PICTURE, "WEBP", lossless=True)[12:]
    return riff_chunk(
        b"RIFF", b"WEBP" + riff_chunk(b"VP8X", extended) + plain + riff_chunk(b"EXIF", exif)
    )


def tiff_with_xmp() -> bytes:
    made = TiffImagePlugin.ImageFileDirectory_v2()
    made[700] = XMP
    return picture_file(PICTURE, "TIFF", tiffinfo=made)


def xmp_text(*, packed: bool = False) -> bytes:
    content = zlib.compress(XMP) if packed else XMP
    return png_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes((packed, 0)) + b"\0\0" + content)


def raw_profile(block: bytes, keyword: bytes = b"Raw profile type exif") -> bytes:
    """A text as ImageMagick writes it."""
    digits = block.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    text = "\nexif\n{:8}\n{}\n".format(len(block), "\n".join(lines)).encode()
    return png_chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


FILES: dict[str, tuple[Kind, Callable[[], bytes], int]] = {
    "XMP of a JPEG": (
        Kind.JPEG,
        lambda: jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
        1,
    ),
    "XMP of a JPEG beside EXIF that says nothing": (
        Kind.JPEG,
        lambda: jpeg(
            segment(0xE1, b"Exif\0\0" + tags((0x011A, 3, 1, 1))),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        ),
        1,
    ),
    "XMP of a JPEG beside EXIF that says another": (
        Kind.JPEG,
        lambda: jpeg(
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
            segment(0xE1, b"Exif\0\0" + tags(short(3))),
        ),
        3,
    ),
    "XMP of a PNG": (Kind.PNG, lambda: png(xmp_text()), 1),
    "packed XMP of a PNG": (Kind.PNG, lambda: png(xmp_text(packed=True)), 1),
    "XMP of a WebP": (
        Kind.WEBP,
        lambda: picture_file(PICTURE, "WEBP", lossless=True, xmp=XMP),
        1,
    ),
    "XMP of a TIFF": (Kind.TIFF, tiff_with_xmp, 1),
    "XMP of an AVIF": (Kind.AVIF, lambda: picture_file(PICTURE, "AVIF", quality=95, xmp=XMP), 1),
    "big-endian EXIF": (
        Kind.JPEG,
        lambda: jpeg(segment(0xE1, b"Exif\0\0" + tags((0x0112, 3, 1, 6 << 16), order=">"))),
        6,
    ),
    "a LONG": (
        Kind.JPEG,
        lambda: jpeg(segment(0xE1, b"Exif\0\0" + tags((0x0112, 4, 1, 8)))),
        8,
    ),
    "a text": (
        Kind.JPEG,
        lambda: jpeg(segment(0xE1, b"Exif\0\0" + tags((0x0112, 2, 2, ord("6"))))),
        1,
    ),
    "two values": (
        Kind.JPEG,
        lambda: jpeg(segment(0xE1, b"Exif\0\0" + tags((0x0112, 3, 2, 6 | 3 << 16)))),
        6,
    ),
    "out of range": (Kind.JPEG, lambda: jpeg(segment(0xE1, b"Exif\0\0" + tags(short(9)))), 1),
    "that of the thumbnail": (
        Kind.JPEG,
        lambda: jpeg(
            segment(
                0xE1,
                b"Exif\0\0" + tags((0x011A, 3, 1, 1), following=tags(short(6))[8:]),
            )
        ),
        1,
    ),
    "eXIf of a PNG": (Kind.PNG, lambda: png(png_chunk(b"eXIf", tags(short(6)))), 6),
    "eXIf behind the pixels": (Kind.PNG, lambda: png(late=png_chunk(b"eXIf", tags(short(7)))), 7),
    "EXIF as text": (Kind.PNG, lambda: png(raw_profile(b"Exif\0\0" + tags(short(8)))), 8),
    "EXIF as text of old": (
        Kind.PNG,
        lambda: png(raw_profile(b"Exif\0\0" + tags(short(5)), b"Raw profile type APP1")),
        5,
    ),
    "a text beside eXIf": (
        Kind.PNG,
        lambda: png(raw_profile(tags(short(8))), png_chunk(b"eXIf", tags(short(2)))),
        2,
    ),
    "EXIF as text that is none": (Kind.PNG, lambda: png(raw_profile(b"no block at all")), 1),
    "EXIF as text without end": (
        Kind.PNG,
        lambda: png(raw_profile(b"Exif\0\0" + tags(short(6)) + bytes(2_000_000))),
        1,
    ),
    "EXIF of a WebP": (Kind.WEBP, lambda: webp(tags(short(6))), 6),
    "EXIF of a WebP with JPEG's mark": (
        Kind.WEBP,
        lambda: webp(b"Exif\0\0" + tags(short(4))),
        4,
    ),
}


def upright(data: bytes) -> Pixels:
    return decode(data, read_header(data, LIMITS))


@pytest.mark.parametrize("name", FILES)
def test_exif_alone_says_how_the_networks_see_the_picture(name: str) -> None:
    _, make, orientation = FILES[name]
    pixels = upright(make())
    expected = turn_upright(PIXELS, orientation)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_lies_as_what_was_seen(name: str) -> None:
    kind, make, orientation = FILES[name]
    data = make()
    header, metadata = read_header(data, LIMITS), read_metadata(data, kind, MetadataPolicy.MINIMAL)
    assert header.orientation == metadata.orientation == orientation
    pixels = decode(data, header)
    result = clean(
        rewrite(data, kind, pixels.copy(), [], header.orientation, 95),
        kind,
        read_metadata(b"", kind, MetadataPolicy.NONE),
    )
    with Image.open(BytesIO(result)) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert shown.shape == pixels.shape
    assert np.abs(shown - pixels).mean() < 4


def test_a_reported_picture_lies_as_it_did(data: Path) -> None:
    folder = data / "reports" / "02-xmp-orientation"
    if not folder.is_dir():
        pytest.skip("the reported files are not here")
    plain = upright((folder / "plain.jpg").read_bytes())
    assert (upright((folder / "xmp6-no-exif.jpg").read_bytes()) == plain).all()
    assert upright((folder / "xmp6.png").read_bytes()).shape == plain.shape
