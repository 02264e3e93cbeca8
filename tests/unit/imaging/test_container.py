"""A file that leaves holds what its pixels need and what a policy lets through, and no more."""

import random
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import Metadata, MetadataPolicy, read_metadata
from tests.carriers import AVIF, CARRIERS, WRITTEN, box, carrier, png_chunk, segment
from tests.parts import drawing, files_below, picture_file
from tests.telltales import (
    BASE,
    MARKER,
    PICTURE,
    embedded_pictures,
    exif_block,
    srgb,
    telling_profile,
    traces,
)

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
TURNED = [Kind.JPEG, Kind.PNG, Kind.WEBP, Kind.TIFF, AVIF]
"""The kinds that can say how they are turned."""
SEE_THROUGH = BASE.copy()
SEE_THROUGH.putalpha(Image.linear_gradient("L").resize(BASE.size))


def stored(data: bytes, kind: Kind) -> np.ndarray:
    """The pixels as they are stored, transparency included."""
    with Image.open(BytesIO(data), formats=[kind.upper()]) as image:
        if kind == Kind.TIFF:
            return np.asarray(Image.open(BytesIO(unturned(data))).convert("RGBA"))
        return np.asarray(image.convert("RGBA"))


def unturned(data: bytes) -> bytes:
    """A TIFF file whose orientation readers take for an unknown tag."""
    return data.replace(struct.pack("<HHI", 0x0112, 3, 1), struct.pack("<HHI", 0x0113, 3, 1))


def segments(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Marker, content and coded samples of each segment of a well-formed JPEG file, to its end."""
    found, place = [], 2
    while data[place + 1] != 0xD9:
        marker, length = struct.unpack_from(">xBH", data, place)
        start = place + 2 + length
        end = start
        if marker == 0xDA:
            after = re.compile(rb"\xff[^\0\xd0-\xd7]").search(data, start)
            assert after is not None
            end = after.start()
        found.append((marker, data[place + 4 : start], data[start:end]))
        place = end
    return found


def chunks(data: bytes, start: int, form: str) -> Iterator[bytes]:
    """The names of the chunks of a well-formed PNG or WebP file."""
    while start < len(data):
        if form == "PNG":
            length, name = struct.unpack_from(">I4s", data, start)
            start += 12 + length
        else:
            name, length = struct.unpack_from("<4sI", data, start)
            start += 8 + length + length % 2
        yield name
    assert start == len(data)


def boxes(data: bytes) -> Iterator[bytes]:
    """The names of the boxes of an AVIF file and of those inside them."""
    inside = {b"meta": 4, b"iinf": 6, b"iref": 4, b"iprp": 0, b"ipco": 0}
    place = 0
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        yield name
        if name in inside:
            yield from boxes(data[place + 8 + inside[name] : place + size])
        place += size
    assert place == len(data)


def whole(kind: Kind, **options: object) -> bytes:
    """A picture with a profile and an EXIF block of more than may leave."""
    if kind in (Kind.BMP, Kind.GIF):
        return picture_file(BASE, kind.value)
    return picture_file(
        SEE_THROUGH if kind is Kind.WEBP else BASE,
        kind,
        icc_profile=srgb(),
        exif=exif_block(),
        **options,
    )


@pytest.mark.parametrize("policy", MetadataPolicy)
@pytest.mark.parametrize(("kind", "place"), [case for case in CARRIERS if case[0] in WRITTEN])
def test_nothing_that_a_file_carries_leaves_with_its_pixels(
    kind: Kind, place: str, policy: MetadataPolicy
) -> None:
    original = carrier(kind, place)
    assert traces(original)
    cleaned = clean(original, kind, read_metadata(original, kind, policy))
    assert not traces(cleaned)
    assert embedded_pictures(cleaned) == 0
    assert (stored(cleaned, kind) == stored(original, kind)).all()


@pytest.mark.parametrize("place", [place for kind, place in CARRIERS if kind is Kind.JPEG])
def test_the_coded_samples_of_a_jpeg_stay_bit_for_bit(place: str) -> None:
    original = carrier(Kind.JPEG, place)
    cleaned = clean(original, Kind.JPEG, Metadata())
    scans = [part[1:] for part in segments(original) if part[0] == 0xDA]
    assert [part[1:] for part in segments(cleaned) if part[0] == 0xDA] == scans


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_clean_stays_as_it_is(kind: Kind) -> None:
    original = whole(kind)
    metadata = read_metadata(original, kind, MetadataPolicy.KEEP)
    cleaned = clean(original, kind, metadata)
    assert clean(cleaned, kind, metadata) == cleaned
    assert read_metadata(cleaned, kind, MetadataPolicy.KEEP) == metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", TURNED)
def test_the_orientation_that_is_asked_for_is_written(kind: Kind, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1 + orientation % 8
    original = picture_file(BASE, kind, exif=exif)
    cleaned = clean(original, kind, Metadata(orientation))
    assert read_metadata(cleaned, kind, MetadataPolicy.MINIMAL).orientation == orientation
    assert (stored(cleaned, kind) == stored(original, kind)).all()
    with Image.open(BytesIO(cleaned)) as image:
        assert image.getexif().get(0x0112, 1) == orientation


@pytest.mark.parametrize("kind", [Kind.BMP, Kind.GIF])
def test_a_kind_that_has_no_place_for_an_orientation_is_not_written_turned(kind: Kind) -> None:
    with pytest.raises(ValueError, match="turned"):
        clean(whole(kind), kind, Metadata(orientation=6))


def test_a_jpeg_has_no_other_segments_than_these() -> None:
    original = carrier(Kind.JPEG, "in all places, restarts")
    metadata = replace(Metadata(6), icc=read_metadata(whole(Kind.JPEG), Kind.JPEG, "minimal").icc)
    cleaned = clean(original, Kind.JPEG, metadata)
    found = segments(cleaned)
    assert len(cleaned) == 2 + sum(4 + len(part[1]) + len(part[2]) for part in found) + 2
    markers = [marker for marker, _, _ in found]
    assert set(markers) == {0xE0, 0xE1, 0xE2, 0xDB, 0xC0, 0xC4, 0xDD, 0xDA}
    assert markers[:3] == [0xE0, 0xE1, 0xE2]
    assert found[0][1] == b"JFIF\0\1\2\0\0\1\0\1\0\0"
    assert found[1][1].startswith(b"Exif\0\0II*\0")


def test_a_png_has_no_other_chunks_than_these() -> None:
    original = whole(Kind.PNG)
    colours = png_chunk(b"gAMA", struct.pack(">I", 45455)) + png_chunk(b"sRGB", b"\0")
    original = original[:33] + colours + original[33:]
    kept = clean(original, Kind.PNG, read_metadata(original, Kind.PNG, MetadataPolicy.KEEP))
    assert list(chunks(kept, 8, "PNG")) == [b"IHDR", b"iCCP", b"gAMA", b"eXIf", b"IDAT", b"IEND"]
    bare = clean(original, Kind.PNG, Metadata())
    assert list(chunks(bare, 8, "PNG")) == [b"IHDR", b"gAMA", b"sRGB", b"IDAT", b"IEND"]


def test_a_webp_has_no_other_chunks_than_these() -> None:
    original = whole(Kind.WEBP, lossless=False)
    kept = clean(original, Kind.WEBP, read_metadata(original, Kind.WEBP, MetadataPolicy.KEEP))
    assert list(chunks(kept, 12, "WebP")) == [b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"EXIF"]
    assert struct.unpack_from("<I", kept, 4) == (len(kept) - 8,)
    assert kept[20:30] == struct.pack("<IHBHB", 0x38, 95, 0, 63, 0)  # profile, alpha, EXIF
    bare = clean(whole(Kind.WEBP, lossless=True), Kind.WEBP, Metadata())
    assert list(chunks(bare, 12, "WebP")) == [b"VP8L"]


def test_a_tiff_has_no_other_tags_than_these() -> None:
    original = whole(Kind.TIFF)
    kept = clean(original, Kind.TIFF, read_metadata(original, Kind.TIFF, MetadataPolicy.KEEP))
    needed = {256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 284, 296, 317}
    with Image.open(BytesIO(kept)) as image:
        assert set(image.tag_v2) == needed | {0x010F, 34675, 0x8769, 0x8825}
        assert image.n_frames == 1
    with Image.open(BytesIO(clean(original, Kind.TIFF, Metadata()))) as image:
        assert set(image.tag_v2) == needed


def test_an_avif_has_no_other_boxes_than_these() -> None:
    original = whole(AVIF)
    kept = clean(original, AVIF, read_metadata(original, AVIF, MetadataPolicy.KEEP))
    assert list(boxes(kept)) == [
        *(b"ftyp", b"meta", b"hdlr", b"pitm", b"iloc", b"iinf", b"infe", b"infe", b"iref", b"cdsc"),
        *(b"iprp", b"ipco", b"ispe", b"pixi", b"av1C", b"colr", b"colr", b"ipma", b"mdat"),
    ]


@pytest.mark.parametrize("space", ["YCbCr", "RGB", "grey", "CMYK", "YCCK", "by names"])
def test_the_components_of_a_jpeg_keep_their_meaning(space: str) -> None:
    if space == "RGB":
        original = picture_file(BASE, "JPEG", keep_rgb=True)
    elif space == "by names":
        original = picture_file(BASE, "JPEG", keep_rgb=True)
        place = original.index(b"\xff\xee")
        original = original[:place] + original[place + 16 :]
    elif space == "CMYK":
        original = picture_file(BASE.convert("CMYK"), "JPEG")
    elif space == "YCCK":
        data = picture_file(BASE.convert("CMYK"), "JPEG")
        place = data.index(b"Adobe") + 11
        original = data[:place] + b"\2" + data[place + 1 :]
    else:
        original = picture_file(BASE.convert("L") if space == "grey" else BASE, "JPEG")
        original = original[:2] + original[20:]  # without JFIF's mark
    cleaned = clean(original, Kind.JPEG, Metadata())
    assert (stored(cleaned, Kind.JPEG) == stored(original, Kind.JPEG)).all()
    header = read_header(cleaned, LIMITS)
    assert (decode(cleaned, header) == decode(original, header)).all()


def test_a_tables_change_between_scans_is_kept() -> None:
    original = picture_file(BASE, "JPEG", progressive=True, optimize=True)
    cleaned = clean(original, Kind.JPEG, Metadata())
    tables = [content for marker, content, _ in segments(original) if marker == 0xC4]
    assert len(tables) > 4
    assert b"".join(c for m, c, _ in segments(cleaned) if m == 0xC4) == b"".join(tables)


def test_a_large_profile_is_spread_over_segments_of_a_jpeg() -> None:
    icc = b"....................." + random.Random(1).randbytes(200_000)
    icc = icc[:16] + b"RGB " + icc[20:]
    cleaned = clean(picture_file(BASE, "JPEG"), Kind.JPEG, Metadata(icc=icc))
    assert sum(marker == 0xE2 for marker, _, _ in segments(cleaned)) == 4
    with Image.open(BytesIO(cleaned)) as image:
        assert image.info["icc_profile"] == icc


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *((kind, mode) for kind in TURNED for mode in ("L", "RGB")),
        (Kind.JPEG, "CMYK"),
        (Kind.TIFF, "CMYK"),
    ],
)
def test_a_profile_for_other_samples_than_these_is_left_out(kind: Kind, mode: str) -> None:
    cleaned = clean(picture_file(BASE.convert(mode), kind), kind, Metadata(icc=srgb()))
    with Image.open(BytesIO(cleaned)) as image:
        fits = mode == "RGB" or (kind is Kind.WEBP and mode == "L")
        assert ("icc_profile" in image.info) == fits


@pytest.mark.parametrize("kind", [Kind.PNG, Kind.WEBP, Kind.GIF, AVIF])
def test_an_animation_is_not_passed_on(kind: Kind) -> None:
    second = BASE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    data = picture_file(BASE, kind, save_all=True, append_images=[second])
    with pytest.raises(ValueError, match=r"animated|two pictures|no still"):
        clean(data, kind, Metadata())


def test_samples_that_no_pixel_of_a_png_shows_are_refused() -> None:
    data = picture_file(BASE, "PNG", compress_level=9)
    start = data.index(b"IDAT")
    samples = data[start + 4 : -16]
    spare = zlib.compress(zlib.decompress(samples) + MARKER)
    for stream in (samples + MARKER, spare, samples[:-9]):
        with pytest.raises(ValueError, match="samples"):
            clean(data[: start - 4] + png_chunk(b"IDAT", stream) + data[-12:], Kind.PNG, Metadata())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 2), (13, 11)])
def test_png_samples_of_every_form_are_counted_rightly(mode: str, size: tuple[int, int]) -> None:
    grey = Image.fromarray(np.arange(143, dtype=np.uint16).reshape(11, 13) * 400)
    image = grey if mode == "I;16" else BASE.resize((13, 11)).convert(mode)
    data = picture_file(image.crop((0, 0, *size)), "PNG")
    assert (stored(clean(data, Kind.PNG, Metadata()), Kind.PNG) == stored(data, Kind.PNG)).all()


def test_codes_behind_the_last_pixel_of_a_gif_are_refused() -> None:
    data = picture_file(Image.new("L", (8, 8), 3), "GIF")
    start = data.rindex(b"\0;") - 1
    while data[start] != len(data) - 2 - start - 1:
        start -= 1
    longer = bytes((data[start] + len(MARKER),)) + data[start + 1 : -2] + MARKER + b"\0;"
    with pytest.raises(ValueError, match="pixels"):
        clean(data[:start] + longer, Kind.GIF, Metadata())


def test_what_follows_the_samples_in_a_strip_of_a_tiff_goes() -> None:
    data = picture_file(BASE, "TIFF")
    place = struct.pack("<I", 96 * 64 * 3)
    assert data.count(place) == 1
    data = data.replace(place, struct.pack("<I", 96 * 64 * 3 + len(MARKER))) + MARKER
    cleaned = clean(data, Kind.TIFF, Metadata())
    assert MARKER not in cleaned
    assert (stored(cleaned, Kind.TIFF) == stored(data, Kind.TIFF)).all()


def test_bytes_of_a_bmp_that_are_no_pixels_become_zero() -> None:
    fourth = clean(carrier(Kind.BMP, "fourth bytes"), Kind.BMP, Metadata())
    assert not any(fourth[54:][3::4])
    filled = clean(carrier(Kind.BMP, "filled rows"), Kind.BMP, Metadata())
    rows = np.frombuffer(filled[54:], np.uint8).reshape(64, 288)
    assert not rows[:, 285:].any()
    bits = picture_file(BASE.convert("1").crop((0, 0, 13, 7)), "BMP")
    bits = bits[:-4] + bytes((bits[-4], bits[-3] | 7)) + b"\xff\xff"
    rows = np.frombuffer(clean(bits, Kind.BMP, Metadata())[62:], np.uint8).reshape(7, 4)
    assert rows[-1, 0] == bits[-4]
    assert rows[-1, 1] == bits[-3] & 0xF8
    assert not rows[:, 2:].any()


def test_a_transparent_bmp_stays_transparent() -> None:
    pixels = np.dstack([drawing(20, 10), np.full((10, 20), 77, np.uint8)])
    header = struct.pack("<IiiHHIIiiII", 108, 20, 10, 1, 32, 3, 800, 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    head = b"BM" + struct.pack("<IHHI", 922, 0, 0, 122)
    data = head + header + masks + MARKER.ljust(52, b".") + rows
    cleaned = clean(data, Kind.BMP, Metadata())
    assert MARKER not in cleaned
    assert (stored(cleaned, Kind.BMP) == pixels).all()


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_file_cut_short_is_refused(kind: Kind) -> None:
    noise = random.Random(1).randbytes(96 * 64 * 3)
    data = picture_file(Image.frombytes("RGB", (96, 64), noise), kind)
    for part in (0, 1, 11, len(data) // 8, len(data) // 2, len(data) - 40):
        with pytest.raises(ValueError, match=r"."):
            clean(data[:part], kind, Metadata())


@pytest.mark.parametrize("name", [b"pitm", b"iloc", b"iinf", b"iprp"])
def test_an_avif_with_an_empty_table_is_refused(name: bytes) -> None:
    data = bytearray(picture_file(BASE, "AVIF"))
    place, outer = data.index(name) - 4, data.index(b"meta") - 4
    size, whole_size = (struct.unpack_from(">I", data, at)[0] for at in (place, outer))
    data[outer : outer + 4] = struct.pack(">I", whole_size - size + 8)
    data[place : place + size] = box(name, b"")
    with pytest.raises(ValueError, match=r"box|table|described|properties|sort"):
        clean(bytes(data), AVIF, Metadata())


@pytest.mark.parametrize("kind", WRITTEN)
def test_damage_anywhere_gives_a_file_or_a_value_error(kind: Kind) -> None:
    chance = random.Random(7)
    data = whole(kind)
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(min(len(data), 1200))] = chance.randrange(256)
        metadata = read_metadata(bytes(damaged), kind, MetadataPolicy.KEEP)
        try:
            cleaned = clean(bytes(damaged), kind, replace(metadata, orientation=1))
        except ValueError:
            continue
        assert not traces(cleaned)


def test_hostile_files_keep_their_pixels_or_are_refused(data: Path) -> None:
    cleaned = 0
    for path in files_below(data / "hostile") + files_below(data / "street"):
        content = path.read_bytes()
        try:
            header = read_header(content, LIMITS)
            pixels = decode(content, header)
        except PictureError:
            continue
        metadata = read_metadata(content, header.kind, MetadataPolicy.KEEP)
        try:
            result = clean(content, header.kind, metadata)
        except ValueError:
            continue
        cleaned += 1
        again = read_header(result, LIMITS)
        assert again == header, path.name
        assert (decode(result, again) == pixels).all(), path.name
        assert embedded_pictures(result) == 0, path.name
    assert cleaned > 100


def test_the_finder_of_pictures_finds_them() -> None:
    for inner in (PICTURE, picture_file(BASE, "PNG"), picture_file(BASE, "WEBP")):
        assert embedded_pictures(inner) == 0
        assert embedded_pictures(picture_file(BASE, "PNG") + inner) == 1
    film = box(b"ftyp", b"mp42" + bytes(4))
    for inner in (picture_file(BASE, "GIF"), picture_file(BASE, "AVIF"), film):
        assert embedded_pictures(segment(0xFE, b"") + inner) == 1
    assert traces(zlib.compress(telling_profile()))
