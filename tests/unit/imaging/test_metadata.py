"""Of an original's metadata a policy lets through what it names, checked and written anew."""

import math
import random
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from blurline.errors import PictureError
from blurline.imaging import ifd
from blurline.imaging.containers.clean import clean
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import (
    EXIF_TAG,
    GPS_TAG,
    Metadata,
    MetadataPolicy,
    read_metadata,
)
from blurline.imaging.profile import rebuilt
from tests.carriers import AVIF, png_chunk
from tests.parts import files_below, picture_file
from tests.telltales import BASE, MARKER, exif_block, srgb, traces

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
TELLING = [Kind.JPEG, Kind.PNG, Kind.WEBP, Kind.TIFF, AVIF]
"""The kinds that hold metadata."""

KEEP, MINIMAL, NONE = MetadataPolicy.KEEP, MetadataPolicy.MINIMAL, MetadataPolicy.NONE
CAMERA = {0x010F: "Acme", 0x0110: "Snap 3 (pro)", 0x0132: "2024:05:17 12:34:57"}
CAPTURE = {
    0x9003: "2024:05:17 12:34:56",
    0x9004: "2024:05:17 12:34:56",
    0x9010: "+02:00",
    0x9011: "+02:00",
    0x9012: "-11:30",
    0x9290: "12",
    0x9291: "123",
    0x9292: "123456",
}
GPS = {
    1: "N",
    2: (48.0, 51.0, 30.24),
    3: "E",
    4: (2.0, 17.0, 40.12),
    5: b"\0",
    6: 35.5,
    7: (10.0, 34.0, 56.0),
    16: "T",
    17: 271.25,
    29: "2024:05:17",
}


def exif(
    camera: Mapping[int, object] = CAMERA,
    capture: Mapping[int, object] = CAPTURE,
    gps: Mapping[int, object] = GPS,
) -> bytes:
    """A block as Pillow writes it."""
    made = Image.Exif()
    for tag, value in camera.items():
        made[tag] = value
    made.get_ifd(EXIF_TAG).update(capture)
    made.get_ifd(GPS_TAG).update(gps)
    return made.tobytes()


def photo(kind: Kind = Kind.JPEG, **options: object) -> bytes:
    return picture_file(BASE, kind, **options)


def said(metadata: Metadata) -> tuple[dict[int, object], dict[int, object], dict[int, object]]:
    """The three directories of a metadata's EXIF block, as Pillow reads them."""
    read = Image.Exif()
    if block := metadata.exif():
        read.load(block)
    first = {tag: value for tag, value in read.items() if tag not in (EXIF_TAG, GPS_TAG)}
    return first, dict(read.get_ifd(EXIF_TAG)), dict(read.get_ifd(GPS_TAG))


def of(made: bytes) -> tuple[dict[int, object], dict[int, object], dict[int, object]]:
    """What policy `KEEP` lets through of these tags."""
    return said(read_metadata(photo(exif=made), Kind.JPEG, KEEP))


@pytest.mark.parametrize("kind", TELLING)
def test_keep_keeps_time_place_camera_orientation_and_profile(kind: Kind) -> None:
    made = exif({**CAMERA, 0x0112: 6})
    original = photo(kind, exif=made, icc_profile=srgb())
    metadata = read_metadata(original, kind, KEEP)
    written = clean(original, kind, metadata)
    for result in (metadata, read_metadata(written, kind, KEEP)):
        first, capture, gps = said(result)
        assert first == {**CAMERA, 0x0112: 6}
        assert capture == {**CAPTURE, 0x9000: b"0232"}
        assert gps == {**GPS, 0: b"\2\3\0\0"}
        assert result.orientation == 6
        assert result.icc == rebuilt(srgb())


@pytest.mark.parametrize("kind", TELLING)
def test_minimal_keeps_orientation_and_profile_only(kind: Kind) -> None:
    original = photo(kind, exif=exif({**CAMERA, 0x0112: 6}), icc_profile=srgb())
    metadata = read_metadata(original, kind, MINIMAL)
    assert metadata == Metadata(orientation=6, icc=rebuilt(srgb()))
    written = clean(original, kind, metadata)
    assert read_metadata(written, kind, KEEP) == metadata
    assert said(metadata) == ({0x0112: 6}, {}, {})


@pytest.mark.parametrize("kind", TELLING)
def test_none_keeps_nothing(kind: Kind) -> None:
    original = photo(kind, exif=exif({**CAMERA, 0x0112: 6}), icc_profile=srgb())
    metadata = read_metadata(original, kind, NONE)
    assert metadata == Metadata()
    assert metadata.exif() == b""
    written = clean(original, kind, metadata)
    with Image.open(BytesIO(written)) as image:
        assert not {"exif", "icc_profile"} & set(image.info)
    assert read_metadata(written, kind, KEEP) == Metadata()


@pytest.mark.parametrize("kind", [Kind.BMP, Kind.GIF])
def test_a_kind_without_metadata_has_none(kind: Kind) -> None:
    assert read_metadata(photo(kind), kind, KEEP) == Metadata()


def test_upright_pixels_are_written_without_an_orientation() -> None:
    metadata = read_metadata(photo(exif=exif({0x0112: 6}, {}, {})), Kind.JPEG, KEEP)
    assert replace(metadata, orientation=1).exif() == b""


@pytest.mark.parametrize("kind", TELLING)
def test_no_other_tag_comes_through(kind: Kind) -> None:
    metadata = read_metadata(photo(kind, exif=exif_block()), kind, KEEP)
    first, capture, gps = said(metadata)
    assert first == {0x010F: "Acme"}
    assert capture == {0x9000: b"0232", 0x9003: "2024:05:17 12:34:56"}
    assert gps == {0: b"\2\3\0\0", 1: "N", 2: (48.0, 51.0, 30.24)}
    assert not traces(metadata.exif())


def test_there_is_no_second_directory_and_so_no_thumbnail() -> None:
    block = read_metadata(photo(exif=exif_block()), Kind.JPEG, KEEP).exif()
    read = Image.Exif()
    read.load(block)
    assert not read.get_ifd(1)
    assert len(block) < 300


def test_the_tags_of_each_directory_are_in_order() -> None:
    block = read_metadata(photo(exif=exif({**CAMERA, 0x0112: 6})), Kind.JPEG, KEEP).exif()
    starts, found = [8], []
    for start in starts:
        (count,) = struct.unpack_from("<H", block, start)
        rows = [struct.unpack_from("<HHII", block, start + 2 + 12 * n) for n in range(count)]
        found.append([row[0] for row in rows])
        starts += [row[3] for row in rows if row[0] in (EXIF_TAG, GPS_TAG)]
        assert block[start + 2 + 12 * count :][:4] == bytes(4)
    assert [len(tags) for tags in found] == [6, 9, 11]
    assert found == [sorted(tags) for tags in found]


@pytest.mark.parametrize(
    "text",
    [
        "Acme\x07",
        "A\nB",
        "K\xe4se",
        "x" * 65,
        "   ",
        "",
    ],
)
@pytest.mark.parametrize("tag", [0x010F, 0x0110])
def test_a_make_or_model_that_is_not_plain_and_short_goes(tag: int, text: str) -> None:
    camera, _, _ = of(exif({tag: text.encode("latin-1")}, {}, {}))
    assert camera == {}


def test_a_value_of_another_type_goes() -> None:
    tags = [ifd.undefined(0x010F, b"Acme"), ifd.shorts(0x0110, 7), ifd.ascii_text(0x0112, "6")]
    capture = [ifd.octets(0x9003, b"2024:05:17 12:34:56\0"), ifd.longs(0x9291, 123)]
    gps = [ifd.shorts(1, 78), ifd.longs(2, 48, 51, 30), ifd.shorts(5, 0), ifd.longs(6, 35)]
    gps += [ifd.ascii_text(16, "T"), ifd.ascii_text(17, "271.25"), ifd.longs(7, 10, 34, 56)]
    block = b"Exif\0\0" + ifd.HEADER + struct.pack("<I", 8)
    block += ifd.directories(tags, {EXIF_TAG: capture, GPS_TAG: gps}, 8)
    assert read_metadata(photo(exif=block), Kind.JPEG, KEEP) == Metadata()


def test_what_stands_behind_the_end_of_a_text_goes() -> None:
    camera, _, _ = of(exif({0x010F: f"Acme \0{MARKER.decode()}", 0x0110: "x" * 64}, {}, {}))
    assert camera == {0x010F: "Acme", 0x0110: "x" * 64}


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (0x9003, "yesterday"),
        (0x9003, "2024-05-17 12:34:56"),
        (0x9003, "2024:05:17T12:34:56"),
        (0x9003, "2024:13:17 12:34:56"),
        (0x9003, "2024:02:30 12:34:56"),
        (0x9003, "2024:05:17 24:00:00"),
        (0x9003, "2024:05:17 12:34:56 Jane"),
        (0x9003, "0000:00:00 00:00:00"),
        (0x9003, "    :  :     :  :  "),
        (0x9011, "Z"),
        (0x9011, "+2:00"),
        (0x9011, "+15:00"),
        (0x9011, "+02:60"),
        (0x9291, "12a"),
        (0x9291, "-1"),
        (0x9291, "1234567890"),
    ],
)
def test_a_time_of_another_form_goes(tag: int, text: str) -> None:
    _, capture, _ = of(exif({}, {tag: text}, {}))
    assert capture == {}


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({1: "X"}, {1, 2}),
        ({1: None}, {1, 2}),
        ({2: (91.0, 0.0, 0.0)}, {1, 2}),
        ({2: (48.0, 61.0, 0.0)}, {1, 2}),
        ({2: (48.0, 61.0)}, {1, 2}),
        ({2: IFDRational(0, 0)}, {1, 2}),
        ({2: (48.0, 51.0, 30.0, 1.0)}, {1, 2}),
        ({2: (IFDRational(48, 0), 51.0, 30.24)}, {1, 2}),
        ({3: "N"}, {3, 4}),
        ({4: (181.0, 0.0, 0.0)}, {3, 4}),
        ({5: b"\7"}, {5, 6}),
        ({5: b"\0\1"}, {5, 6}),
        ({6: 200_000.0}, {5, 6}),
        ({7: (25.0, 0.0, 0.0)}, {7}),
        ({7: 10.0}, {7}),
        ({16: "north"}, {16, 17}),
        ({17: 361.0}, {16, 17}),
        ({29: "2024:05:32"}, {29}),
        ({29: MARKER.decode()}, {29}),
    ],
)
def test_a_number_of_gps_that_can_not_be_goes_with_its_reference(
    changed: dict[int, object], lost: set[int]
) -> None:
    made = {tag: value for tag, value in {**GPS, **changed}.items() if value is not None}
    _, _, gps = of(exif({}, {}, made))
    assert set(gps) == {0} | (set(GPS) - lost)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({6: 35.5}, {5: b"\0", 6: 35.5}),
        ({5: b"\3", 6: 35.5}, {5: b"\3", 6: 35.5}),
        ({5: b"", 6: 35.5}, {5: b"\0", 6: 35.5}),
        ({17: 271.25}, {16: "T", 17: 271.25}),
        ({16: "", 17: 271.25}, {16: "T", 17: 271.25}),
        ({16: "M", 17: 271.25}, {16: "M", 17: 271.25}),
        ({1: "S", 2: (48.0, 51.504)}, {1: "S", 2: (48.0, 51.504, 0.0)}),
        ({3: "W", 4: 2.294}, {3: "W", 4: (2.294, 0.0, 0.0)}),
        (
            {1: "N", 2: (48.0, 51.504, IFDRational(0, 0))},
            {1: "N", 2: (48.0, 51.504, 0.0)},
        ),
        ({7: (10.0, 34.0)}, {7: (10.0, 34.0, 0.0)}),
        ({7: (10.0, 34.0, 56.5)}, {7: (10.0, 34.0, 56.5)}),
        ({29: "2024:05:17"}, {29: "2024:05:17"}),
    ],
)
def test_a_number_of_gps_stays_where_the_standard_says_what_is_left_out(
    given: dict[int, object], kept: dict[int, object]
) -> None:
    _, _, gps = of(exif({}, {}, given))
    assert gps == {0: b"\2\3\0\0", **kept}


FOCUS = {0x920A: IFDRational(17, 4), 0xA405: 26}


@pytest.mark.parametrize("length", [IFDRational(17, 4), 4.25, IFDRational(4_250_000, 1_000_000)])
def test_keep_keeps_the_focal_length(length: object) -> None:
    for said in (exif({}, {**FOCUS, 0x920A: length}, {}), exif({**FOCUS, 0x920A: length}, {}, {})):
        assert of(said) == ({}, {**FOCUS, 0x9000: b"0232"}, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {0x920A: IFDRational(0, 4)},
        {0x920A: IFDRational(4, 0)},
        {0x920A: IFDRational(100_001, 1)},
        {0x920A: (IFDRational(17, 4), IFDRational(1, 1))},
        {0x920A: math.inf},
        {0x920A: math.nan},
        {0x920A: "4.25"},
        {0xA405: 0},
        {0xA405: "26 mm"},
        {0xA405: (26, 27)},
        {0xA405: 1 << 16},
    ],
)
def test_a_focal_length_that_is_none_is_left_out(wrong: dict[int, object]) -> None:
    assert of(exif({}, wrong, {})) == ({}, {}, {})


def test_gps_says_no_more_than_these_tags() -> None:
    more = {0: b"\x48\x49\x50\x51", 8: "12", 18: "WGS-84", 27: MARKER, 28: MARKER, 31: 4.0}
    _, _, gps = of(exif({}, {}, {**GPS, **more}))
    assert gps == {**GPS, 0: b"\2\3\0\0"}


def test_a_fraction_has_no_room_for_bytes() -> None:
    hidden = int.from_bytes(b"Jan", "big")
    degrees = IFDRational(48 * hidden, hidden)
    seconds = IFDRational(3_024_000_000 + 1, 100_000_000)
    metadata = read_metadata(
        photo(exif=exif({}, {}, {1: "N", 2: (degrees, 51.0, seconds)})), Kind.JPEG, KEEP
    )
    (numbers,) = (entry.values for entry in metadata.gps if entry.tag == 2)
    assert struct.unpack("<6I", numbers) == (48, 1, 51, 1, 756, 25)


def test_a_position_stays_where_it_is_to_a_hair() -> None:
    chance = random.Random(5)
    for _ in range(20):
        place = (chance.uniform(0, 90), chance.uniform(0, 60), chance.uniform(0, 60))
        metadata = read_metadata(photo(exif=exif({}, {}, {1: "S", 2: place})), Kind.JPEG, KEEP)
        (numbers,) = (entry.values for entry in metadata.gps if entry.tag == 2)
        parts = struct.unpack("<6I", numbers)
        kept = [Fraction(*parts[start : start + 2]) for start in (0, 2, 4)]
        for number, expected in zip(kept, place, strict=True):
            assert abs(number - Fraction(expected)) < Fraction(1, 500_000)


def test_one_damaged_directory_takes_no_other_with_it() -> None:
    made = exif({**CAMERA, 0x0112: 6})
    data = photo(exif=made, icc_profile=srgb())
    pointer = re.search(re.escape(struct.pack(">HHI", EXIF_TAG, 4, 1)), data)
    assert pointer is not None
    end = pointer.end()
    metadata = read_metadata(data[:end] + b"\x7f\xff\xff\xff" + data[end + 4 :], Kind.JPEG, KEEP)
    first, capture, gps = said(metadata)
    assert first == {**CAMERA, 0x0112: 6}
    assert capture == {}
    assert gps == {**GPS, 0: b"\2\3\0\0"}
    assert metadata.icc is not None


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_counts_as_upright(orientation: int) -> None:
    data = photo(exif=exif({0x0112: orientation}, {}, {}))
    assert read_metadata(data, Kind.JPEG, MINIMAL).orientation == 1


def test_exif_behind_the_pixels_of_a_png_is_read() -> None:
    data = photo(Kind.PNG)
    late = data[:-12] + png_chunk(b"eXIf", exif({0x0112: 8}, {}, {})[6:]) + data[-12:]
    assert read_metadata(late, Kind.PNG, MINIMAL).orientation == 8


@pytest.mark.parametrize("kind", TELLING)
def test_damage_anywhere_in_a_file_is_no_error(kind: Kind) -> None:
    chance = random.Random(11)
    whole = photo(kind, exif=exif_block(), icc_profile=srgb())
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        metadata = read_metadata(bytes(data[: chance.randrange(len(data))]), kind, KEEP)
        assert 1 <= metadata.orientation <= 8
        assert not traces(metadata.exif() + (metadata.icc or b""))
    assert read_metadata(b"", kind, KEEP) == Metadata()


def test_the_orientation_is_the_one_that_the_header_says(data: Path) -> None:
    turned = 0
    for path in files_below(data / "hostile") + files_below(data / "street"):
        content = path.read_bytes()
        try:
            header = read_header(content, LIMITS)
        except PictureError:
            continue
        if header.kind is Kind.TIFF:  # there the reader of pixels turns them
            continue
        orientation = read_metadata(content, header.kind, MINIMAL).orientation
        assert orientation == header.orientation, path.name
        turned += orientation > 1
    assert turned > 3
