"""HEIC files: what they show, in the right colours and the right way up."""

import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from blurline.errors import PictureError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Header, Limits, read_header
from blurline.imaging.heif import pixels as heif_pixels
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from tests.heic_files import (
    ALPHA,
    BT601,
    BT709,
    BT2020,
    Coding,
    Item,
    auxiliary,
    box,
    clap,
    exif_item,
    grid,
    heic,
    heif,
    imir,
    irot,
    ispe,
    nclx,
    still,
)
from tests.parts import drawing
from tests.telltales import exif_block, srgb

LIMITS = Limits(max_bytes=50_000_000, max_pixels=100_000_000)
PIXELS = drawing(96, 64)
SMALL = drawing(48, 32)
EXACT = 1.0
"""Mean difference of 8-bit values that rounding in luma and chroma makes."""
THINNED = 3.0
"""The same where chroma has fewer samples, with the sharp edges of the drawing."""


def header_of(data: bytes) -> Header:
    return read_header(data, LIMITS)


def shown(data: bytes) -> Pixels:
    return decode(data, header_of(data))


def difference(data: bytes, expected: np.ndarray) -> float:
    pixels = shown(data)
    assert pixels.shape == expected.shape
    return float(cv2.absdiff(pixels, np.ascontiguousarray(expected)).mean())


def refusal(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        shown(data)
    return caught.value.code


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
@pytest.mark.parametrize("form", ["yuv444p", "yuv420p", "yuv422p10le", "yuv420p12le"])
def test_colours_are_right_by_the_file_whatever_the_stream_says(
    form: str, matrix: int, full: bool
) -> None:
    coded = still(PIXELS, Coding(form, matrix, full, said=""))
    for item in (coded, still(PIXELS, Coding(form, matrix, full, said="range=full:colormatrix=8"))):
        data = heif({1: item.with_(nclx(1, 13, matrix, full=full))})
        assert difference(data, PIXELS) < (EXACT if form == "yuv444p" else THINNED)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
def test_colours_are_right_by_the_stream_where_the_file_is_silent(matrix: int, full: bool) -> None:
    assert difference(heif({1: still(PIXELS, Coding("yuv444p", matrix, full))}), PIXELS) < EXACT


def test_without_a_word_colours_are_those_of_bt_601_in_part_of_the_range() -> None:
    coding = Coding("yuv444p", BT601, is_full_range=False, said="")
    assert difference(heif({1: still(PIXELS, coding)}), PIXELS) < EXACT


def test_a_grey_picture_is_grey() -> None:
    grey = cv2.cvtColor(PIXELS, cv2.COLOR_RGB2GRAY)
    assert difference(heif({1: still(grey, Coding("gray"))}), np.dstack([grey] * 3)) == 0


def test_a_picture_coded_as_green_blue_and_red_is_read() -> None:
    planes = PIXELS[..., [1, 2, 0]]
    item = still(np.zeros_like(PIXELS), Coding("gbrp", matrix=0), planes=planes)
    assert difference(heif({1: item}), PIXELS) == 0
    assert difference(heif({1: item.with_(nclx(1, 13, 0))}), PIXELS) == 0


@pytest.mark.parametrize("side", [16, 32, 48])
@pytest.mark.parametrize("form", ["yuv444p", "yuv420p"])
def test_a_grid_shows_no_seams_and_nothing_beyond_its_edges(form: str, side: int) -> None:
    for hidden in (0, 255):
        data = heif(grid(PIXELS[:50, :90], side, coding=Coding(form), hidden=hidden))
        assert header_of(data).upright_size == (90, 50)
        assert difference(data, PIXELS[:50, :90]) < (EXACT if form == "yuv444p" else THINNED)


def test_a_grid_of_more_tiles_than_sixteen_is_usual() -> None:
    data = heif(grid(PIXELS, 16))
    assert data.count(b"infe") == 1 + 24
    assert difference(data, PIXELS) < EXACT


def test_what_phones_leave_green_beyond_the_edge_is_no_damage() -> None:
    assert difference(heif(grid(PIXELS[:40, :67], 32, hidden=None)), PIXELS[:40, :67]) < EXACT


TURNS = [(quarters, axis) for quarters in range(4) for axis in (None, 0, 1)]


def turned(pixels: np.ndarray, quarters: int, axis: int | None) -> np.ndarray:
    """HEIF's words: to the left, then 0 upside down, 1 left to right."""
    for _ in range(quarters):
        pixels = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return pixels if axis is None else cv2.flip(pixels, axis)


@pytest.mark.parametrize(("quarters", "axis"), TURNS)
@pytest.mark.parametrize("tiled", [False, True])
def test_every_turn_is_made_in_the_order_of_the_file(
    quarters: int, axis: int | None, tiled: bool
) -> None:
    mirror = [] if axis is None else [imir(axis)]
    steps = [irot(quarters), *mirror]
    for order in (steps, steps[::-1]):
        expected = turned(turned(PIXELS, quarters, None), 0, axis)
        if order != steps:
            expected = turned(turned(PIXELS, 0, axis), quarters, None)
        items = grid(PIXELS, 32, *order) if tiled else {1: still(PIXELS).with_(*order)}
        data = heif(items)
        assert header_of(data).upright_size == expected.shape[1::-1]
        assert header_of(data).orientation == 1
        assert difference(data, expected) < EXACT


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_turns_nothing(orientation: int) -> None:
    block = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", 0x112, 3, 1, orientation, 0, 0)
    data = heic(PIXELS, irot(1), exif=exif_item(block))
    assert difference(data, turned(PIXELS, 1, None)) < EXACT
    assert read_metadata(data, Kind.HEIC, MetadataPolicy.KEEP).orientation == 1


def test_a_clean_aperture_is_cut_out_before_and_after_a_turn() -> None:
    cut = clap(40, 20, Fraction(-8), Fraction(5))
    assert difference(heic(PIXELS, cut), PIXELS[27:47, 20:60]) < EXACT
    assert difference(heic(PIXELS, cut, irot(1)), turned(PIXELS[27:47, 20:60], 1, None)) < EXACT
    whole = turned(PIXELS, 1, None)
    assert difference(heic(PIXELS, irot(1), cut), whole[43:63, 4:44]) < EXACT
    odd = clap(1, 1, Fraction(1, 2), Fraction(1, 2))
    assert difference(heic(PIXELS, odd), PIXELS[32:33, 48:49]) < 3


@pytest.mark.parametrize(
    "cut",
    [
        clap(97, 20, Fraction(0), Fraction(0)),
        clap(40, 20, Fraction(29), Fraction(0)),
        clap(40, 20, Fraction(0), Fraction(-23)),
        clap(0, 20, Fraction(0), Fraction(0)),
        (b"clap", bytes(32)),
        (b"clap", bytes(31)),
    ],
)
def test_a_clean_aperture_outside_of_the_picture_is_refused(cut: tuple[bytes, bytes]) -> None:
    assert refusal(heic(PIXELS, cut)) == "not_an_image"


def test_a_picture_that_is_another_one_turned_is_shown_so() -> None:
    again = Item(b"iden", b"", (ispe(96, 64), irot(1))).referring(b"dimg", 2)
    once_more = Item(b"iden", b"", (ispe(64, 96), imir(1))).referring(b"dimg", 1)
    items = {1: again, 2: still(PIXELS).with_(imir(0)), 3: once_more}
    expected = turned(turned(PIXELS, 0, 0), 1, None)
    assert difference(heif(items), expected) < EXACT
    assert difference(heif(items, primary=3), turned(expected, 0, 1)) < EXACT
    tiled = {**grid(PIXELS, 32, irot(2)), 90: replace_source(again, 1)}
    expected = turned(turned(PIXELS, 2, None), 1, None)
    assert difference(heif(tiled, primary=90), expected) < EXACT


def replace_source(item: Item, source: int) -> Item:
    return Item(item.kind, item.content, item.properties).referring(b"dimg", source)


def test_ten_bits_stay_ten_in_a_png_and_nowhere_else() -> None:
    deep = np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16)
    data = heif({1: still(np.dstack([deep] * 3), Coding("yuv444p10le"))})
    pixels = shown(data)
    result = rewrite(data, Kind.HEIC, pixels, [(0, 0, 8, 8)], 1, 90, OutputFormat.PNG)
    found = cv2.imdecode(np.frombuffer(result, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.dtype == np.uint16
    beside = np.ones((64, 96), np.bool_)
    beside[:8, :8] = False
    assert np.abs(found[beside].astype(int) - deep[beside, None]).max() <= 33  # half of 1/1023
    assert len(np.unique(found[beside])) > 500
    assert (found[:8, :8] == pixels[:8, :8, ::-1].astype(np.uint16) * 257).all()
    other = rewrite(data, Kind.HEIC, pixels, [], 1, 90, OutputFormat.WEBP)
    assert cv2.absdiff(shown(other), pixels).mean() < THINNED


OPACITY = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))


@pytest.mark.parametrize("output", [OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("coding", [Coding("gray"), Coding("yuv420p"), Coding("gray10le")])
def test_transparency_stays_where_the_kind_has_it_and_regions_are_opaque(
    output: OutputFormat, coding: Coding
) -> None:
    wide = np.dstack([OPACITY] * 3) if coding.form == "yuv420p" else OPACITY
    data = heic(PIXELS, irot(1), alpha=auxiliary(wide, ALPHA, coding).with_(irot(1)))
    pixels = shown(data)
    result = rewrite(data, Kind.HEIC, pixels, [(10, 10, 30, 30)], 1, 95, output)
    found = picture_of(result)
    expected = turned(OPACITY, 1, None).copy()
    expected[10:30, 10:30] = 255
    assert cv2.absdiff(found[..., 3], expected).mean() < (1 if output is OutputFormat.PNG else 4)
    if output is OutputFormat.PNG:
        assert (found[..., :3] == pixels).all()


def picture_of(data: bytes) -> np.ndarray:
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


def test_transparency_that_is_not_turned_itself_is_turned_with_the_picture() -> None:
    data = heic(PIXELS, irot(1), imir(0), alpha=auxiliary(OPACITY[::2, ::2].copy(), ALPHA))
    alpha = heif_pixels.read_alpha(data)
    assert alpha is not None
    expected = turned(OPACITY, 1, 0)
    assert alpha.shape == (96, 64, 1)
    assert cv2.absdiff(alpha[..., 0], expected).mean() < 2


def test_colours_that_are_multiplied_by_opacity_are_divided_again() -> None:
    opacity = np.full((64, 96), 128, np.uint8)
    dark = (PIXELS * (128 / 255)).astype(np.uint8)
    primary = still(dark).referring(b"prem", 2)
    data = heif({1: primary, 2: auxiliary(opacity, ALPHA)})
    assert difference(data, PIXELS) < 2


def test_transparency_is_left_out_of_a_jpeg() -> None:
    data = heic(PIXELS, alpha=auxiliary(OPACITY, ALPHA))
    result = rewrite(data, Kind.HEIC, shown(data), [], 1, 95)
    assert sum(picture_of(result)[..., 3].ravel() != 255) == 0
    assert difference(result, PIXELS) < THINNED


@pytest.mark.parametrize("sort", [b"prof", b"rICC"])
def test_a_profile_goes_with_the_colours(sort: bytes) -> None:
    for data in (
        heic(PIXELS, nclx(1, 13, 6), (b"colr", sort + srgb())),
        heif(grid(PIXELS, 32, (b"colr", sort + srgb()), nclx(1, 13, 6))),
    ):
        metadata = read_metadata(data, Kind.HEIC, MetadataPolicy.MINIMAL)
        assert metadata.profile_for(b"RGB ") is not None
        assert read_metadata(data, Kind.HEIC, MetadataPolicy.NONE).icc is None


def test_exif_goes_by_the_policy() -> None:
    data = heic(PIXELS, exif=exif_item(exif_block()))
    kept = read_metadata(data, Kind.HEIC, MetadataPolicy.KEEP)
    assert kept.camera
    assert kept.capture
    assert kept.gps
    minimal = read_metadata(data, Kind.HEIC, MetadataPolicy.MINIMAL)
    assert not (minimal.camera or minimal.capture or minimal.gps)


def test_exif_of_another_picture_is_not_taken_for_the_primary_ones() -> None:
    items = {1: still(PIXELS), 2: still(SMALL), 3: exif_item(exif_block(), 2)}
    assert not read_metadata(heif(items), Kind.HEIC, MetadataPolicy.KEEP).camera


@pytest.mark.parametrize(
    "brands", [b"MiHB\0\0\0\0mif1MiHEMiHBheic", b"mif1\0\0\0\0heictmapmiaf", b"heix\0\0\0\0"]
)
def test_brands_that_nobody_knows_change_nothing(brands: bytes) -> None:
    assert difference(heif({1: still(PIXELS)}, brands=brands), PIXELS) < EXACT


def test_an_item_in_the_tables_is_read_from_there() -> None:
    item = still(PIXELS)
    inner = Item(item.kind, item.content, item.properties, method=1)
    assert difference(heif({1: inner}), PIXELS) < EXACT


def test_a_film_is_an_animation_but_not_one_that_hangs_on() -> None:
    film = box(b"moov", box(b"mvhd", bytes(100)))
    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    assert refusal(heif({1: still(PIXELS)}, brands=b"msf1\0\0\0\0hevcmif1", after=film)) == (
        "animation"
    )
    assert refusal(box(b"ftyp", b"hevc\0\0\0\0msf1hevc") + film) == "animation"
    assert difference(heif({1: still(PIXELS)}, after=head + film), PIXELS) < EXACT
    assert difference(heif({1: still(PIXELS)}, after=box(b"mpvd", film)), PIXELS) < EXACT
    assert difference(heif({1: still(PIXELS)}, after=b"SEFT trailer"), PIXELS) < EXACT


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (b"avc1", "AVC"),
        (b"jpeg", "JPEG"),
        (b"av01", "AV1"),
        (b"vvc1", "VVC"),
        (b"j2k1", "JPEG 2000"),
        (b"unci", "uncompressed"),
        (b"iovl", "over one another"),
        (b"tmap", "tone mapping"),
    ],
)
def test_pictures_of_another_coding_are_refused_by_its_name(kind: bytes, name: str) -> None:
    with pytest.raises(PictureError, match=name) as caught:
        header_of(heif({1: Item(kind, b"1234", (ispe(96, 64),))}))
    assert caught.value.code == "unsupported_kind"


def test_files_of_phones_and_encoders_are_read(data: Path) -> None:
    sizes = {
        "IMG_5195.HEIC": (2566, 3313),
        "example.heic": (1280, 854),
        "image4.heic": (700, 476),
        "samplefilehub.heif": (640, 426),
    }
    for name, size in sizes.items():
        content = (data / "heic" / name).read_bytes()
        header = header_of(content)
        assert (header.kind, header.upright_size) == (Kind.HEIC, size)
        pixels = decode(content, header)
        assert 20 < pixels.mean() < 200
        assert pixels.std() > 20
