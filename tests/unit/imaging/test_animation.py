"""A file of several frames or pages is told from one of a single picture."""

import random
import struct
from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

from blurline.errors import PictureError
from blurline.imaging.animation import is_animated
from blurline.imaging.header import Limits, read_header, sniff
from blurline.imaging.kind import Kind
from tests.carriers import AVIF, CARRIERS, KINDS, carrier, png_chunk
from tests.parts import files_below, picture_file
from tests.telltales import BASE

SECOND = BASE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
MOVING = [Kind.PNG, Kind.WEBP, Kind.GIF, Kind.TIFF, AVIF]


@pytest.mark.parametrize("kind", MOVING)
def test_a_file_of_two_frames_is_animated(kind: Kind) -> None:
    assert is_animated(picture_file(BASE, kind, save_all=True, append_images=[SECOND]), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_picture_is_not_animated(kind: Kind) -> None:
    assert not is_animated(picture_file(BASE, kind), kind)


@pytest.mark.parametrize(
    ("kind", "place"), [case for case in CARRIERS if case != (Kind.TIFF, "second page")]
)
def test_what_hangs_on_to_a_picture_is_no_frame(kind: Kind, place: str) -> None:
    assert not is_animated(carrier(kind, place), kind)


def test_a_still_picture_before_a_frame_does_not_hide_it() -> None:
    data = picture_file(BASE, "PNG", save_all=True, append_images=[SECOND], default_image=True)
    assert struct.unpack_from(">I", data, data.index(b"acTL") + 4) == (1,)
    assert is_animated(data, Kind.PNG)


def test_thumbnails_and_masks_of_a_tiff_are_no_pages() -> None:
    for subfile_type in (0, 1, 2, 4, 5):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[254] = subfile_type
        other = SECOND.copy()
        other.encoderinfo = {"tiffinfo": tags}
        data = picture_file(BASE, "TIFF", save_all=True, append_images=[other])
        assert is_animated(data, Kind.TIFF) == (subfile_type in (0, 2))


def test_directories_without_end_are_not_walked_through() -> None:
    data = picture_file(BASE, "TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    end = start + 2 + 12 * entries
    thumbnail = struct.pack("<HHHII", 1, 254, 4, 1, 1)
    chain = (thumbnail + struct.pack("<I", len(data) + 18 * n) for n in range(1, 1_000_001))
    head = data[:end] + struct.pack("<I", len(data)) + data[end + 4 :]
    assert is_animated(head + b"".join(chain), Kind.TIFF)


@pytest.mark.parametrize("following", [8, 1 << 31])
def test_directories_in_a_circle_or_nowhere_are_no_pages(following: int) -> None:
    data = picture_file(BASE, "TIFF")
    assert struct.unpack_from("<I", data, 4) == (8,)
    end = 8 + 2 + 12 * struct.unpack_from("<H", data, 8)[0]
    assert not is_animated(data[:end] + struct.pack("<I", following) + data[end + 4 :], Kind.TIFF)


def test_damage_gives_an_answer_or_a_picture_error() -> None:
    chance = random.Random(2)
    for kind in MOVING:
        whole = picture_file(BASE, kind, save_all=True, append_images=[SECOND])
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                is_animated(bytes(data), kind)
            except PictureError as error:
                assert error.code == "corrupt_image"


def test_real_animations_are_found(data: Path) -> None:
    found = set()
    for path in files_below(data / "hostile"):
        content = path.read_bytes()
        try:
            read_header(content, Limits(50_000_000, 30_000_000))
        except PictureError as error:
            if error.code == "animation":
                found.add(sniff(content))
    assert found == {Kind.PNG, Kind.GIF, Kind.TIFF}


def test_frame_chunks_that_no_reader_shows_are_no_animation() -> None:
    data = picture_file(BASE, "PNG")
    late = data[:-12] + png_chunk(b"acTL", struct.pack(">II", 2, 0)) + data[-12:]
    assert not is_animated(late, Kind.PNG)
