"""A redacted picture leaves as what it was: its kind, its depth, its transparency."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from blurline.errors import PictureError
from blurline.imaging.containers import tiff
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import Pixels, decode, turn_upright
from blurline.imaging.header import Header, Limits, read_header
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import Metadata, MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from tests.carriers import AVIF, CARRIERS, WRITTEN, carrier, png_chunk
from tests.parts import drawing, files_below, picture_file
from tests.telltales import BASE, MARKER, embedded_pictures, traces

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
BOXES = [(10, 5, 40, 30), (60, 40, 96, 64)]
INSIDE = np.zeros((64, 96), np.bool_)
for left, top, right, bottom in BOXES:
    INSIDE[top:bottom, left:right] = True

CHANCE = np.random.default_rng(4)
NOISE = CHANCE.integers(0, 256, (64, 96, 4), np.uint8)
DEEP = CHANCE.integers(0, 65536, (64, 96, 4)).astype(np.uint16)
PICTURE = Image.fromarray(NOISE)
KEEPING = [Kind.PNG, Kind.WEBP, Kind.TIFF, Kind.BMP]
"""The kinds that can be written without loss, and with transparency."""


def upright(data: bytes, kind: Kind) -> Pixels:
    """The pixels that detectors see."""
    if kind == AVIF:
        with Image.open(BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return decode(data, read_header(data, LIMITS))


def redacted(pixels: Pixels) -> Pixels:
    """The pixels with two grey boxes, one on the edge."""
    changed = pixels.copy()
    for left, top, right, bottom in BOXES:
        changed[top:bottom, left:right] = 90
    return changed


def rewritten(data: bytes, kind: Kind, orientation: int = 1) -> bytes:
    return rewrite(data, kind, redacted(upright(data, kind)), BOXES, orientation, 90)


def samples(data: bytes) -> np.ndarray:
    """All samples of a file of 16 bits, in the order red, green, blue, alpha."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    if found.ndim == 2:
        return found[..., None]
    return found[..., [2, 1, 0, 3][: found.shape[2]]]


def by_opencv(extension: str, values: np.ndarray) -> bytes:
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    done, buffer = cv2.imencode(extension, np.ascontiguousarray(values[..., order]))
    assert done
    return buffer.tobytes()


def see_through_bmp() -> bytes:
    return by_opencv(".bmp", NOISE)


def lossless(kind: Kind, image: Image.Image = PICTURE) -> bytes:
    if kind is Kind.BMP and image.mode == "RGBA":
        return by_opencv(".bmp", np.asarray(image))
    options = {"lossless": True, "exact": True} if kind is Kind.WEBP else {}
    return picture_file(image, kind, **options)


@pytest.mark.parametrize("kind", KEEPING)
def test_colours_and_transparency_outside_the_boxes_stay_exactly(kind: Kind) -> None:
    result = rewritten(lossless(kind), kind)
    with Image.open(BytesIO(result), formats=[kind.upper()]) as image:
        assert image.mode == "RGBA"
        written = np.asarray(image)
    assert (written[~INSIDE] == NOISE[~INSIDE]).all()
    assert (written[INSIDE] == (90, 90, 90, 255)).all()


@pytest.mark.parametrize("kind", KEEPING)
def test_a_picture_without_transparency_gets_none(kind: Kind) -> None:
    result = rewritten(lossless(kind, PICTURE.convert("RGB")), kind)
    with Image.open(BytesIO(result), formats=[kind.upper()]) as image:
        assert image.mode == "RGB"
        assert (np.asarray(image)[~INSIDE] == NOISE[~INSIDE][:, :3]).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [Kind.PNG, Kind.TIFF])
def test_samples_of_16_bits_stay_exactly_outside_the_boxes(kind: Kind, channels: int) -> None:
    original = DEEP[..., :channels]
    data = by_opencv(f".{kind.extension}", original)
    written = samples(rewritten(data, kind))
    assert written.dtype == np.uint16
    assert written.shape == original.shape
    assert (written[~INSIDE] == original[~INSIDE]).all()
    assert (written[INSIDE][:, :3] == 90 * 257).all()
    assert (written[INSIDE][:, 3:] == 65535).all()


def test_grey_of_16_bits_with_transparency_stays_exactly() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in DEEP[..., :2].astype(">u2"))
    header = struct.pack(">IIBBBBB", 96, 64, 16, 4, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    data += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    written = samples(rewritten(data, Kind.PNG))
    assert (written[~INSIDE] == DEEP[~INSIDE][:, [0, 0, 0, 1]]).all()
    assert (written[INSIDE] == [90 * 257] * 3 + [65535]).all()


@pytest.mark.parametrize("kind", [Kind.PNG, Kind.TIFF])
def test_finer_bits_of_a_pixel_that_was_painted_over_go_outside_the_boxes_too(kind: Kind) -> None:
    data = by_opencv(f".{kind.extension}", DEEP[..., :3])
    painted = upright(data, kind)
    painted[50:60, 5:9] ^= 1
    written = samples(rewrite(data, kind, painted, [], 1, 90))
    assert (written[50:60, 5:9] == painted[50:60, 5:9].astype(np.uint16) * 257).all()
    assert (written[:50] == DEEP[:50, :, :3]).all()


@pytest.mark.parametrize("kind", [*KEEPING, AVIF])
def test_grey_stays_grey_until_a_box_is_coloured(kind: Kind) -> None:
    data = lossless(kind, PICTURE.convert("L"))
    grey = Image.open(BytesIO(rewritten(data, kind)))
    assert grey.mode == ("RGB" if kind is Kind.WEBP else "L")
    coloured = upright(data, kind).copy()
    coloured[5:30, 10:40] = (200, 10, 10)
    result = rewrite(data, kind, coloured, BOXES[:1], 1, 90)
    with Image.open(BytesIO(result)) as image:
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image)[8:27, 13:37] - np.array([200, 10, 10.0])).mean() < 8


def test_a_palette_stays_while_all_colours_fit_and_holds_no_other() -> None:
    colours = CHANCE.integers(0, 256, (40, 3), np.uint8)
    indices = CHANCE.integers(0, 40, (64, 96)).astype(np.uint8)
    indices[INSIDE] = 39
    indices[~INSIDE] %= 39
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    data = picture_file(image, "PNG", transparency=bytes(range(100, 140)))
    with Image.open(BytesIO(rewritten(data, Kind.PNG))) as result:
        assert result.mode == "P"
        table = np.array(result.getpalette()).reshape(-1, 3)
        written = np.asarray(result.convert("RGBA"))
    assert not (table == colours[39]).all(axis=1).any()
    assert len(table) <= 64
    expected = np.dstack([colours[indices], indices + 100])
    assert (written[~INSIDE] == expected[~INSIDE]).all()
    assert (written[INSIDE] == (90, 90, 90, 255)).all()


def test_a_palette_goes_where_the_colours_do_not_fit() -> None:
    image = PICTURE.convert("RGB").quantize(256)
    data = picture_file(image, "PNG")
    pixels = upright(data, Kind.PNG)
    painted = pixels.copy()
    painted[5:30, 10:40] = NOISE[5:30, 10:40, :3]
    result = rewrite(data, Kind.PNG, painted, BOXES[:1], 1, 90)
    with Image.open(BytesIO(result)) as written:
        assert written.mode == "RGB"
    assert (upright(result, Kind.PNG) == painted).all()


def test_a_gif_becomes_a_png_with_its_palette_and_transparency() -> None:
    image = Image.fromarray(drawing(96, 64)).quantize(16)
    data = picture_file(image, "GIF", transparency=int(np.asarray(image)[60, 3]))
    result = rewritten(data, Kind.GIF)
    assert read_header(result, LIMITS).kind is Kind.PNG
    with Image.open(BytesIO(data)) as before, Image.open(BytesIO(result)) as after:
        assert after.mode == "P"
        shown, expected = np.asarray(after.convert("RGBA")), np.asarray(before.convert("RGBA"))
    assert (shown[~INSIDE] == expected[~INSIDE]).all()
    assert {0, 255} == set(np.unique(shown[..., 3]))
    assert (shown[INSIDE] == (90, 90, 90, 255)).all()


def test_a_webp_stays_lossless_or_lossy() -> None:
    kept = rewritten(lossless(Kind.WEBP), Kind.WEBP)
    assert b"VP8L" in kept[:40]
    data = picture_file(Image.fromarray(drawing(96, 64)), "WEBP", quality=90)
    lossy = rewritten(data, Kind.WEBP)
    assert lossy[12:16] == b"VP8 "
    expected = redacted(upright(data, Kind.WEBP))
    assert cv2.absdiff(upright(lossy, Kind.WEBP), expected).mean() < 3


def test_transparency_of_a_lossy_webp_and_an_avif_stays() -> None:
    see_through = np.dstack([drawing(96, 64), NOISE[..., 3] // 200 * 255])
    for kind in (Kind.WEBP, AVIF):
        data = picture_file(Image.fromarray(see_through), kind, quality=90)
        with Image.open(BytesIO(rewritten(data, kind))) as image:
            assert image.mode == "RGBA"
            alpha = np.asarray(image)[..., 3]
        expected = np.where(INSIDE, 255, see_through[..., 3])
        assert np.abs(alpha - expected.astype(float)).mean() < (1 if kind is Kind.WEBP else 6)
        assert (alpha[8:27, 13:37] > 250).all()


def test_an_avif_stays_an_avif() -> None:
    data = picture_file(Image.fromarray(drawing(96, 64)), "AVIF", quality=90)
    result = rewritten(data, AVIF)
    assert result[4:12] == b"ftypavif"
    assert cv2.absdiff(upright(result, AVIF), redacted(upright(data, AVIF))).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [Kind.PNG, Kind.WEBP, AVIF])
def test_what_is_stored_turned_is_written_upright(kind: Kind, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if kind is Kind.WEBP else {}
    picture = Image.fromarray(np.dstack([drawing(96, 64), NOISE[..., 3]]))
    data = picture_file(picture, kind, exif=exif, **options)
    pixels = upright(data, kind)
    result = rewrite(data, kind, pixels, [(3, 2, 20, 10)], orientation, 95)
    assert read_metadata(result, kind, MetadataPolicy.KEEP) == Metadata()
    assert cv2.absdiff(upright(result, kind), pixels).mean() < (3 if kind == AVIF else 0.01)
    expected = turn_upright(NOISE[..., 3:], orientation)[..., 0].copy()
    expected[2:10, 3:20] = 255
    with Image.open(BytesIO(result)) as image:
        alpha = np.asarray(image)[..., 3]
    assert np.abs(alpha - expected.astype(float)).mean() < (12 if kind == AVIF else 0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_that_are_stored_turned_are_written_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = by_opencv(".png", DEEP)
    data = plain[:33] + png_chunk(b"eXIf", exif.tobytes()[6:]) + plain[33:]
    result = rewrite(data, Kind.PNG, upright(data, Kind.PNG), [], orientation, 90)
    assert (samples(result) == turn_upright(DEEP, orientation)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("values", [NOISE, DEEP], ids=["8 bits", "16 bits"])
def test_a_turned_tiff_is_written_upright(values: np.ndarray, orientation: int) -> None:
    data = clean(tiff.write(values), Kind.TIFF, Metadata(orientation))
    pixels = upright(data, Kind.TIFF)
    result = rewrite(data, Kind.TIFF, pixels, [], 1, 90)
    assert read_metadata(result, Kind.TIFF, MetadataPolicy.KEEP) == Metadata()
    expected = turn_upright(values, orientation)
    if values.dtype == np.uint16:
        assert (samples(result) == expected).all()
    else:
        with Image.open(BytesIO(result)) as image:
            assert (np.asarray(image) == expected).all()


def test_a_png_that_claims_gigabytes_is_not_given_to_opencv() -> None:
    data = bytearray(by_opencv(".png", DEEP))
    data[-12] = 0xC0  # the highest byte of the last chunk's length
    result = rewritten(bytes(data), Kind.PNG)
    assert result[24] == 8
    assert rewritten(by_opencv(".png", DEEP), Kind.PNG)[24] == 16


def test_what_a_png_says_of_its_colours_stays() -> None:
    data = lossless(Kind.PNG)
    gamma, primaries = struct.pack(">I", 50000), struct.pack(">8I", *range(8))
    colours = png_chunk(b"gAMA", gamma) + png_chunk(b"cHRM", primaries)
    telling = png_chunk(b"tEXt", b"Author\0" + MARKER)
    result = rewritten(data[:33] + colours + telling + data[33:], Kind.PNG)
    with Image.open(BytesIO(result)) as image:
        assert image.info["gamma"] == 0.5
        assert image.info["chromaticity"] == tuple(n / 100_000 for n in range(8))
    assert not traces(result)


@pytest.mark.parametrize(
    "make",
    [
        lambda: picture_file(PICTURE.convert("CMYK"), "TIFF"),
        lambda: picture_file(PICTURE.convert("RGB"), "TIFF", compression="jpeg"),
        lambda: picture_file(PICTURE.convert("1"), "TIFF", compression="group4"),
        lambda: picture_file(PICTURE.convert("P"), "TIFF"),
        lambda: picture_file(PICTURE.convert("LAB"), "TIFF"),
    ],
)
def test_a_rarer_sort_of_tiff_keeps_its_pixels(make: Callable[[], bytes]) -> None:
    data = make()
    pixels = redacted(upright(data, Kind.TIFF))
    assert (upright(rewritten(data, Kind.TIFF), Kind.TIFF) == pixels).all()


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (3, 17)])
@pytest.mark.parametrize("kind", WRITTEN)
def test_odd_and_tiny_sizes_are_written(kind: Kind, size: tuple[int, int]) -> None:
    data = picture_file(Image.new("RGB", size, (200, 100, 50)), kind)
    pixels = upright(data, kind).copy()
    result = rewrite(data, kind, pixels, [(0, 0, 1, 1)], 1, 95)
    written = OutputFormat.SAME.of(kind)
    assert cv2.absdiff(upright(result, written), pixels).max() < 12


@pytest.mark.parametrize(("kind", "place"), CARRIERS)
def test_nothing_that_an_original_carries_is_in_what_is_rewritten(kind: Kind, place: str) -> None:
    data = carrier(kind, place)
    size = BASE.size
    if kind is not Kind.HEIC:  # which Pillow does not read
        with Image.open(BytesIO(data)) as image:
            size = image.size
    pixels = decode(data, Header(kind, *size, 1))
    result = rewrite(data, kind, pixels, [], 1, 90)
    metadata = read_metadata(data, kind, MetadataPolicy.KEEP)
    cleaned = clean(result, OutputFormat.SAME.of(kind), metadata)
    for file in (result, cleaned):
        assert not traces(file)
        assert embedded_pictures(file) == 0


@pytest.mark.parametrize("kind", [*KEEPING, Kind.GIF])
def test_the_pixels_are_left_as_they_are(kind: Kind) -> None:
    data = picture_file(PICTURE.convert("RGB"), kind)
    pixels = redacted(upright(data, kind))
    before = pixels.copy()
    rewrite(data, kind, pixels, BOXES, 1, 90)
    assert (pixels == before).all()


def test_hostile_files_that_decode_are_rewritten_to_the_same_pixels(data: Path) -> None:
    done = 0
    for path in files_below(data / "hostile"):
        content = path.read_bytes()
        try:
            header: Header = read_header(content, LIMITS)
            pixels = decode(content, header)
        except PictureError:
            continue
        if header.kind in (Kind.JPEG, Kind.WEBP, Kind.AVIF):
            continue
        result = rewrite(content, header.kind, pixels, [], header.orientation, 90)
        metadata = read_metadata(content, header.kind, MetadataPolicy.NONE)
        result = clean(result, header.kind.written, metadata)
        assert (upright(result, header.kind.written) == pixels).all(), path.name
        done += 1
    assert done > 100
