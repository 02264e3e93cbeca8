"""Damaged and hostile HEIC files: a picture with all its parts, or a refusal, and soon."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blurline.errors import PictureError
from blurline.imaging.ballast import check_bulk
from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.heif import boxes, items, picture
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from tests.heic_files import (
    ALPHA,
    BT601,
    Coding,
    Item,
    auxiliary,
    box,
    exif_item,
    grid,
    heic,
    heif,
    imir,
    irot,
    ispe,
    nclx,
    still,
    xmp_item,
)
from tests.parts import drawing
from tests.telltales import exif_block, srgb

LIMITS = Limits(max_bytes=5_000_000, max_pixels=2_000_000)
CODES = {
    *("animation", "corrupt_image", "not_an_image"),
    *("too_many_bytes", "too_many_pixels", "unsupported_kind"),
}
PIXELS = drawing(96, 64)
NOISE = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
LOSSY = Coding("yuv420p", parameters="crf=20")
Tables = dict[bytes, bytes]


def outcome(data: bytes) -> str:
    """ "read", or the code of the refusal."""
    try:
        header = read_header(data, LIMITS)
        pixels = decode(data, header)
    except PictureError as error:
        assert error.code in CODES
        return error.code
    assert pixels.shape == (header.height, header.width, 3)
    return "read"


def with_table(name: bytes, content: bytes) -> Callable[[Tables], Tables]:
    return lambda tables: {**tables, name: content}


def whole() -> bytes:
    """A file of all that there may be in one."""
    tiles = grid(PIXELS, 32, irot(1), imir(0), nclx(1, 13, BT601), coding=LOSSY)
    return heif(
        {
            91: exif_item(exif_block()),
            92: xmp_item(b"<x/>"),
            **tiles,
            90: auxiliary(np.full((64, 96), 200, np.uint8), ALPHA),
        }
    )


WHOLE = whole()
PROFILE = (b"colr", b"prof" + srgb())
SINGLE = heif({2: exif_item(exif_block()), 1: still(PIXELS).with_(PROFILE)})


def ends_of_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Where each box begins and ends, and those inside of it."""
    place, end = start, len(data) if end is None else end
    while place + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, place)
        yield place
        inner = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14, b"iref": 12}.get(name)
        if inner:
            yield from ends_of_boxes(data, place + inner, place + size)
        place += max(size, 8)
        yield place


@pytest.mark.parametrize("data", [WHOLE, SINGLE], ids=["grid", "single"])
def test_a_file_cut_at_any_box_is_refused(data: bytes) -> None:
    places = {place + step for place in ends_of_boxes(data) for step in (-1, 0, 1, 4, 9)}
    for place in sorted(place for place in places if 0 <= place < len(data)):
        assert outcome(data[:place]) in ("not_an_image", "corrupt_image"), place
    for place in range(len(data) - 2000, len(data), 97):
        assert outcome(data[:place]) == "corrupt_image", place
    assert outcome(data) == "read"


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.data())
def test_damage_anywhere_is_refused_or_shows_a_picture_of_the_size(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from([WHOLE, SINGLE])))
    edge = data.draw(st.sampled_from([1500, len(changed)]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(edge, len(changed)) - 1))
        value = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        size = data.draw(st.sampled_from([1, 2, 4]))
        changed[place : place + size] = bytes([value]) * size
    content = bytes(changed)
    if outcome(content) == "read":
        read_metadata(content, Kind.HEIC, MetadataPolicy.KEEP)
        pixels = decode(content, read_header(content, LIMITS))
        try:
            rewrite(content, Kind.HEIC, pixels, [], 1, 90, OutputFormat.PNG)
        except PictureError as error:  # the transparency may be damaged alone
            assert error.code == "corrupt_image"


@pytest.mark.parametrize("left", [0.2, 0.5, 0.8])
def test_a_file_whose_rest_is_zeros_is_refused(left: float) -> None:
    for data in (heif({1: still(NOISE)}), heif(grid(NOISE, 32, coding=LOSSY))):
        kept = int(len(data) * left)
        assert outcome(data[:kept] + bytes(len(data) - kept)) == "corrupt_image"


def shortened(item: Item, left: float, padding: int = 0) -> Item:
    """The coded picture with less of its last unit, whose length says so."""
    length = struct.unpack_from(">I", item.content, sum(unit_starts(item)[-1:]))[0]
    start = unit_starts(item)[-1]
    kept = item.content[start + 4 : start + 4 + int(length * left)] + bytes(padding)
    return replace(item, content=item.content[:start] + struct.pack(">I", len(kept)) + kept)


def unit_starts(item: Item) -> list[int]:
    starts, place = [], 0
    while place < len(item.content):
        starts.append(place)
        place += 4 + struct.unpack_from(">I", item.content, place)[0]
    return starts


CODINGS = [Coding("yuv420p", parameters="crf=20"), Coding("yuv444p10le"), Coding("gray"), LOSSY]


@pytest.mark.parametrize("padding", [0, 3000])
@pytest.mark.parametrize("left", [0.1, 0.3, 0.5, 0.7, 0.8])
@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding.form)
def test_a_slice_that_is_cut_is_no_grey_area_but_an_error(
    coding: Coding, left: float, padding: int
) -> None:
    pixels = NOISE[..., 0] if coding.form == "gray" else NOISE
    item = still(pixels, coding)
    assert outcome(heif({1: item})) == "read"
    assert outcome(heif({1: shortened(item, left, padding)})) == "corrupt_image"


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_slice_that_is_missing_is_an_error(missing: int) -> None:
    large = cv2.resize(NOISE, (256, 256))
    # The encoder ends the process if it has no threads for its slices.
    item = still(large, Coding("yuv420p", parameters="crf=20:slices=4:ctu=16:pools=2"))
    starts = [*unit_starts(item), len(item.content)]
    slices = [
        (start, end)
        for start, end in pairwise(starts)
        if item.content[start + 4] >> 1 & 63 in range(16, 22)
    ]
    assert len(slices) == 4
    assert outcome(heif({1: item})) == "read"
    start, end = slices[missing]
    assert outcome(heif({1: replace(item, content=item.content[:start] + item.content[end:])})) == (
        "corrupt_image"
    )


@pytest.mark.parametrize("change", ["missing", "empty", "of another picture's size", "cut"])
def test_a_grid_with_a_bad_tile_is_an_error(change: str) -> None:
    tiles = grid(PIXELS, 32, coding=LOSSY)
    if change == "missing":
        tiles[1] = replace(tiles[1], references=((b"dimg", tuple(range(2, 7))),))
    elif change == "empty":
        tiles[4] = replace(tiles[4], content=b"")
    elif change == "cut":
        tiles[4] = shortened(tiles[4], 0.3)
    else:
        tiles[4] = still(drawing(16, 16), LOSSY)
    assert outcome(heif(tiles)) in ("corrupt_image", "not_an_image", "unsupported_kind")


def loop(kind: bytes, *targets: int) -> dict[int, Item]:
    content = struct.pack(">4B2H", 0, 0, 0, 0, 96, 64) if kind == b"grid" else b""
    first = Item(kind, content, (ispe(96, 64),), method=1).referring(b"dimg", *targets)
    return {1: first, 2: Item(kind, content, (ispe(96, 64),), method=1).referring(b"dimg", 1)}


@pytest.mark.parametrize("kind", [b"iden", b"grid"])
@pytest.mark.parametrize("targets", [(1,), (2,), (9,), ()])
def test_a_picture_that_is_made_of_itself_is_refused(kind: bytes, targets: tuple[int, ...]) -> None:
    assert outcome(heif(loop(kind, *targets))) in ("not_an_image", "unsupported_kind")


def test_a_grid_of_grids_is_refused_by_name() -> None:
    outer = Item(b"grid", struct.pack(">4B2H", 0, 0, 0, 0, 96, 64), (ispe(96, 64),))
    assert outcome(heif({90: outer.referring(b"dimg", 1), **grid(PIXELS, 32)}, primary=90)) == (
        "unsupported_kind"
    )


def test_a_long_chain_of_turned_pictures_is_refused() -> None:
    chain = {1: still(PIXELS)} | {
        number: Item(b"iden", b"", (ispe(96, 64), irot(2))).referring(b"dimg", number - 1)
        for number in range(2, 9)
    }
    assert outcome(heif(chain, primary=1 + picture.MAX_DEPTH)) == "read"
    assert outcome(heif(chain, primary=2 + picture.MAX_DEPTH)) == "not_an_image"


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((64, 96), "corrupt_image"),
        ((97, 64), "corrupt_image"),
        ((95, 64), "corrupt_image"),
        ((1000, 1000), "corrupt_image"),
        ((0, 64), "not_an_image"),
        ((16_000, 16_000), "too_many_pixels"),
        ((2**32 - 1, 2**32 - 1), "too_many_pixels"),
    ],
)
def test_a_size_that_is_not_the_streams_is_refused(size: tuple[int, int], code: str) -> None:
    item = still(PIXELS)
    assert outcome(heif({1: replace(item, properties=(item.properties[0], ispe(*size)))})) == code


def test_a_stream_of_more_pixels_than_the_file_says_is_not_decoded() -> None:
    large = still(np.zeros((512, 512, 3), np.uint8), Coding("yuv420p", parameters="crf=51"))
    assert outcome(heif({1: replace(large, properties=(large.properties[0], ispe(64, 64)))})) == (
        "corrupt_image"
    )


def test_pixels_that_are_cut_away_count_as_well() -> None:
    clap = (b"clap", struct.pack(">IIIIiIiI", 8, 1, 8, 1, 0, 1, 0, 1))
    item = still(PIXELS)
    coded = replace(item, properties=(item.properties[0], ispe(9000, 9000), clap))
    assert outcome(heif({1: coded})) == "too_many_pixels"
    alpha = auxiliary(PIXELS[..., 0], ALPHA)
    huge = replace(alpha, properties=(alpha.properties[0], ispe(9000, 9000), alpha.properties[2]))
    assert outcome(heif({1: item, 2: huge})) == "too_many_pixels"


def iloc(rows: int, parts: int) -> bytes:
    """Items of so many parts, none of which takes a byte."""
    row = b"".join(struct.pack(">HHHH", item % 65536, 0, 0, parts) for item in range(rows))
    return struct.pack(">B3xBBH", 1, 0, 0, rows) + row


MANY = items.MAX_ROWS
BOMBS = {
    "parts of no bytes": with_table(b"iloc", iloc(65_535, 65_535)),
    "items": with_table(b"iloc", iloc(65_535, 0)),
    "references": with_table(
        b"iref", bytes(4) + box(b"cdsc", struct.pack(">HH", 1, 65_000) + bytes(130_000)) * 2
    ),
    "boxes": with_table(b"iref", bytes(4) + box(b"auxl", bytes(6)) * (boxes.MAX_BOXES + 1)),
    "uses of properties": with_table(
        b"iprp",
        box(b"ipco", box(b"free", b""))
        + box(b"ipma", struct.pack(">4xI", MANY + 1) + bytes(3 * (MANY + 1))),
    ),
    "properties": with_table(b"iprp", box(b"ipco", box(b"free", b"") * (boxes.MAX_BOXES + 1))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_tables_without_end_are_refused(name: str) -> None:
    assert outcome(heif({1: still(PIXELS)}, tables=BOMBS[name])) == "not_an_image"


@pytest.mark.parametrize(
    "size", [2**64 - 1, 2**63, 2**32, 15], ids=["all", "sign", "33 bits", "head"]
)
def test_sizes_and_places_that_turn_over_are_refused(size: int) -> None:
    wide = struct.pack(">I4sQ", 1, b"free", size)
    assert outcome(box(b"ftyp", b"heic\0\0\0\0mif1heic") + wide + WHOLE[24:]) == "not_an_image"
    item = still(PIXELS)
    for part in ((size, 10), (10, size)):
        table = struct.pack(">B3xBBHHHHHQQ", 1, 0x88, 0, 1, 1, 0, 0, 1, *part)
        assert outcome(heif({1: item}, tables=with_table(b"iloc", table))) == "corrupt_image"


@pytest.mark.parametrize(("method", "elsewhere"), [(2, 0), (3, 0), (0, 1)])
def test_items_in_other_places_are_refused(method: int, elsewhere: int) -> None:
    item = still(PIXELS)
    table = struct.pack(">B3xBBHHHHHII", 1, 0x44, 0, 1, 1, method, elsewhere, 1, 0, 10)
    assert outcome(heif({1: item}, tables=with_table(b"iloc", table))) == "corrupt_image"


def test_parts_that_lie_over_one_another_are_read_as_they_stand() -> None:
    data = heif({1: still(PIXELS), 2: Item(b"free", b"")})
    assert outcome(data) == "read"
    item = still(PIXELS)
    size = len(item.content)

    def in_two_parts(tables: Tables) -> Tables:
        start = struct.unpack_from(">I", tables[b"iloc"], 16)[0]
        half = size // 2
        row = struct.pack(">HHHHIIII", 1, 0, 0, 2, start, half, start + half, size - half)
        return {**tables, b"iloc": struct.pack(">B3xBBH", 1, 0x44, 0, 1) + row}

    plain = heif({1: item})
    moved = heif({1: item}, tables=in_two_parts)
    # The table has grown by eight bytes, and all behind it has moved.
    assert outcome(plain) == "read"
    assert outcome(moved) in ("read", "corrupt_image")


def test_the_same_bytes_over_and_over_again_are_refused() -> None:
    large = Item(b"hvc1", bytes(4_000_000), still(PIXELS[:32, :32]).properties)
    whole_grid = Item(b"grid", struct.pack(">4B2H", 0, 0, 15, 15, 512, 512), (ispe(512, 512),))
    data = heif({1: whole_grid.referring(b"dimg", *[2] * 256), 2: large})
    assert outcome(data) == "corrupt_image"


def test_more_tiles_than_any_picture_has_are_refused() -> None:
    tile = still(drawing(16, 16), LOSSY)
    content = struct.pack(">4B2H", 0, 0, 63, 65, 66 * 16, 64 * 16)
    whole_grid = Item(b"grid", content, (ispe(66 * 16, 64 * 16),)).referring(
        b"dimg", *[2] * 66 * 64
    )
    assert outcome(heif({1: whole_grid, 2: tile})) == "unsupported_kind"


def test_more_slices_than_any_picture_has_are_refused() -> None:
    item = still(PIXELS, LOSSY)
    starts = unit_starts(item)
    again = bytearray(item.content[starts[-1] :])
    again[6] &= 0x7F
    repeated = replace(item, content=item.content + bytes(again) * 601)
    assert outcome(heif({1: repeated})) == "corrupt_image"


def test_pictures_that_need_others_are_refused() -> None:
    item = still(PIXELS, LOSSY)
    place = unit_starts(item)[-1] + 4
    predicted = bytearray(item.content)
    predicted[place] = 1 << 1
    assert outcome(heif({1: replace(item, content=bytes(predicted))})) == "corrupt_image"


def test_a_property_that_must_be_known_and_is_not_ends_in_words() -> None:
    data = heic(PIXELS, (b"wxyz", b"1234"))
    assert outcome(data) == "read"
    row = struct.pack(">HB", 1, 3)
    assert data.count(row) == 1
    place = data.index(row) + 3
    essential = data[: place + 2] + bytes((data[place + 2] | 0x80,)) + data[place + 3 :]
    assert outcome(essential) == "unsupported_kind"


@pytest.mark.parametrize("matrix", [11, 13, 14])
def test_colours_of_an_unknown_matrix_are_refused(matrix: int) -> None:
    assert outcome(heic(PIXELS, nclx(1, 13, matrix))) == "unsupported_kind"


def test_tables_of_more_bytes_than_are_taken_are_refused() -> None:
    data = heif({1: still(PIXELS)}, tables=lambda tables: {**tables, b"free": bytes(200_000)})
    check_bulk(data, Kind.HEIC, 300_000, 100)
    with pytest.raises(PictureError) as caught:
        check_bulk(data, Kind.HEIC, 100_000, 100)
    assert caught.value.code == "too_many_bytes"
    check_bulk(heif({1: still(PIXELS)}, after=box(b"mpvd", bytes(200_000))), Kind.HEIC, 100_000, 1)
