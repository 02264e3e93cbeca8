"""`POST /upload`: what is taken, what is refused, and that nothing is left half-done."""

import contextlib
import shutil
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from tests.parts import (
    ValkeyServer,
    drawing,
    ended,
    eventually,
    files_below,
    refusal,
    serving,
    settings_for,
    upload,
)

Start = Callable[..., httpx.Client]

QUEUE = "rq:queue:image_processing_queue"
BOUNDARY = "a-boundary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def written(kind: str, **options: Any) -> bytes:
    """A real file of a kind, by Pillow."""
    file = BytesIO()
    Image.fromarray(drawing()).save(file, kind, **options)
    return file.getvalue()


def part(content: bytes, name: str = "photo.jpg", field: str = "file") -> bytes:
    """A multipart body with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"'
    return head.encode() + b"\r\n\r\n" + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that announces that many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def send(client: httpx.Client, content: bytes, name: str = "photo.jpg", **data: Any) -> Any:
    return client.post("/upload", files={"file": (name, content)}, data=data)


@pytest.fixture
def untouched(tmp_path: Path, shared_valkey: ValkeyServer) -> Callable[[], bool]:
    """Whether neither the store nor the queue holds anything."""

    def ask() -> bool:
        with shared_valkey.client() as redis:
            return not files_below(tmp_path / "store") and redis.llen(QUEUE) == 0

    return ask


def test_an_upload_is_answered_with_its_job(idle_client: Start, small_jpeg: bytes) -> None:
    answer = send(idle_client(), small_jpeg, "street.jpg")

    content = answer.json()
    assert answer.status_code == 202
    assert set(content) == {"job_id", "filename", "file_size", "status", "message"}
    assert str(UUID(content["job_id"])) == content["job_id"]
    assert content["filename"] == "street.jpg"
    assert content["file_size"] == len(small_jpeg)
    assert content["status"] == "submitted"
    assert f"/status/{content['job_id']}" in content["message"]


def test_what_is_answered_submitted_is_stored_and_queued(
    idle_client: Start, shared_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client()
    pictures = [small_jpeg + bytes(extra) for extra in range(3)]

    job_ids = [upload(client, picture) for picture in pictures]

    with shared_valkey.client() as redis:
        assert [item.decode() for item in redis.lrange(QUEUE, 0, -1)] == job_ids
    stored = {path.stem: path.read_bytes() for path in files_below(tmp_path / "store/original")}
    assert stored == dict(zip(job_ids, pictures, strict=True))


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
        png_header(0, 10),
    ],
    ids=lambda content: repr(content[:14]),
)
def test_what_is_no_image_is_answered_400(
    idle_client: Start, untouched: Callable[[], bool], content: bytes
) -> None:
    assert refusal(send(idle_client(), content)) == (400, "not_an_image")
    assert untouched()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), id="HEIC"),
        pytest.param(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100), id="HEIF"),
        pytest.param(written("AVIF"), id="AVIF"),
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
def test_a_picture_of_another_kind_is_answered_415(
    idle_client: Start, untouched: Callable[[], bool], content: bytes
) -> None:
    assert refusal(send(idle_client(), content)) == (415, "unsupported_kind")
    assert untouched()


def test_the_refusal_of_a_kind_says_which_kinds_are_taken(idle_client: Start) -> None:
    message = send(idle_client(), written("AVIF")).json()["error"]["message"]

    assert all(kind in message for kind in ("AVIF", "jpeg", "png", "webp", "bmp", "tiff", "gif"))


@pytest.mark.parametrize(
    ("name", "declared", "content", "status"),
    [
        ("notes.txt", "text/plain", written("PNG"), 202),
        ("photo.heic", "image/heic", written("PNG"), 202),
        ("photo", "", written("PNG"), 202),
        ("photo.png", "image/png", b"plain words", 400),
        ("photo.jpg", "image/jpeg", written("AVIF"), 415),
    ],
)
def test_a_file_is_judged_by_its_content(
    idle_client: Start, name: str, declared: str, content: bytes, status: int
) -> None:
    answer = idle_client().post("/upload", files={"file": (name, content, declared)})

    assert answer.status_code == status


@pytest.mark.parametrize(
    "request_parts",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"json": {"file": "photo.jpg"}}, id="JSON"),
        pytest.param({"data": {"file": "photo.jpg"}}, id="URL-encoded form"),
        pytest.param(
            {"content": written("PNG"), "headers": {"Content-Type": "image/png"}}, id="bare picture"
        ),
        pytest.param({"files": {"picture": ("a.png", written("PNG"))}}, id="other field"),
        pytest.param({"files": {"files": ("a.png", written("PNG"))}}, id="the batch's field"),
        pytest.param(
            {"data": {"file": "text"}, "files": {"other": ("a.png", written("PNG"))}}, id="text"
        ),
        pytest.param({"content": part(b"x")[:-30], "headers": MULTIPART}, id="cut off"),
        pytest.param({"content": b"--a-boundary--\r\n", "headers": MULTIPART}, id="empty form"),
    ],
)
def test_a_request_without_a_file_is_answered_400(
    idle_client: Start, untouched: Callable[[], bool], request_parts: dict[str, Any]
) -> None:
    assert refusal(idle_client().post("/upload", **request_parts)) == (400, "no_file")
    assert untouched()


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"no boundary at all", MULTIPART),
        (b"--a-boundary\r\nbad header\r\n\r\nx\r\n--a-boundary--\r\n", MULTIPART),
        (b"--a-boundary\r\n\r\nno name\r\n--a-boundary--\r\n", MULTIPART),
        (part(b"x"), {"Content-Type": "multipart/form-data"}),
    ],
)
def test_a_malformed_form_is_answered_400(
    idle_client: Start,
    untouched: Callable[[], bool],
    content: bytes,
    headers: dict[str, str],
) -> None:
    answer = idle_client().post("/upload", content=content, headers=headers)

    assert refusal(answer) == (400, "bad_request")
    assert untouched()


@pytest.mark.parametrize("number", [2, 3, 20])
def test_more_files_than_one_are_answered_413(
    idle_client: Start, untouched: Callable[[], bool], small_jpeg: bytes, number: int
) -> None:
    answer = idle_client().post("/upload", files=[("file", ("a.jpg", small_jpeg))] * number)

    assert refusal(answer) == (413, "too_many_files")
    assert "/batch-upload" in answer.json()["error"]["message"]
    assert untouched()


LIMIT = 100_000


def test_a_file_of_just_the_limit_is_taken(idle_client: Start, small_jpeg: bytes) -> None:
    picture = small_jpeg + bytes(LIMIT - len(small_jpeg))

    assert send(idle_client(max_image_bytes=LIMIT), picture).status_code == 202


SIZES = [LIMIT + 1, LIMIT + 70_000, 2 * LIMIT, 3 * LIMIT, 50 * LIMIT]


@pytest.mark.parametrize("size", SIZES)
def test_too_many_announced_bytes_are_answered_413(
    idle_client: Start, untouched: Callable[[], bool], small_jpeg: bytes, size: int
) -> None:
    picture = small_jpeg + bytes(size - len(small_jpeg))

    answer = send(idle_client(max_image_bytes=LIMIT), picture)

    assert refusal(answer) == (413, "too_many_bytes")
    assert untouched()


@pytest.mark.parametrize("size", SIZES)
def test_too_many_unannounced_bytes_are_answered_413(
    idle_client: Start, untouched: Callable[[], bool], small_jpeg: bytes, size: int
) -> None:
    body = part(small_jpeg + bytes(size - len(small_jpeg)))

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 16_384):
            yield body[start : start + 16_384]

    client = idle_client(max_image_bytes=LIMIT)
    answer = client.post("/upload", content=chunks(), headers=MULTIPART, timeout=15)

    assert refusal(answer) == (413, "too_many_bytes")
    assert untouched()


@pytest.mark.parametrize("content", [png_header(10_001, 10_000), png_header(2**31 - 1, 1)])
def test_too_many_pixels_are_answered_413_before_any_is_decoded(
    idle_client: Start, untouched: Callable[[], bool], content: bytes
) -> None:
    assert refusal(send(idle_client(), content)) == (413, "too_many_pixels")
    assert untouched()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"targets": "cat"}, "bad_option", "face, car, person, license_plate"),
        ({"targets": "face,cat"}, "bad_option", "face, car"),
        ({"targets": ["face", "cat"]}, "bad_option", "face, car"),
        ({"targets": "license_plate"}, "model_missing", "license_plate"),
        ({"targets": "face,license_plate"}, "model_missing", "license_plate"),
        ({"style": "pixelate"}, "bad_option", "mosaic, solid, gaussian"),
        ({"style": ["solid", "mosaic"]}, "bad_option", "mosaic, solid, gaussian"),
        ({"pipeline": "none"}, "bad_option", "blur_detect, blur"),
        ({"pipeline": "../blur"}, "bad_option", "blur_detect, blur"),
    ],
)
def test_a_bad_option_is_answered_422_with_the_good_ones(
    idle_client: Start,
    untouched: Callable[[], bool],
    small_jpeg: bytes,
    options: dict[str, Any],
    code: str,
    said: str,
) -> None:
    answer = send(idle_client(), small_jpeg, **options)

    assert refusal(answer) == (422, code)
    assert said in answer.json()["error"]["message"]
    assert untouched()


def test_an_option_that_is_a_file_is_answered_422(idle_client: Start, small_jpeg: bytes) -> None:
    files = {"file": ("a.jpg", small_jpeg), "targets": ("targets.txt", b"face")}

    assert refusal(idle_client().post("/upload", files=files)) == (422, "bad_option")


@pytest.mark.parametrize(
    ("options", "targets", "style", "detects"),
    [
        ({}, ["face", "car"], "mosaic", True),
        ({"targets": "person,face"}, ["person", "face"], "mosaic", True),
        ({"targets": ["person", "car"]}, ["person", "car"], "mosaic", True),
        ({"targets": " Face , face,"}, ["face"], "mosaic", True),
        ({"style": "solid", "pipeline": "blur"}, ["face", "car"], "solid", False),
        ({"targets": "", "style": "", "pipeline": ""}, ["face", "car"], "mosaic", True),
    ],
)
def test_options_are_form_fields(
    client: httpx.Client,
    small_jpeg: bytes,
    options: dict[str, Any],
    targets: list[str],
    style: str,
    detects: bool,
) -> None:
    results = ended(client, upload(client, small_jpeg, **options))["results"]

    assert results["blur_metadata"]["targets"] == targets
    assert results["blur_metadata"]["style"] == style
    assert (results["detection_metadata"] is not None) is detects


def test_an_upload_to_a_full_queue_is_answered_429(
    idle_client: Start, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=2)
    for _ in range(2):
        upload(client, small_jpeg)

    answer = send(client, small_jpeg)

    assert refusal(answer) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(files_below(tmp_path / "store")) == 2


def test_an_upload_while_redis_is_away_is_answered_503(tmp_path: Path, small_jpeg: bytes) -> None:
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        answer = send(client, small_jpeg)

    assert refusal(answer) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert files_below(tmp_path / "store") == []


@pytest.fixture
def full_redis(shared_valkey: ValkeyServer) -> Iterator[Callable[[], None]]:
    """Makes the queue server refuse to write, which it does when its memory is full."""
    with shared_valkey.client() as redis:
        yield lambda: redis.config_set("maxmemory", 1)
        redis.config_set("maxmemory", 0)


def test_a_picture_that_could_not_be_queued_is_not_kept(
    idle_client: Start,
    full_redis: Callable[[], None],
    untouched: Callable[[], bool],
    small_jpeg: bytes,
) -> None:
    client = idle_client()
    full_redis()

    assert refusal(send(client, small_jpeg)) == (503, "queue_unavailable")
    assert untouched()


def test_a_picture_that_could_not_be_stored_is_not_queued(
    idle_client: Start, tmp_path: Path, untouched: Callable[[], bool], small_jpeg: bytes
) -> None:
    client = idle_client()
    shutil.rmtree(tmp_path / "store")

    answer = send(client, small_jpeg)

    assert refusal(answer) == (503, "store_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert untouched()


def test_a_caller_that_hangs_up_halfway_leaves_nothing(
    idle_client: Start, untouched: Callable[[], bool], small_jpeg: bytes
) -> None:
    client = idle_client()
    body = part(small_jpeg)
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {MULTIPART['Content-Type']}\r\n\r\n"
    with contextlib.closing(
        socket.create_connection((client.base_url.host, client.base_url.port))
    ) as caller:
        caller.sendall(head.encode() + body[:-10])

    def counted() -> bool:
        page = client.get("/metrics").text
        lines = (line for line in page.splitlines() if 'route="/upload"' in line)
        return any("requests_total" in line and '"202"' not in line for line in lines)

    eventually(counted, "the request has come to its end")
    assert untouched()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("street.jpg", "street.jpg"),
        ("Straße 東京.jpg", "Straße 東京.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "upload"),
        (".", "upload"),
        ("..", "upload"),
        ("a/..", "upload"),
        ("   ", "upload"),
        ("nul\0l.jpg", "null.jpg"),
        ("bell\a\x7f\x85.jpg", "bell.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("\u2067a\u2069\u200f\u061c.jpg", "a.jpg"),
        ("zero\u200b\ufeff.jpg", "zero.jpg"),
        ("line\u2028.jpg", "line.jpg"),
    ],
)
def test_a_file_name_comes_back_harmless(
    idle_client: Start, small_jpeg: bytes, sent: str, shown: str
) -> None:
    # Written by hand: a client's library would escape some of these.
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="'.encode()
    body = head + sent.encode() + part(small_jpeg).partition(b"photo.jpg")[2]

    answer = idle_client().post("/upload", content=body, headers=MULTIPART)

    assert answer.status_code == 202, answer.text
    assert answer.json()["filename"] == shown


def test_a_file_name_of_4_kb_is_cut(idle_client: Start, small_jpeg: bytes) -> None:
    answer = send(idle_client(), small_jpeg, "x" * 4096 + ".jpg")

    assert answer.status_code == 202
    assert len(answer.json()["filename"]) <= 255


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
    idle_client: Start, method: str, path: str, status: int, code: str
) -> None:
    answer = idle_client().request(method, path)

    assert refusal(answer) == (status, code)
    assert status != 405 or answer.headers["Allow"]
