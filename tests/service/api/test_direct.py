"""`POST /blur/`: a picture is blurred while its sender waits, and nothing of it is kept."""

import json
from email import message_from_bytes
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from blurline.imaging.kind import Kind
from blurline.imaging.panorama import panorama_of
from blurline.storage import keys
from tests.data_folder import DataFolder, shown
from tests.panoramas import CROPPED, packet
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


def turned(picture: bytes, orientation: int, **options: object) -> bytes:
    """The picture as a camera stores it that says how it was held."""
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    image = Image.open(BytesIO(picture))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image if turn is None else image.transpose(turn)
    return picture_file(stored, "JPEG", exif=exif, quality=92, **options)


@pytest.mark.parametrize("size", [(640, 352), (637, 359)])
def test_a_picture_that_is_stored_turned_comes_back_upright(
    client: httpx.Client, zidane: bytes, size: tuple[int, int]
) -> None:
    upright = Image.open(BytesIO(zidane)).resize(size)
    picture = turned(picture_file(upright, "JPEG"), 6, xmp=packet(CROPPED))

    answer = blur(client, picture)

    result = Image.open(BytesIO(answer.content))
    assert result.size == size
    assert result.getexif().get(0x0112, 1) == 1
    difference = np.abs(np.asarray(result).astype(int) - np.asarray(upright))
    assert np.median(difference) < 5
    found = panorama_of(answer.content, Kind.JPEG)
    assert found is not None
    assert dict(found.sphere) == CROPPED


def holds(box: list[int], x: int, y: int) -> bool:
    return box[0] < x < box[2] and box[1] < y < box[3]


def test_a_picture_is_answered_in_parts_with_what_was_blurred(
    client: httpx.Client, zidane: bytes
) -> None:
    picture = {"picture": ("picture.jpg", zidane, "image/jpeg")}
    accept = {"Accept": "multipart/form-data"}

    answer = client.post("/blur/", files=picture, headers=accept, params={"keep": 1})

    assert answer.status_code == 200, answer.text
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    metadata, image = message_from_bytes(head + answer.content).get_payload()
    assert metadata.get_param("name", header="content-disposition") == "metadata"
    assert image.get_param("name", header="content-disposition") == "image"
    assert (metadata.get_content_type(), image.get_content_type()) == (
        "application/json",
        "image/jpeg",
    )
    assert Image.open(BytesIO(image.get_payload(decode=True))).size == (1280, 720)
    said = json.loads(metadata.get_payload(decode=True))
    assert said["service_name"] == "blurline"
    for left, top, right, bottom in FACES:
        x, y = (left + right) / 2, (top + bottom) / 2
        (face,) = (
            found
            for found in said["annotations"]
            if found["shape"][0] < x < found["shape"][2]
            and found["shape"][1] < y < found["shape"][3]
        )
        assert all(isinstance(edge, int) for edge in face["shape"])
        tags = {tag["key"]: tag["value"] for tag in face["semantics"]}
        assert tags["blurline|redacted"] == "face"
        assert tags["detection_model[blurline|redacted=face]"].startswith("blurline-")
        assert 0 < float(tags["detection_confidence[blurline|redacted=face]"]) <= 1


@pytest.mark.parametrize(("cls", "seen"), [("", True), ("face", True), ("plate,sign", False)])
def test_what_would_be_blurred_is_told_without_the_picture(
    client: httpx.Client, data_folder: DataFolder, zidane: bytes, cls: str, seen: bool
) -> None:
    before = data_folder.names()
    picture = {"picture": ("picture.jpg", turned(zidane, 6), "image/jpeg")}

    answer = client.post("/detect/", files=picture, params={"cls": cls} if cls else {})

    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["crop_rects"] == [one["xywh"] for one in said["info"]]
    faces = [one for one in said["info"] if one["class"] == "face"]
    assert bool(faces) is seen
    for left, top, right, bottom in FACES if seen else ():
        middle = (left + right) // 2, (top + bottom) // 2
        (face,) = (one for one in faces if holds(one["bbox"], *middle))
        x, y, width, height = face["xywh"]
        assert [x, y, x + width, y + height] == face["bbox"]
        assert 0 < face["confidence"] <= 1
    (record,) = data_folder.names() - before
    assert record == keys.record(Path(record).stem)


@pytest.mark.parametrize("accept", ["*/*", "image/*", "image/jpeg, text/html", ""])
def test_whoever_asks_for_no_parts_gets_the_picture(
    client: httpx.Client, bus: bytes, accept: str
) -> None:
    picture = {"picture": ("picture.jpg", bus, "image/jpeg")}
    answer = client.post("/blur/", files=picture, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "image/jpeg"


def test_who_looks_whether_the_service_is_there_is_answered_200(refusing: httpx.Client) -> None:
    assert refusing.get("/blur/").status_code == 200
    answer = refusing.head("/blur/")
    assert (answer.status_code, answer.content) == (200, b"")


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
