"""What the markers of a JPEG say."""

import random
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from blurline.imaging.jpeg import Colours, JpegError, read_frame
from tests.jpegs import KINDS, by_pillow, scan_by_scan, scene, ycck
from tests.parts import files_below, picture_file

PIXELS = scene(97, 61)
FILE = by_pillow()(PIXELS)
NAMED_BY_SIMPLEJPEG = {
    "YCbCr": Colours.YCBCR,
    "Gray": Colours.GREY,
    "RGB": Colours.RGB,
    "CMYK": Colours.CMYK,
    "YCCK": Colours.YCCK,
}
ADOBE = b"Adobe\0d\0\0\0\0"


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def headed(components: bytes, *segments: bytes) -> bytes:
    """A file of these segments and no coded data, its components of these identifiers."""
    named = b"".join(bytes((identifier, 0x11, 0)) for identifier in components)
    frame = struct.pack(">BHHB", 8, 16, 16, len(components)) + named
    table = segment(0xDB, b"\0" + bytes([1] * 64))
    return b"".join(
        [b"\xff\xd8", *segments, table, segment(0xC0, frame), segment(0xDA, b""), b"\xff\xd9"]
    )


def jfif() -> bytes:
    return segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_what_another_reader_sees(kind: str) -> None:
    data = KINDS[kind](PIXELS)
    frame = read_frame(data)
    with Image.open(BytesIO(data)) as image:
        assert (frame.width, frame.height) == image.size
        assert frame.progressive == bool(image.info.get("progressive"))
        assert frame.adobe_transform == image.info.get("adobe_transform")
        assert frame.jfif == ("jfif" in image.info)
        seen = [
            (component.identifier, component.horizontal, component.vertical)
            for component in frame.components
        ]
        assert seen == [layer[:3] for layer in image.layer]
        for component, layer in zip(frame.components, image.layer, strict=True):
            assert component.table.tolist() == image.quantization[layer[3]]
    assert frame.precision == 8
    assert frame.restart_interval == (3 if kind == "restart markers" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_colours_are_those_that_libjpeg_sees(kind: str) -> None:
    data = KINDS[kind](PIXELS)
    _, _, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    assert read_frame(data).colours is NAMED_BY_SIMPLEJPEG[colours]


@pytest.mark.parametrize(
    ("identifiers", "segments", "colours"),
    [
        (b"\1", (), Colours.GREY),
        (b"\1\2\3", (), Colours.YCBCR),
        (b"\0\1\2", (), Colours.YCBCR),
        (b"RGB", (), Colours.RGB),
        (b"RGB", (jfif(),), Colours.YCBCR),
        (b"\1\2\3", (segment(0xEE, ADOBE + b"\0"),), Colours.RGB),
        (b"RGB", (segment(0xEE, ADOBE + b"\1"),), Colours.YCBCR),
        (b"\1\2\3", (jfif(), segment(0xEE, ADOBE + b"\0")), Colours.YCBCR),
        (b"RGB", (segment(0xEE, b"Adobe\0d"),), Colours.RGB),
        (b"\1\2\3\4", (segment(0xEE, ADOBE + b"\0"),), Colours.CMYK),
        (b"\1\2\3\4", (segment(0xEE, ADOBE + b"\2"),), Colours.YCCK),
    ],
)
def test_colours_are_told_by_headers_and_identifiers(
    identifiers: bytes, segments: tuple[bytes, ...], colours: Colours
) -> None:
    assert read_frame(headed(identifiers, *segments)).colours is colours


@pytest.mark.parametrize(
    ("identifiers", "segments"),
    [
        (b"\1\2", ()),
        (b"\1\2\3", (segment(0xEE, ADOBE + b"\2"),)),
        (b"\1\2\3\4", ()),
        (b"\1\2\3\4", (jfif(),)),
        (b"\1\2\3\4", (segment(0xEE, ADOBE + b"\1"),)),
        (b"\1\2\3\4\5", ()),
    ],
)
def test_colours_that_readers_may_take_for_others_are_an_error(
    identifiers: bytes, segments: tuple[bytes, ...]
) -> None:
    frame = read_frame(headed(identifiers, *segments))
    with pytest.raises(JpegError):
        _ = frame.colours


def test_a_table_of_two_bytes_a_step_is_read_in_natural_order() -> None:
    zigzag = np.arange(1000, 1064)
    table = segment(0xDB, b"\x11" + zigzag.astype(">u2").tobytes())
    data = FILE.replace(b"\xff\xc0", table + b"\xff\xc0", 1)
    found = read_frame(data).components[1].table.reshape(8, 8)
    assert found[0, :4].tolist() == [1000, 1001, 1005, 1006]
    assert found[1, :3].tolist() == [1002, 1004, 1007]
    assert found[7].tolist() == [1035, 1036, 1048, 1049, 1057, 1058, 1062, 1063]


def test_a_block_covers_more_pixels_where_there_are_fewer_samples() -> None:
    frame = read_frame(scan_by_scan(PIXELS, [(4, 2), (1, 2), (2, 1)]))
    sizes = [frame.block_size(component) for component in frame.components]
    assert sizes == [(8, 8), (8, 32), (16, 16)]


def test_samples_that_cover_no_whole_pixels_are_an_error() -> None:
    frame = read_frame(scan_by_scan(PIXELS, [(3, 1), (2, 1), (1, 1)]))
    with pytest.raises(JpegError):
        frame.block_size(frame.components[1])


def test_what_follows_the_image_is_not_read() -> None:
    second = by_pillow(progressive=True)(scene(32, 32))
    frame = read_frame(FILE + second + b"\xff\xdb")
    assert (frame.width, frame.height, frame.progressive) == (97, 61, False)


def test_a_thumbnail_is_not_taken_for_the_image() -> None:
    thumbnail = segment(0xE1, b"Exif\0\0" + by_pillow()(scene(16, 16)))
    frame = read_frame(FILE[:2] + thumbnail + FILE[2:])
    assert (frame.width, frame.height) == (97, 61)


def test_fill_bytes_and_restart_markers_are_no_segments() -> None:
    data = KINDS["restart markers"](PIXELS)
    filled = data.replace(b"\xff\xda", b"\xff\xff\xff\xda", 1)
    assert b"\xff\xd0" in data
    assert read_frame(filled).restart_interval == 3


def test_tables_that_change_between_scans_are_an_error() -> None:
    factors = [(1, 1)] * 3
    read_frame(scan_by_scan(PIXELS, factors))
    again = segment(0xDB, b"\0" + bytes([1] * 64))
    with pytest.raises(JpegError):
        read_frame(scan_by_scan(PIXELS, factors, between=again))


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, *range(0xC9, 0xCC), 0xCD, 0xCE, 0xCF])
def test_lossless_hierarchical_and_arithmetic_coding_are_an_error(marker: int) -> None:
    with pytest.raises(JpegError):
        read_frame(FILE.replace(b"\xff\xc0", bytes((0xFF, marker)), 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        picture_file(Image.fromarray(PIXELS), "PNG"),
        b" " + FILE,
        FILE.replace(b"\xff\xda", b"\xff\xdc", 1),
        FILE.replace(b"\xff\xda", b"\0\xff\xda", 1),
        FILE.replace(b"\xff\xc0", b"garbage\xff\xc0", 1),
        FILE.replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\2", 1),
        headed(b""),
        headed(b"\1").replace(bytes([1] * 64), bytes([1] * 63 + [0])),
        headed(b"\1").replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x10"),
        headed(b"\1").replace(b"\x08\0\x10\0\x10", b"\x08\0\0\0\x10"),
        headed(b"\1").replace(b"\x08\0\x10\0\x10", b"\x08\0\x10\0\0"),
        headed(b"\1").replace(b"\1\x11\0", b"\1\x51\0"),
        headed(b"\1").replace(b"\1\x11\0", b"\1\x10\0"),
        headed(b"\1").replace(b"\1\x11\0", b"\1\x11\1"),
        headed(b"\1").replace(b"\x10\1\1\x11\0", b"\x10\2\1\x11\0"),
    ],
)
def test_what_is_no_sound_jpeg_is_an_error(data: bytes) -> None:
    with pytest.raises(JpegError):
        read_frame(data)


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "scan by scan"])
def test_a_file_cut_short_anywhere_is_an_error(kind: str) -> None:
    data = KINDS[kind](PIXELS)
    for length in range(0, len(data), 7):
        with pytest.raises(JpegError):
            read_frame(data[:length])


def test_damage_anywhere_gives_a_frame_or_an_error() -> None:
    chance = random.Random(3)
    whole = ycck(PIXELS)
    errors = 0
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(700)] = chance.randrange(256)
        try:
            frame = read_frame(bytes(data))
            assert frame.colours in Colours
        except JpegError:
            errors += 1
    assert 100 < errors < 2000


def test_every_hostile_file_gives_a_frame_or_an_error(data: Path) -> None:
    frames = 0
    for path in files_below(data / "hostile"):
        try:
            frame = read_frame(path.read_bytes())
        except JpegError:
            continue
        frames += 1
        assert frame.width > 0
        assert frame.height > 0
        assert all(component.table.all() for component in frame.components)
    assert frames > 30
