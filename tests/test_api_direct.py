"""`POST /blur/`: a picture is blurred while its sender waits, and nothing of it is kept."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from blurline.storage import keys
from tests.data_folder import DataFolder, shown
from tests.parts import Start, picture_file, refusal, upload
from tests.telltales import MARKER, PICTURE, embedded_pictures, exif_block, traces

FACES = np.array([[918, 96, 1052, 276], [552, 270, 658, 416]])
"""Where the two faces of `zidane` are."""
CAPTURE, GPS = 0x8769, 0x8825
DATE_TIME_ORIGINAL, LATITUDE = 0x9003, 2


def blur(client: httpx.Client, *pictures: bytes, field: str = "picture") -> httpx.Response:
    files = [(field, ("street.jpg", picture, "image/jpeg")) for picture in pictures]
    return client.post("/blur/", files=files)


def test_a_picture_is_blurred_while_its_sender_waits(client: httpx.Client, zidane: bytes) -> None:
    answer = blur(client, zidane)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).format == "JPEG"
    before, after = shown(zidane).astype(int), shown(answer.content).astype(int)
    assert after.shape == before.shape
    for left, top, right, bottom in FACES:
        face = (slice(top, bottom), slice(left, right))
        assert np.abs(after[face] - before[face]).mean() > 10
        # Cells of one colour: a pixel is that of its neighbour nearly everywhere.
        assert (
            np.abs(np.diff(after[face], axis=1)).mean()
            < np.abs(np.diff(before[face], axis=1)).mean()
        )
    assert (after == before).all(axis=2).mean() > 0.8


def test_a_blurred_picture_keeps_time_and_place_and_loses_the_rest(
    client: httpx.Client, zidane: bytes
) -> None:
    picture = picture_file(Image.open(BytesIO(zidane)), "JPEG", exif=exif_block())
    assert traces(picture)

    answer = blur(client, picture)

    exif = Image.open(BytesIO(answer.content)).getexif()
    assert exif.get_ifd(CAPTURE)[DATE_TIME_ORIGINAL] == "2024:05:17 12:34:56"
    assert [float(part) for part in exif.get_ifd(GPS)[LATITUDE]] == [48, 51, 30.24]
    assert traces(answer.content) == []
    assert embedded_pictures(answer.content) == 0
    assert MARKER not in answer.content
    assert PICTURE not in answer.content


def test_of_a_picture_blurred_directly_only_the_record_stays(
    client: httpx.Client, data_folder: DataFolder, bus: bytes
) -> None:
    before = data_folder.names()

    assert blur(client, bus).status_code == 200

    (record,) = data_folder.names() - before
    assert record == keys.record(Path(record).stem)
    assert client.get(f"/status/{Path(record).stem}").json()["status"] == "completed"
    assert client.get(f"/result/{Path(record).stem}").status_code == 404


def test_a_picture_that_fails_directly_is_not_kept(
    client: httpx.Client, data_folder: DataFolder, bus: bytes
) -> None:
    before = data_folder.names()

    assert refusal(blur(client, bus[: len(bus) // 2])) == (409, "job_failed")

    (record,) = data_folder.names() - before
    assert record == keys.record(Path(record).stem)


def test_a_picture_that_nobody_takes_in_time_is_answered_503_and_forgotten(
    idle_client: Start, idle_folder: DataFolder, small_jpeg: bytes
) -> None:
    client = idle_client(blur_wait=0.1)

    answer = blur(client, small_jpeg)

    assert refusal(answer) == (503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/queue-status").json()["depth"] == 0
    left = {name for name in idle_folder.names() if not name.startswith("audit/")}
    (mark,) = left
    assert client.get(f"/status/{Path(mark).stem}").status_code == 404


def test_a_full_queue_is_told_before_anything_is_kept(
    idle_client: Start, idle_folder: DataFolder, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=1)
    upload(client, small_jpeg)
    before = idle_folder.names()

    assert refusal(blur(client, small_jpeg)) == (429, "queue_full")
    assert idle_folder.names() == before


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"plain words", 400, "not_an_image"),
        (b"", 400, "not_an_image"),
        (b"\xff\xd8\xff", 400, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_kind"),
    ],
)
def test_a_bad_picture_is_refused_in_the_one_shape(
    refusing: httpx.Client, content: bytes, status: int, code: str
) -> None:
    assert refusal(blur(refusing, content)) == (status, code)


def test_a_picture_too_large_to_be_blurred_is_answered_413(
    idle_client: Start, idle_folder: DataFolder, small_jpeg: bytes
) -> None:
    client = idle_client(max_image_bytes=len(small_jpeg))

    assert refusal(blur(client, small_jpeg + b"\0")) == (413, "too_many_bytes")
    assert idle_folder.names() == set()


def test_two_pictures_at_once_are_answered_413(refusing: httpx.Client, small_jpeg: bytes) -> None:
    assert refusal(blur(refusing, small_jpeg, small_jpeg)) == (413, "too_many_files")


def test_without_a_picture_there_is_nothing_to_blur(
    refusing: httpx.Client, small_jpeg: bytes
) -> None:
    assert refusal(blur(refusing, small_jpeg, field="file")) == (400, "no_file")
    assert refusal(refusing.post("/blur/")) == (400, "no_file")
    assert refusal(refusing.post("/blur/", data={"picture": "text"})) == (400, "no_file")
