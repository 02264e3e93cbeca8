"""`POST /upload`: what is taken, what is refused, and that nothing is left half-done."""

import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from tests.heic_files import Item, heif
from tests.originals import original_of
from tests.parts import (
    Start,
    Taking,
    drawing,
    files_below,
    picture_file,
    refusal,
    send,
    serving,
    settings_for,
    upload,
)


def written(kind: str, **options: Any) -> bytes:
    """A real file of a kind."""
    return picture_file(Image.fromarray(drawing()), kind, **options)


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that announces that many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_an_upload_is_answered_with_its_job(taking: Taking, small_jpeg: bytes) -> None:
    answer = send(taking.client, small_jpeg, "street.jpg")

    content = answer.json()
    assert answer.status_code == 202
    assert set(content) == {"job_id", "filename", "file_size", "status", "message"}
    assert str(UUID(content["job_id"])) == content["job_id"]
    assert content["filename"] == "street.jpg"
    assert content["file_size"] == len(small_jpeg)
    assert content["status"] == "submitted"
    assert f"/status/{content['job_id']}" in content["message"]


def test_what_is_answered_submitted_is_stored_and_queued(taking: Taking, small_jpeg: bytes) -> None:
    _, before = taking.holds()
    pictures = [small_jpeg + bytes(extra) for extra in range(3)]

    job_ids = [upload(taking.client, picture) for picture in pictures]

    files, queued = taking.holds()
    assert queued == [*before, *job_ids]
    assert {path.stem for path in files if "original" in path.parts} >= set(job_ids)
    stored = [original_of(taking.store.parent, job_id) for job_id in job_ids]
    assert stored == pictures


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain words",
        b"<html><body>not a picture</body></html>",
        b"PK\x03\x04" + bytes(200),
        b"BMW is a car, and this is no bitmap of one",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"RIFF\x10\0\0\0WAVEfmt ",
        bytes(100_000),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        png_header(0, 10),
    ],
    ids=lambda content: repr(content[:14]),
)
def test_what_is_no_image_is_answered_400(refusing: httpx.Client, content: bytes) -> None:
    assert refusal(send(refusing, content)) == (400, "not_an_image")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(heif({1: Item(b"jpeg", b"1234")}), id="HEIF with a JPEG in it"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="SVG"),
        pytest.param(b"\n<?xml version='1.0'?>\n<!-- by hand -->\n<svg/>", id="SVG after XML"),
        pytest.param(b"\xef\xbb\xbf<svg/>", id="SVG after byte order mark"),
        pytest.param(written("PDF"), id="PDF"),
        pytest.param(b"8BPS\0\1" + bytes(100), id="PSD"),
        pytest.param(written("ICO"), id="ICO"),
        pytest.param(b"\xff\x0a" + bytes(100), id="JPEG XL"),
        pytest.param(written("JPEG2000"), id="JPEG 2000"),
        pytest.param(written("QOI"), id="QOI"),
        pytest.param(written("PPM"), id="PPM"),
        pytest.param(written("EPS"), id="EPS"),
        pytest.param(written("TIFF", big_tiff=True), id="BigTIFF"),
        pytest.param(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(100), id="MP4"),
        pytest.param(b"\x1aE\xdf\xa3" + bytes(100), id="WebM"),
    ],
)
def test_a_picture_of_another_kind_is_answered_415(refusing: httpx.Client, content: bytes) -> None:
    assert refusal(send(refusing, content)) == (415, "unsupported_kind")


def test_the_refusal_of_a_kind_says_which_kinds_are_taken(refusing: httpx.Client) -> None:
    message = send(refusing, written("QOI")).json()["error"]["message"]

    kinds = ("jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic")
    assert all(kind in message for kind in ("QOI", *kinds))


@pytest.mark.parametrize(
    ("name", "declared", "content", "status"),
    [
        ("notes.txt", "text/plain", written("PNG"), 202),
        ("photo.heic", "image/heic", written("PNG"), 202),
        ("photo", "", written("PNG"), 202),
        ("photo.jpg", "image/jpeg", written("AVIF"), 202),
        ("photo.png", "image/png", b"plain words", 400),
        ("photo.jpg", "image/jpeg", written("QOI"), 415),
    ],
)
def test_a_file_is_judged_by_its_content(
    taking: Taking, name: str, declared: str, content: bytes, status: int
) -> None:
    answer = taking.client.post("/upload", files={"file": (name, content, declared)})

    assert answer.status_code == status


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (2**31 - 1, 1)])
def test_too_many_pixels_are_answered_413_by_the_header_alone(
    refusing: httpx.Client, width: int, height: int
) -> None:
    # There is no pixel to decode, so whoever tries does not come to this answer.
    answer = send(refusing, png_header(width, height))

    assert refusal(answer) == (413, "too_many_pixels")


def test_an_upload_to_a_full_queue_is_answered_429(
    idle_client: Start, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=2)
    for _ in range(2):
        upload(client, small_jpeg)

    answer = send(client, small_jpeg)

    assert refusal(answer) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(files_below(tmp_path / "store/original")) == 2
    assert len(files_below(tmp_path / "store/keys")) == 2


def test_many_uploads_at_once_do_not_overfill_the_queue(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=3)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: send(client, small_jpeg).status_code, range(32)))

    assert Counter(statuses) == {202: 3, 429: 29}
    assert client.get("/queue-status").json()["depth"] == 3


def test_an_upload_while_redis_is_away_is_answered_503(tmp_path: Path, small_jpeg: bytes) -> None:
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        answer = send(client, small_jpeg)

    assert refusal(answer) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert files_below(tmp_path / "store") == []


def test_a_picture_that_could_not_be_queued_is_not_kept(
    refusing: httpx.Client, full_redis: Callable[[], None], small_jpeg: bytes
) -> None:
    full_redis()

    assert refusal(send(refusing, small_jpeg)) == (503, "queue_unavailable")


def test_a_picture_that_could_not_be_stored_is_not_queued(
    idle_client: Start, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client()
    shutil.rmtree(tmp_path / "store")

    answer = send(client, small_jpeg)

    assert refusal(answer) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/queue-status").json()["depth"] == 0
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/upload", 405, "method_not_allowed"),
        ("PUT", "/batch-upload", 405, "method_not_allowed"),
        ("POST", "/stats", 405, "method_not_allowed"),
        ("DELETE", "/status/x", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/status", 404, "not_found"),
    ],
)
def test_a_wrong_door_is_answered_in_the_one_shape(
    refusing: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = refusing.request(method, path)

    assert refusal(answer) == (status, code)
    assert status != 405 or answer.headers["Allow"]
