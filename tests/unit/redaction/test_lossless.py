"""Redaction that leaves every other block of a JPEG as it was."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels, turn_upright
from blurline.imaging.header import read_header
from blurline.imaging.jpeg import JpegError, read_frame
from blurline.imaging.kind import Kind
from blurline.imaging.turbojpeg import Blocks
from blurline.redaction.lossless import redact_jpeg
from blurline.redaction.region import redact
from blurline.redaction.styles import PixelBox, Style
from tests.jpegs import (
    KINDS,
    LIMITS,
    by_pillow,
    by_simplejpeg,
    codec,
    coefficients,
    decoded,
    scan_by_scan,
    scene,
    with_size,
    without_segment,
)
from tests.parts import files_below

BOXES = [(20, 9, 33, 30), (28, 25, 52, 44), (90, 50, 97, 61), (64, 0, 65, 1)]
"""In a picture of 97 x 61: two that overlap, one in the corner, one of a single pixel."""


@pytest.fixture(autouse=True)
def there_is_a_library() -> None:
    codec()


def painted(
    data: bytes, boxes: list[PixelBox], style: Style = Style.MOSAIC, orientation: int = 1
) -> Pixels:
    """The file's upright pixels with the boxes redacted."""
    pixels = turn_upright(decoded(data), orientation)
    for box in boxes:
        redact(pixels, box, style)
    return pixels


def redacted(data: bytes, boxes: list[PixelBox], style: Style = Style.MOSAIC) -> bytes:
    return redact_jpeg(data, painted(data, boxes, style), 1, boxes)


def turned_back(upright: Pixels, orientation: int) -> Pixels:
    """The picture as a file of that orientation stores it; only a quarter turn has another undo."""
    return turn_upright(upright, {6: 8, 8: 6}.get(orientation, orientation))


def inside(shape: tuple[int, ...], boxes: list[PixelBox]) -> NDArray[np.bool_]:
    """Which pixels lie in one of the boxes."""
    mask = np.zeros(shape[:2], np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def touched(data: bytes, mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Of each component, which blocks cover a pixel of the mask."""
    frame = read_frame(data)
    result = []
    for component in frame.components:
        height, width = frame.block_size(component)
        full = np.pad(mask, ((0, -mask.shape[0] % height), (0, -mask.shape[1] % width)))
        cells = full.reshape(full.shape[0] // height, height, full.shape[1] // width, width)
        result.append(cells.any(axis=(1, 3)))
    return result


def scrambled(data: bytes, masks: list[NDArray[np.bool_]]) -> bytes:
    """The file with anything else in the blocks that the masks name."""
    chance = np.random.default_rng(6)

    def scramble(component: int, first: int, blocks: Blocks) -> None:
        for row, line in enumerate(blocks, first):
            there = masks[component][row]
            line[there] = chance.integers(-99, 100, (there.sum(), 64))

    return codec().transcode(data, scramble, progressive=read_frame(data).progressive)


def reach(data: bytes, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels may change: those of touched blocks and, as colours are smoothed, one more."""
    frame = read_frame(data)
    changed = np.zeros_like(mask)
    for component, blocks in zip(frame.components, touched(data, mask), strict=True):
        cell = np.ones(frame.block_size(component), np.bool_)
        changed |= np.kron(blocks, cell)[: mask.shape[0], : mask.shape[1]]
    around = np.pad(changed, 1)
    return np.logical_or.reduce(
        [around[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
    )


def assert_the_rest_stays(before: bytes, after: bytes, boxes: list[PixelBox]) -> None:
    """Tables, sampling, all untouched coefficients, and all pixels away from touched blocks."""
    old, new = read_frame(before), read_frame(after)
    assert (new.width, new.height, new.progressive) == (old.width, old.height, old.progressive)
    assert new.colours is old.colours
    for was, now in zip(old.components, new.components, strict=True):
        assert (was.horizontal, was.vertical) == (now.horizontal, now.vertical)
        assert (was.table == now.table).all()
    pixels, result = decoded(before), decoded(after)
    mask = inside(pixels.shape, boxes)
    for was, now, blocks in zip(
        coefficients(before), coefficients(after), touched(before, mask), strict=True
    ):
        assert (was == now)[~blocks].all()
    unreached = ~reach(before, mask)
    assert (pixels == result)[unreached].all()


def error_inside(result: Pixels, expected: Pixels, boxes: list[PixelBox]) -> float:
    """Mean difference of the 8-bit values inside the boxes."""
    mask = inside(expected.shape, boxes)
    return float(np.abs(result.astype(int) - expected)[mask].mean())


@pytest.mark.parametrize("size", [(97, 61), (96, 64), (112, 61)])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_pixels_away_from_the_boxes_stay_to_the_bit(
    kind: str, size: tuple[int, int]
) -> None:
    data = KINDS[kind](scene(*size))
    boxes = [(left, top, right, min(bottom, 61)) for left, top, right, bottom in BOXES]
    boxes = [box for box in boxes if box[2] <= size[0]]
    assert_the_rest_stays(data, redacted(data, boxes), boxes)


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("kind", KINDS)
def test_the_boxes_show_the_redacted_pixels_as_closely_as_a_new_file(
    kind: str, style: Style
) -> None:
    data = KINDS[kind](scene(97, 61))
    expected = painted(data, BOXES, style)
    result = decoded(redact_jpeg(data, expected, 1, BOXES))
    new_file = decoded(KINDS[kind](expected))
    assert error_inside(result, expected, BOXES) < error_inside(new_file, expected, BOXES) + 1
    assert error_inside(decoded(data), expected, BOXES) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_plain_colours_come_out_as_they_were_painted(kind: str) -> None:
    """Boxes of whole MCUs, so that nothing else is near; grey files keep the brightness only."""
    data = KINDS[kind](scene(192, 64))
    colours = [(0, 0, 0), (255, 255, 255), (200, 30, 40), (20, 180, 60), (40, 50, 210)]
    pixels = decoded(data)
    boxes = [(32 * place, 0, 32 * place + 32, 32) for place in range(len(colours))]
    for (left, top, right, bottom), colour in zip(boxes, colours, strict=True):
        pixels[top:bottom, left:right] = colour
    result = decoded(redact_jpeg(data, pixels, 1, boxes))
    for (left, top, right, bottom), colour in zip(boxes, colours, strict=True):
        seen = result[top + 1 : bottom - 1, left + 1 : right - 1].astype(int)
        wanted = np.array(colour)
        if "grey" in kind:
            wanted = np.array([0.299, 0.587, 0.114]) @ wanted
        assert np.abs(seen - wanted).max() <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_original_is_left_in_the_boxes(kind: str) -> None:
    """A file that holds anything else in the touched blocks gives the same bytes."""
    data = KINDS[kind](scene(97, 61))
    pixels = painted(data, BOXES)
    masks = touched(data, inside(pixels.shape, BOXES))
    other = scrambled(data, masks)
    assert (decoded(other) != decoded(data)).any()
    assert redact_jpeg(other, pixels, 1, BOXES) == redact_jpeg(data, pixels, 1, BOXES)


@pytest.mark.parametrize("kind", ["4:2:0", "4:2:2", "grey", "YCCK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_a_turned_picture_are_found_in_every_orientation(
    orientation: int, kind: str
) -> None:
    data = KINDS[kind](scene(97, 61))
    width, height = (61, 97) if orientation >= 5 else (97, 61)
    boxes = [(3, 5, 20, 33), (40, 20, 61, 61), (width - 9, height - 7, width, height)]
    expected = painted(data, boxes, orientation=orientation)
    after = redact_jpeg(data, expected, orientation, boxes)
    result = turn_upright(decoded(after), orientation)
    new_file = turn_upright(decoded(KINDS[kind](turned_back(expected, orientation))), orientation)
    assert error_inside(result, expected, boxes) < error_inside(new_file, expected, boxes) + 1
    before = turn_upright(decoded(data), orientation)
    assert error_inside(before, expected, boxes) > 10
    upright = np.repeat(inside((height, width), boxes)[..., None], 3, axis=2)
    mask = turned_back(upright.astype(np.uint8), orientation)[..., 0] == 1
    unreached = ~reach(data, mask)
    assert unreached.mean() > 0.3
    assert (decoded(after) == decoded(data))[unreached].all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_upright_picture(orientation: int) -> None:
    """Of colours without structure, which one quantisation table treats alike in all turns."""
    colours = np.random.default_rng(3).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    upright = np.kron(colours, np.ones((8, 8, 1), np.uint8))
    data = by_simplejpeg("444")(turned_back(upright, orientation))
    boxes = [(16, 8, 40, 40), (72, 24, 96, 64)]
    pixels = turn_upright(decoded(data), orientation)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = pixels[top : top + 8, left : left + 8].mean((0, 1))
    result = turn_upright(decoded(redact_jpeg(data, pixels, orientation, boxes)), orientation)
    assert np.abs(result.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (9, 17), (15, 16), (33, 7), (40, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_of_the_whole_picture_is_all_new_at_any_size(
    kind: str, size: tuple[int, int]
) -> None:
    data = KINDS[kind](scene(*size))
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    result = decoded(redact_jpeg(data, pixels, 1, [(0, 0, *size)]))
    assert np.abs(result.astype(int) - 90).max() <= 3


def test_without_a_box_only_the_metadata_goes() -> None:
    data = by_pillow(comment=b"SECRET")(scene(97, 61))
    result = redacted(data, [])
    assert_the_rest_stays(data, result, [])
    assert b"SECRET" in data
    assert b"SECRET" not in result


def test_new_blocks_repeat_the_last_pixels_beyond_the_edge() -> None:
    whole = by_simplejpeg("420")(scene(96, 64))
    small = with_size(whole, 83, 51)  # 13 pixels more are in the file
    boxes = [(64, 16, 83, 51)]
    result = decoded(with_size(redacted(small, boxes, Style.SOLID), 96, 64))
    assert result[18:56, 66:88].max() <= 2
    assert decoded(whole)[52:56, 84:88].max() > 50


def test_untouched_blocks_keep_what_they_hold_beyond_the_edge() -> None:
    whole = by_simplejpeg("444")(scene(96, 64))
    small = with_size(whole, 93, 61)
    result = redacted(small, [(0, 0, 40, 40)])
    assert_the_rest_stays(small, result, [(0, 0, 40, 40)])
    assert (decoded(with_size(result, 96, 64))[40:, 40:] == decoded(whole)[40:, 40:]).all()


@pytest.mark.parametrize("quality", [1, 30, 100])
def test_black_and_white_fit_into_every_table(quality: int) -> None:
    stripes = np.kron(np.indices((16, 16)).sum(0) % 2 * 255, np.ones((4, 4), int))
    pixels = np.repeat(stripes[..., None], 3, axis=2).astype(np.uint8)
    for painted_over in (pixels, 255 - pixels, np.zeros_like(pixels), np.full_like(pixels, 255)):
        data = simplejpeg.encode_jpeg(scene(64, 64), quality, "RGB", "444")
        result = decoded(redact_jpeg(data, painted_over, 1, [(0, 0, 64, 64)]))
        limit = {1: 130, 30: 60, 100: 2}[quality]
        assert np.abs(result.astype(int) - painted_over).max() <= limit


def test_thousands_of_boxes_cost_one_pass() -> None:
    data = by_simplejpeg("420")(scene(1280, 720))
    chance = np.random.default_rng(9)
    corners = chance.integers(0, (1250, 690), (5000, 2)).tolist()
    boxes = [(left, top, left + 30, top + 30) for left, top in corners]
    pixels = painted(data, boxes[:200])
    started = time.process_time()
    result = redact_jpeg(data, pixels, 1, boxes)
    assert time.process_time() - started < 2
    assert_the_rest_stays(data, result, boxes)


REDUCED = [(10, 4, 17, 15), (14, 12, 26, 22), (45, 25, 48, 31), (32, 0, 33, 1)]
"""In the half of a picture of 96 x 62."""


def halved(pixels: Pixels) -> Pixels:
    """The means of two by two pixels."""
    height, width = pixels.shape[:2]
    means = pixels.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    return means.round().astype(np.uint8)


def doubled(boxes: list[PixelBox]) -> list[PixelBox]:
    return [(2 * left, 2 * top, 2 * right, 2 * bottom) for left, top, right, bottom in boxes]


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("kind", KINDS)
def test_a_reduced_picture_is_redacted_as_a_whole_one_is(kind: str, style: Style) -> None:
    data = KINDS[kind](scene(96, 62))
    half = halved(decoded(data))
    for box in REDUCED:
        redact(half, box, style)
    after = redact_jpeg(data, half, 1, REDUCED, reduction=2)
    boxes, expected = doubled(REDUCED), half.repeat(2, 0).repeat(2, 1)
    assert_the_rest_stays(data, after, boxes)
    new_file = decoded(KINDS[kind](expected))
    result = decoded(after)
    assert error_inside(result, expected, boxes) < error_inside(new_file, expected, boxes) + 1.5
    assert error_inside(decoded(data), expected, boxes) > 10


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "grey", "progressive", "YCCK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_is_redacted_in_every_orientation(orientation: int, kind: str) -> None:
    data = KINDS[kind](scene(96, 62))
    half = turn_upright(halved(decoded(data)), orientation)
    boxes = [(2, 5, 13, 19), (half.shape[1] - 4, half.shape[0] - 3, *half.shape[1::-1])]
    for box in boxes:
        redact(half, box, Style.SOLID)
    after = redact_jpeg(data, half, orientation, boxes, reduction=2)
    shown = turn_upright(decoded(after), orientation)
    for left, top, right, bottom in doubled(boxes):
        assert shown[top + 1 : bottom - 1, left + 1 : right - 1].mean() < 30
    expected = half.repeat(2, 0).repeat(2, 1)
    assert error_inside(shown, expected, doubled(boxes)) < 20


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_original_is_left_in_the_boxes_of_a_reduced_picture(kind: str) -> None:
    data = KINDS[kind](scene(96, 62))
    half = halved(decoded(data))
    masks = touched(data, inside((62, 96), doubled(REDUCED)))
    other = scrambled(data, masks)
    assert (decoded(other) != decoded(data)).any()
    assert redact_jpeg(other, half, 1, REDUCED, 2) == redact_jpeg(data, half, 1, REDUCED, 2)


@pytest.mark.parametrize("shape", [(30, 48, 3), (31, 47, 3), (62, 96, 3)])
def test_pixels_that_are_not_half_of_the_picture_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(JpegError):
        redact_jpeg(KINDS["4:2:0"](scene(96, 62)), np.zeros(shape, np.uint8), 1, [], reduction=2)


@pytest.mark.parametrize(
    "data",
    [
        without_segment(KINDS["CMYK"](scene(40, 40)), 0xEE),
        KINDS["4:2:0"](scene(40, 40)).replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c", 1),
        KINDS["4:2:0"](scene(40, 40)).replace(b"\xff\xc0", b"\xff\xc3", 1),
        KINDS["4:2:0"](scene(40, 40)).replace(b"\xff\xc0", b"\xff\xc9", 1),
        KINDS["progressive"](scene(40, 40)).replace(b"\xff\xc2", b"\xff\xca", 1),
        scan_by_scan(scene(40, 40), [(1, 1)] * 3, between=b"\xff\xdb\0\x43\0" + b"\1" * 64),
        scan_by_scan(scene(40, 40), [(3, 1), (2, 1), (1, 1)]),
        KINDS["4:2:0"](scene(40, 40))[:-30],
        KINDS["4:2:0"](scene(40, 48)),
        KINDS["4:2:0"](scene(48, 40)),
        b"",
    ],
    ids=[
        "CMYK without Adobe's segment",
        "12 bits",
        "lossless",
        "arithmetic",
        "progressive arithmetic",
        "changing tables",
        "fractional sampling",
        "cut short",
        "taller",
        "wider",
        "nothing",
    ],
)
def test_what_is_not_treated_is_an_error(data: bytes) -> None:
    with pytest.raises(JpegError):
        redact_jpeg(data, scene(40, 40), 1, [(0, 0, 9, 9)])


@pytest.mark.parametrize(
    "factors", [[(2, 2), (2, 1), (1, 2)], [(1, 1), (2, 2), (2, 2)], [(4, 2), (1, 2), (2, 1)]]
)
def test_odd_sampling_factors_keep_the_promises_or_are_an_error(
    factors: list[tuple[int, int]],
) -> None:
    data = scan_by_scan(scene(97, 61), factors)
    try:
        result = redacted(data, BOXES)
    except JpegError:
        return
    assert_the_rest_stays(data, result, BOXES)
    expected = painted(data, BOXES)
    new_file = decoded(scan_by_scan(expected, factors))
    allowed = error_inside(new_file, expected, BOXES) + 1
    assert error_inside(decoded(result), expected, BOXES) < allowed


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "YCCK"])
def test_damage_anywhere_gives_a_sound_file_or_an_error(kind: str) -> None:
    chance = random.Random(8)
    whole = KINDS[kind](scene(97, 61))
    pixels = painted(whole, BOXES)
    files = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            result = redact_jpeg(bytes(data), pixels, 1, BOXES)
        except JpegError:
            continue
        files += 1
        assert_the_rest_stays(bytes(data), result, BOXES)
    assert files > 0


def test_hostile_files_give_a_sound_file_or_an_error(data: Path) -> None:
    kept = 0
    for path in files_below(data / "hostile"):
        content = path.read_bytes()
        if not content.startswith(b"\xff\xd8\xff") or len(content) > 200_000:
            continue
        try:
            frame = read_frame(content)
            if frame.width * frame.height > 1_000_000:
                continue
            pixels = scene(frame.width, frame.height)
            box = (frame.width // 3, frame.height // 3, frame.width // 2 + 1, frame.height // 2 + 1)
            result = redact_jpeg(content, pixels, 1, [box])
        except JpegError:
            continue
        kept += 1
        masks = touched(content, inside(pixels.shape, [box]))
        for was, now, blocks in zip(
            coefficients(content), coefficients(result), masks, strict=True
        ):
            assert (was == now)[~blocks].all()
    assert kept > 10


def test_real_photos_keep_all_but_their_boxes(data: Path) -> None:
    photos = [path for path in files_below(data / "street") if path.suffix == ".jpg"]
    for path in photos[:3]:
        content = path.read_bytes()
        header = read_header(content, LIMITS)
        assert header.kind is Kind.JPEG
        width, height = header.upright_size
        boxes = [
            (x, y, x + 90, y + 60) for x in range(0, width - 90, 400) for y in (7, height - 60)
        ]
        pixels = painted(content, boxes)
        result = redact_jpeg(content, pixels, header.orientation, boxes)
        shown = turn_upright(decoded(result), header.orientation)
        assert error_inside(shown, pixels, boxes) < 4
        if header.orientation == 1:
            assert_the_rest_stays(content, result, boxes)
    assert photos
