"""Changing a JPEG's coefficients in place."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import psutil
import pytest
from PIL import Image

from blurline.imaging.decode import Pixels
from blurline.imaging.jpeg import BLOCK, JpegError, read_frame
from blurline.imaging.turbojpeg import Blocks, TurboJpeg, library
from tests.jpegs import (
    KINDS,
    by_pillow,
    codec,
    coefficients,
    decoded,
    scan_by_scan,
    scene,
    unchanged,
    with_size,
)

PIXELS = scene(97, 61)
FILE = KINDS["4:2:0"](PIXELS)
GREY = KINDS["grey"](PIXELS)


def markers(data: bytes) -> set[int]:
    """Those of the segments before the first scan."""
    found, place = set(), 2
    while data[place + 1] != 0xDA:
        found.add(data[place + 1])
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return found


def first_set_to(place: int, value: int) -> bytes:
    """A grey file in which one coefficient of the first block has that value."""

    def edit(component: int, row: int, blocks: Blocks) -> None:
        if row == 0:
            blocks[0, 0, place] = value

    return codec().transcode(GREY, edit, progressive=False)


def by_quality(quality: int, pixels: Pixels = PIXELS) -> bytes:
    with BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
        return file.getvalue()


def test_the_library_is_looked_for_once() -> None:
    assert codec() is library()


def test_a_file_that_is_no_library_is_an_error() -> None:
    with pytest.raises(OSError, match="no_such_library"):
        TurboJpeg("no_such_library.so")
    with pytest.raises(AttributeError):
        TurboJpeg("libc.so.6")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_without_an_edit_all_coefficients_and_pixels_stay(kind: str, progressive: bool) -> None:
    data = KINDS[kind](PIXELS)
    result = codec().transcode(data, unchanged, progressive=progressive)
    before, after = read_frame(data), read_frame(result)
    assert after.progressive == progressive
    assert (after.width, after.height, after.colours) == (97, 61, before.colours)
    for old, new in zip(before.components, after.components, strict=True):
        assert (old.identifier, old.horizontal, old.vertical) == (
            new.identifier,
            new.horizontal,
            new.vertical,
        )
        assert (old.table == new.table).all()
    for was, now in zip(coefficients(data), coefficients(result), strict=True):
        assert (was == now).all()
    assert (decoded(data) == decoded(result)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_block_inside_the_picture_is_seen_once(kind: str) -> None:
    data = KINDS[kind](PIXELS)
    frame, seen = read_frame(data), Counter[tuple[int, int]]()

    def look(component: int, first: int, blocks: Blocks) -> None:
        for row in range(len(blocks)):
            seen[component, first + row] += blocks.shape[1]

    codec().transcode(data, look, progressive=False)
    expected = {}
    for index, component in enumerate(frame.components):
        height, width = frame.block_size(component)
        for row in range(-(-61 // height)):
            expected[index, row] = -(-97 // width)
    assert seen == expected


def test_coefficients_and_tables_are_in_natural_order() -> None:
    """The inverse DCT by T.81, A.3.3, of each block times its table is the decoded block."""
    place, frequency = np.arange(BLOCK), np.arange(BLOCK)[:, None]
    basis = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    (plane,) = coefficients(GREY)
    steps = plane * read_frame(GREY).components[0].table.astype(np.float64)
    blocks = basis.T @ steps.reshape(*plane.shape[:2], BLOCK, BLOCK) @ basis + 128
    picture = blocks.transpose(0, 2, 1, 3).reshape(plane.shape[0] * BLOCK, -1)
    seen = decoded(GREY)[..., 0]
    assert np.abs(picture[:61, :97].clip(0, 255) - seen).max() <= 1


def test_an_edit_reaches_the_file() -> None:
    plane = coefficients(first_set_to(5, -77))[0]
    expected = coefficients(GREY)[0]
    expected[0, 0, 5] = -77
    assert (plane == expected).all()


def test_no_metadata_is_copied() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET"
    data = by_pillow(exif=exif, icc_profile=b"SECRET" * 30, comment=b"SECRET")(PIXELS)
    assert b"SECRET" in data
    result = codec().transcode(data + b"SECRET", unchanged, progressive=False)
    assert b"SECRET" not in result
    assert markers(result) == {0xE0, 0xDB, 0xC0, 0xC4}


def test_blocks_outside_the_picture_are_not_copied() -> None:
    """A file made smaller in its header alone still holds the blocks beyond its new edge."""
    whole = KINDS["4:2:0"](scene(96, 64))
    small = with_size(whole, 81, 49)  # as many MCUs as before
    result = codec().transcode(small, unchanged, progressive=False)
    for before, after in zip(coefficients(small), coefficients(result), strict=True):
        assert (before == after).all()
    old, new = coefficients(whole)[0], coefficients(with_size(result, 96, 64))[0]
    assert (new[:7, :11] == old[:7, :11]).all()
    assert old[7, :, 1:].any()
    assert old[:, 11, 1:].any()
    assert not new[7, :, 1:].any()
    assert not new[:, 11, 1:].any()


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_what_an_edit_raises_comes_out_and_ends_the_call(error: BaseException) -> None:
    calls = []

    def edit(component: int, row: int, blocks: Blocks) -> None:
        calls.append((component, row))
        if len(calls) == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        codec().transcode(FILE, edit, progressive=False)
    assert caught.value is error
    assert len(calls) == 3
    assert coefficients(FILE)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 1024), (0, -1025), (0, 32767), (0, -32768), (1, 1024), (63, -1024), (63, -32768)],
)
def test_a_coefficient_out_of_range_is_an_error(place: int, value: int, progressive: bool) -> None:
    def edit(component: int, row: int, blocks: Blocks) -> None:
        blocks[-1, -1, place] = value

    with pytest.raises(JpegError):
        codec().transcode(FILE, edit, progressive=progressive)


@pytest.mark.parametrize(("place", "value"), [(0, 1023), (0, -1024), (1, 1023), (63, -1023)])
def test_the_largest_coefficients_are_written(place: int, value: int) -> None:
    assert coefficients(first_set_to(place, value))[0][0, 0, place] == value


def test_the_blackest_file_is_treated() -> None:
    data = by_quality(100, np.zeros((32, 32, 3), np.uint8))
    assert coefficients(data)[0].min() == -1024
    assert not decoded(codec().transcode(data, unchanged, progressive=False)).any()


def test_what_can_be_read_only_with_a_warning_is_an_error() -> None:
    for damaged in (
        FILE[:-40],
        FILE[: len(FILE) // 2] + b"\xff\xd9",
        FILE[:-2] + b"\0" * 9 + b"\xff\xd9",
    ):
        with pytest.raises(JpegError):
            codec().transcode(damaged, unchanged, progressive=False)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"GIF89a", FILE[:100]])
def test_what_is_no_jpeg_is_an_error(data: bytes) -> None:
    with pytest.raises(JpegError):
        codec().transcode(data, unchanged, progressive=False)


def test_a_file_of_very_many_scans_is_an_error() -> None:
    data = KINDS["grey"](scene(16, 16)).replace(b"\xff\xc0", b"\xff\xc2", 1)
    # The mean of each of the four blocks, coded in two bits, again and again.
    scan = b"\xff\xda\0\x08\1\1\0\0\0\0" + b"\0"
    header = data[: data.index(b"\xff\xda")]
    codec().transcode(header + scan * 400 + b"\xff\xd9", unchanged, progressive=True)
    with pytest.raises(JpegError, match="500 scans"):
        codec().transcode(header + scan * 600 + b"\xff\xd9", unchanged, progressive=True)


def test_damage_anywhere_gives_a_file_or_an_error() -> None:
    chance = random.Random(4)
    whole = scan_by_scan(PIXELS, [(2, 1), (1, 1), (1, 1)])
    files = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data[5:7], data[163:167] = whole[5:7], whole[163:167]
        try:
            result = codec().transcode(bytes(data), unchanged, progressive=False)
        except JpegError:
            continue
        files += 1
        for was, now in zip(coefficients(bytes(data)), coefficients(result), strict=True):
            assert (was == now).all()
    assert files > 20


def test_threads_do_not_disturb_each_other() -> None:
    files = [KINDS[kind](scene(200, 150, seed)) for seed, kind in enumerate(KINDS)]
    alone = [codec().transcode(file, unchanged, progressive=False) for file in files]
    damaged = FILE[: len(FILE) // 2]

    def work(file: bytes) -> bytes:
        with pytest.raises(JpegError, match="Premature end"):
            codec().transcode(damaged, unchanged, progressive=False)
        return codec().transcode(file, unchanged, progressive=False)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, files * 4)) == alone * 4


def test_neither_success_nor_failure_keeps_memory() -> None:
    whole = by_quality(98, scene(300, 300))
    damaged = whole[: len(whole) - 100]

    def fail(component: int, row: int, blocks: Blocks) -> None:
        if component == 2:
            raise ValueError

    def rounds(count: int) -> None:
        for _ in range(count):
            codec().transcode(whole, unchanged, progressive=False)
            with pytest.raises(JpegError):
                codec().transcode(damaged, unchanged, progressive=False)
            with pytest.raises(ValueError):
                codec().transcode(whole, fail, progressive=False)

    rounds(20)
    before = psutil.Process().memory_info().rss
    rounds(100)
    assert psutil.Process().memory_info().rss - before < 20 * len(whole)
    assert len(whole) > 100_000
