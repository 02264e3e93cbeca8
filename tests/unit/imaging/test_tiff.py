"""A TIFF of any sort shows its picture, or is refused by a sentence that says why."""

import struct
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.rewrite import rewrite
from blurline.imaging.tiff.directory import directories
from blurline.imaging.tiff.samples import read_samples
from tests.parts import drawing, picture_file
from tests.tiffs import (
    BY_PILLOW,
    DEFLATE,
    FLOAT,
    LZMA,
    LZW,
    OLD_DEFLATE,
    PACKBITS,
    PLAIN,
    SIGNED,
    UNSIGNED,
    ZSTD,
    Sort,
    directory_file,
    grey_of,
    picture,
    shares_of,
    stored,
    tiff,
)

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
NOISE = np.random.default_rng(4).integers(-30, 30, (34, 45, 3))
PIXELS: Pixels = (drawing(45, 34) + NOISE).clip(0, 255).astype(np.uint8)
"""A picture whose sides are multiples of nothing."""

RGB, GREY, WHITE_IS_ZERO, PALETTE, CMYK = 2, 1, 0, 3, 5
COMPRESSIONS = [PLAIN, DEFLATE, OLD_DEFLATE, *BY_PILLOW]
DEPTHS = [(depth, UNSIGNED) for depth in (*range(1, 17), 32)] + [
    (depth, FLOAT) for depth in (16, 32, 64)
]
LAYOUTS = [
    {"order": order, "planar": planar, "tiles": tiles}
    for order, planar, tiles in product("<>", (False, True), (None, (16, 32)))
]


def shown(data: bytes) -> Pixels:
    return decode(data, read_header(data, LIMITS))


def expected(photometric: int) -> NDArray[np.float64]:
    grey = photometric in (WHITE_IS_ZERO, GREY)
    return np.repeat(grey_of(PIXELS), 3, axis=2) * 255 if grey else PIXELS.astype(np.float64)


def check(data: bytes, photometric: int, depth: int) -> None:
    """That the picture is there, as finely as so many bits can say it."""
    step = 255 / (2 ** min(depth, 8) - 1)
    off = np.abs(shown(data) - expected(photometric))
    assert off.max() <= (0.5 if depth < 8 else 0) * step + 1.0, off.max()


def refusal(data: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        shown(data)
    return caught.value


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, GREY, RGB, CMYK])
@pytest.mark.parametrize(("depth", "form"), DEPTHS)
def test_every_depth_shows_the_picture_in_every_layout(
    depth: int, form: int, photometric: int
) -> None:
    for layout in LAYOUTS:
        sort = Sort(depth, form, photometric, compression=DEFLATE, **layout)  # type: ignore[arg-type]
        data = tiff(shares_of(PIXELS, photometric), sort)
        if form == FLOAT and photometric in (WHITE_IS_ZERO, CMYK):
            assert refusal(data).code == "unsupported_kind"
        elif photometric == CMYK and depth < 8:
            assert shown(data).shape == PIXELS.shape
        else:
            check(data, photometric, depth)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_every_packing_of_bytes_shows_the_picture(compression: int, *, is_reversed: bool) -> None:
    sorts = [(1, UNSIGNED, 1), (8, UNSIGNED, 2), (12, UNSIGNED, 1), (16, UNSIGNED, 2)]
    few = LAYOUTS[::3] if compression in (LZMA, ZSTD) else LAYOUTS
    for (depth, form, predictor), layout in product([*sorts, (32, FLOAT, 3)], few):
        sort = Sort(
            depth,
            form,
            RGB,
            predictor=predictor,
            compression=compression,
            is_reversed=is_reversed,
            **layout,  # type: ignore[arg-type]
        )
        check(tiff(shares_of(PIXELS, RGB), sort), RGB, depth)


@pytest.mark.parametrize("depth", [16, 32, 64])
@pytest.mark.parametrize("predictor", [1, 2, 3])
def test_floats_by_differences_show_the_picture(depth: int, predictor: int) -> None:
    for layout in LAYOUTS:
        sort = Sort(depth, FLOAT, RGB, predictor=predictor, compression=LZW, **layout)  # type: ignore[arg-type]
        check(tiff(shares_of(PIXELS, RGB), sort), RGB, depth)


@pytest.mark.parametrize("alpha", [None, 0, 1, 2])
@pytest.mark.parametrize(("depth", "form"), [(8, UNSIGNED), (16, UNSIGNED), (32, FLOAT)])
@pytest.mark.parametrize("photometric", [GREY, RGB])
def test_transparency_is_told_from_colours(
    alpha: int | None, depth: int, form: int, photometric: int
) -> None:
    colours = shares_of(PIXELS, photometric)
    clear = np.linspace(0.2, 1, 45)[None, :, None].repeat(34, axis=0)
    if alpha == 1:
        colours = colours * clear
    for layout in LAYOUTS:
        sort = Sort(depth, form, photometric, alpha=alpha, **layout)  # type: ignore[arg-type]
        data = tiff(np.concatenate([colours, clear], axis=2), sort)
        assert np.abs(shown(data) - expected(photometric)).max() <= (4 if alpha == 1 else 1)
        found = read_samples(data).alpha
        if alpha == 0:
            assert found is None
        else:
            assert found is not None
            assert np.abs(found / np.iinfo(found.dtype).max - clear).max() < 0.003


def test_channels_beyond_colour_and_transparency_are_left_out() -> None:
    more = np.concatenate([shares_of(PIXELS, RGB), np.zeros((34, 45, 3))], axis=2)
    check(tiff(more, Sort(photometric=RGB, alpha=0)), RGB, 8)
    check(tiff(more, Sort(photometric=RGB)), RGB, 8)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("wide", [False, True])
def test_a_palette_of_bytes_or_of_twice_as_many_gives_its_colours(
    depth: int, *, wide: bool
) -> None:
    chance = np.random.default_rng(depth)
    colours = chance.integers(0, 256, (2**depth, 3))
    colours[0] = 255
    indices = chance.integers(0, 2**depth, (34, 45, 1))
    numbers = colours.T.ravel() * (257 if wide else 1)
    for layout in LAYOUTS:
        sort = Sort(depth, photometric=PALETTE, more=((320, 3, numbers.tolist()),), **layout)  # type: ignore[arg-type]
        data = directory_file([picture(indices, sort)], sort.order)
        assert (shown(data) == colours[indices[..., 0]]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_seen_upright(orientation: int) -> None:
    turned = ((274, 3, [orientation]),)
    upright = shown(tiff(shares_of(PIXELS, RGB), Sort(photometric=RGB, more=turned)))
    plain = picture_file(Image.fromarray(PIXELS), "PNG", exif=exif(orientation))
    assert (upright == shown(plain)).all()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[274] = orientation
    return made


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr"])
def test_jpeg_inside_shows_the_picture(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    pixels = shown(picture_file(image, "TIFF", compression="jpeg", quality=98))
    off = np.abs(pixels - np.asarray(image.convert("RGB")).astype(int))
    assert off.mean() < 6


@pytest.mark.parametrize("tiles", [None, (32, 32)])
@pytest.mark.parametrize(("subsampling", "factors"), [(0, [1, 1]), (1, [2, 1]), (2, [2, 2])])
def test_jpeg_inside_may_share_its_colours(
    subsampling: int, factors: list[int], tiles: tuple[int, int] | None
) -> None:
    sort = Sort(photometric=6, compression=7, rows=16, tiles=tiles, more=((530, 3, factors),))
    smooth = drawing(45, 34)
    entries, parts = picture(smooth.astype(np.uint64), replace(sort, compression=PLAIN))
    width, height = tiles or (45, 0)
    pieces = []
    for part in parts:
        block = np.frombuffer(part, np.uint8).reshape(height or -1, width, 3)
        coded = picture_file(Image.fromarray(block), "JPEG", quality=98, subsampling=subsampling)
        pieces.append(coded)
    entries = [(tag, form, [7] if tag == 259 else values) for tag, form, values in entries]
    off = np.abs(shown(directory_file([(entries, pieces)])) - smooth.astype(int))
    assert off.mean() < 8


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
def test_a_fax_shows_the_picture(compression: str) -> None:
    image = Image.fromarray(PIXELS).convert("1")
    pixels = shown(picture_file(image, "TIFF", compression=compression))
    assert (pixels == np.asarray(image.convert("RGB"))).all()


def test_lightness_and_colour_show_the_picture() -> None:
    lab = np.array([[[255, 0, 0], [0, 0, 0], [137, 208 - 256, 195 - 256], [137, 0, 0]]])
    sort = Sort(photometric=8, rows=1)
    data = directory_file([picture(lab.astype(np.uint8), sort)])
    # CIE L*a*b* under D50; L* = 53.7 is a grey of 128 in sRGB.
    white, black, coloured, grey = shown(data)[0].astype(int)
    assert (white >= 254).all()
    assert (black <= 1).all()
    assert np.abs(grey - 128).max() <= 2
    assert coloured[1] > coloured[0] + 60
    assert coloured[2] > coloured[1]


REFUSED = {
    "signed": Sort(16, SIGNED),
    "signed bytes": Sort(8, SIGNED, RGB),
    "signed and wide": Sort(32, SIGNED),
    "64 bits": Sort(64),
    "floats of white that is zero": Sort(32, FLOAT, WHITE_IS_ZERO),
    "unknown colours": Sort(8, photometric=32844),
    "a mask": Sort(1, photometric=4),
    "an unknown packing": Sort(compression=34712),
    "lossy floats": Sort(compression=34887),
    "the JPEG of old": Sort(compression=6),
    "an unknown predictor": Sort(predictor=4),
    "differences of 12 bits": Sort(12, predictor=2, compression=LZW),
    "shared colours without JPEG": Sort(photometric=6),
    "many inks": Sort(photometric=CMYK, more=((332, 3, [2]),)),
    "finer lightness and colour": Sort(16, photometric=8),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused_and_the_refusal_says_why(name: str) -> None:
    sort = REFUSED[name]
    write_as = replace(sort, compression=PLAIN, predictor=1)
    channels = {RGB: 3, CMYK: 4, 6: 3, 8: 3}.get(sort.photometric, 1)
    shares = np.resize(shares_of(PIXELS, RGB), (34, 45, channels))
    entries, pieces = picture(stored(shares, write_as), write_as)
    told = {259: [sort.compression], 317: [sort.predictor]}
    entries = [(tag, form, told.get(tag, values)) for tag, form, values in entries]
    error = refusal(directory_file([(entries, pieces)]))
    assert error.code == "unsupported_kind"
    assert error.message.startswith("TIFF files ")


@pytest.mark.parametrize("name", ["above 1", "below 0", "no number", "endless"])
def test_floats_that_are_no_shares_of_white_are_refused(name: str) -> None:
    shares = shares_of(PIXELS, RGB)
    odd = {"above 1": 255.0, "below 0": -0.5, "no number": np.nan, "endless": np.inf}[name]
    shares[20, 30, 1] = odd
    error = refusal(tiff(shares, Sort(32, FLOAT, RGB)))
    assert (error.code, "from 0 to 1" in error.message) == ("unsupported_kind", True)


def test_32_bits_that_hold_16_are_refused_and_not_shown_black() -> None:
    numbers = (grey_of(PIXELS) * 65535).astype(np.uint64)
    data = directory_file([picture(numbers, Sort(32))])
    assert refusal(data).code == "unsupported_kind"


def test_channels_that_differ_are_refused() -> None:
    entries, pieces = picture(stored(shares_of(PIXELS, RGB), Sort()), Sort(photometric=RGB))
    for tag, values in ((258, [8, 8, 4]), (339, [1, 1, 3])):
        changed = [(t, f, values if t == tag else v) for t, f, v in entries]
        assert refusal(directory_file([(changed, pieces)])).code == "unsupported_kind"


@pytest.mark.parametrize(
    "told", [{277: [17]}, {277: [60_000]}, {322: [65_520], 323: [65_520]}, {322: [1 << 19]}]
)
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(told: dict[int, list[int]]) -> None:
    sort = Sort(photometric=RGB, compression=DEFLATE, tiles=(16, 16), alpha=0)
    entries, pieces = picture(stored(shares_of(PIXELS, RGB), sort), sort)
    entries = [(tag, 4 if tag in told else form, told.get(tag, v)) for tag, form, v in entries]
    assert refusal(directory_file([(entries, pieces)])).code == "unsupported_kind"


def test_directories_that_overlap_without_end_are_not_read() -> None:
    entry = struct.pack("<HHII", 330, 4, 10, 8)
    data = b"II*\0" + struct.pack("<IH", 8, 65_000) + entry * 65_100
    with pytest.raises(PictureError):
        read_header(data, LIMITS)
    assert directories(data) == []


def test_grey_of_many_channels_is_refused_and_not_shown_by_the_first() -> None:
    shares = np.repeat(shares_of(PIXELS, GREY), 3, axis=2)
    for alpha in (None, 0):
        assert refusal(tiff(shares, Sort(alpha=alpha))).code == "unsupported_kind"


@pytest.mark.parametrize("compression", [PLAIN, LZW, DEFLATE, PACKBITS, ZSTD])
@pytest.mark.parametrize("depth", [8, 16])
def test_samples_that_are_not_all_there_are_corrupt(depth: int, compression: int) -> None:
    sort = Sort(depth, photometric=RGB, compression=compression)
    entries, pieces = picture(stored(shares_of(PIXELS, RGB), sort), sort)
    pieces[2] = pieces[2][: len(pieces[2]) // 2]
    assert refusal(directory_file([(entries, pieces)])).code == "corrupt_image"
    assert refusal(directory_file([(entries, pieces[:3])])).code == "corrupt_image"


@pytest.mark.parametrize(
    "sort",
    [
        Sort(16, photometric=WHITE_IS_ZERO),
        Sort(32, FLOAT),
        Sort(12, photometric=RGB),
        Sort(16, photometric=RGB, planar=True, order=">"),
    ],
    ids=["white is zero", "floats", "12 bits", "planes"],
)
def test_fine_samples_are_written_as_16_bits(sort: Sort) -> None:
    shares = shares_of(PIXELS, sort.photometric)
    data = tiff(shares, sort)
    pixels = shown(data)
    written = rewrite(data, Kind.TIFF, pixels.copy(), [], 1, 90)
    samples = read_samples(written).colours
    assert samples.dtype == np.uint16
    expected_shares = 1 - shares if sort.photometric == WHITE_IS_ZERO else shares
    assert np.abs(samples / 65535 - expected_shares).max() < 0.0003
    assert (shown(written) == pixels).all()


def test_reported_files_show_their_source(data: Path) -> None:
    folder = data / "reports" / "07-tiff"
    if not folder.is_dir():
        pytest.skip("the reported files are not here")
    with Image.open(folder / "src.png") as image:
        source = np.asarray(image.convert("L").convert("RGB")).astype(int)
    for name in ("grey-float01.tif", "grey16-white-is-zero.tif"):
        assert np.abs(shown((folder / name).read_bytes()) - source).max() <= 1
