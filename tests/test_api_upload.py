"""`POST /upload`: what is taken, what is refused, and that nothing is left half-done."""

import contextlib
import shutil
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from prometheus_client.parser import text_string_to_metric_families

from blurline.queue.jobqueue import rq_queue
from blurline.settings import load_settings
from tests.originals import original_of
from tests.parts import (
    Start,
    Taking,
    ValkeyServer,
    drawing,
    ended,
    eventually,
    files_below,
    fresh,
    picture_file,
    refusal,
    serving,
    settings_for,
    upload,
)

QUEUE = "rq:queue:image_processing_queue"
BOUNDARY = "a-boundary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def written(kind: str, **options: Any) -> bytes:
    """A real file of a kind."""
    return picture_file(Image.fromarray(drawing()), kind, **options)


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
    files = {"file": (name, content)}
    return client.post("/upload", files=files, data=data, headers=fresh())


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
        png_header(0, 10),
    ],
    ids=lambda content: repr(content[:14]),
)
def test_what_is_no_image_is_answered_400(refusing: httpx.Client, content: bytes) -> None:
    assert refusal(send(refusing, content)) == (400, "not_an_image")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), id="HEIC"),
        pytest.param(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100), id="HEIF"),
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

    kinds = ("jpeg", "png", "webp", "bmp", "tiff", "gif", "avif")
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
    refusing: httpx.Client, request_parts: dict[str, Any]
) -> None:
    assert refusal(refusing.post("/upload", **request_parts)) == (400, "no_file")


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
    refusing: httpx.Client,
    content: bytes,
    headers: dict[str, str],
) -> None:
    answer = refusing.post("/upload", content=content, headers=headers)

    assert refusal(answer) == (400, "bad_request")


@pytest.mark.parametrize("number", [2, 3, 20])
def test_more_files_than_one_are_answered_413(
    refusing: httpx.Client, small_jpeg: bytes, number: int
) -> None:
    answer = refusing.post("/upload", files=[("file", ("a.jpg", small_jpeg))] * number)

    assert refusal(answer) == (413, "too_many_files")
    assert "/batch-upload" in answer.json()["error"]["message"]


LIMIT = 100_000
HUNG = 10.0
"""Seconds without an answer after which nobody believes in one any more."""


@pytest.fixture(scope="module")
def narrow(
    shared_valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Taking]:
    """A service that takes small files only."""
    folder = tmp_path_factory.mktemp("narrow")
    settings = settings_for(shared_valkey.url, folder, queue_name="narrow", max_image_bytes=LIMIT)
    with serving(settings) as client, shared_valkey.client() as redis:
        yield Taking(client, folder / "store", redis, "narrow")


def test_a_file_of_just_the_limit_is_taken(narrow: Taking, small_jpeg: bytes) -> None:
    assert send(narrow.client, small_jpeg + bytes(LIMIT - len(small_jpeg))).status_code == 202


SIZES = [LIMIT + 1, LIMIT + 70_000, 2 * LIMIT, 3 * LIMIT, 50 * LIMIT]


@pytest.mark.parametrize("size", SIZES)
def test_too_many_announced_bytes_are_answered_413(
    narrow: Taking, small_jpeg: bytes, size: int
) -> None:
    before = narrow.holds()
    picture = small_jpeg + bytes(size - len(small_jpeg))

    answer = narrow.client.post("/upload", files={"file": ("a.jpg", picture)}, timeout=HUNG)

    assert refusal(answer) == (413, "too_many_bytes")
    assert narrow.holds() == before


@pytest.mark.parametrize("size", SIZES)
def test_too_many_unannounced_bytes_are_answered_413(
    narrow: Taking, small_jpeg: bytes, size: int
) -> None:
    before = narrow.holds()
    body = part(small_jpeg + bytes(size - len(small_jpeg)))

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 16_384):
            yield body[start : start + 16_384]

    answer = narrow.client.post("/upload", content=chunks(), headers=MULTIPART, timeout=HUNG)

    assert refusal(answer) == (413, "too_many_bytes")
    assert narrow.holds() == before


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (2**31 - 1, 1)])
def test_too_many_pixels_are_answered_413_by_the_header_alone(
    refusing: httpx.Client, width: int, height: int
) -> None:
    # There is no pixel to decode, so whoever tries does not come to this answer.
    answer = send(refusing, png_header(width, height))

    assert refusal(answer) == (413, "too_many_pixels")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": "cat"}, "face, license_plate, car, person"),
        ({"targets": "face,cat"}, "face, license_plate"),
        ({"targets": ["face", "cat"]}, "face, license_plate"),
        ({"style": "pixelate"}, "mosaic, solid, gaussian"),
        ({"style": ["solid", "mosaic"]}, "mosaic, solid, gaussian"),
        ({"quality": "best"}, "fast, balanced, thorough"),
        ({"metadata": "all"}, "keep, minimal, none"),
        ({"on_failure": "ignore"}, "fail, obscure"),
        ({"threshold": "car=0.3"}, "face, license_plate"),
        ({"threshold": "face=2"}, "0.01 to 1"),
        ({"ignore_zones": "[[[0, 0], [1, 0]]]"}, "ignore_zones[0]"),
        ({"redact_zones": "[[[0, 0], [1, 0], [1, 2]]]"}, "redact_zones[0][2][1]"),
        ({"pipeline": "none"}, "blur_detect, blur"),
        ({"pipeline": "../blur"}, "blur_detect, blur"),
        ({"targets": " , "}, "face, license_plate"),
        ({"target": "person"}, "targets"),
        ({"zones": "[]"}, "ignore_zones"),
    ],
)
def test_a_bad_option_is_answered_422_with_the_good_ones(
    refusing: httpx.Client,
    small_jpeg: bytes,
    options: dict[str, Any],
    said: str,
) -> None:
    answer = send(refusing, small_jpeg, **options)

    assert refusal(answer) == (422, "bad_option")
    assert said in answer.json()["error"]["message"]


def test_an_option_that_is_a_file_is_answered_422(
    refusing: httpx.Client, small_jpeg: bytes
) -> None:
    files = {"file": ("a.jpg", small_jpeg), "targets": ("targets.txt", b"face")}

    assert refusal(refusing.post("/upload", files=files)) == (422, "bad_option")


@pytest.mark.parametrize(
    ("options", "targets", "style", "detects"),
    [
        ({}, ["face", "license_plate"], "mosaic", True),
        ({"targets": "person,face"}, ["person", "face"], "mosaic", True),
        ({"targets": ["person", "car"]}, ["person", "car"], "mosaic", True),
        ({"targets": " Face , face,"}, ["face"], "mosaic", True),
        ({"style": "SOLID", "pipeline": "Blur"}, ["face", "license_plate"], "solid", False),
        ({"targets": "", "style": "", "pipeline": ""}, ["face", "license_plate"], "mosaic", True),
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


def test_quality_threshold_and_zones_hold_for_the_picture(
    client: httpx.Client, small_jpeg: bytes
) -> None:
    results = ended(
        client,
        upload(
            client,
            small_jpeg,
            quality="thorough",
            threshold="0.9,face=0.5",
            ignore_zones="[[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]]",
            redact_zones="[[[0.5, 0.5], [1, 0.5], [1, 1]]]",
        ),
    )["results"]

    blurred = results["blur_metadata"]
    assert blurred["quality"] == "thorough"
    assert blurred["thresholds"] == {"face": 0.5, "license_plate": 0.9}
    assert blurred["zones"] == {
        "ignore": [[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]],
        "redact": [[[0.5, 0.5], [1, 0.5], [1, 1]]],
    }
    assert blurred["counts"]["zone"] == 1
    assert blurred["regions"][-1] == {
        "target": "zone",
        "confidence": 1.0,
        "box": [160, 120, 320, 240],
        "polygon": [[160, 120], [320, 120], [320, 240]],
    }


def test_a_zone_is_one_of_the_picture_as_it_is_seen(client: httpx.Client) -> None:
    # Orientation 6: the file's 320 x 240 pixels are shown as 240 x 320.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = picture_file(Image.fromarray(drawing()), "JPEG", exif=exif)
    lower_left = "[[[0, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]]]"

    job_id = upload(client, picture, style="solid", threshold="1", redact_zones=lower_left)
    ended(client, job_id)

    result = Image.open(BytesIO(client.get(f"/result/{job_id}").content))
    pixels = np.asarray(ImageOps.exif_transpose(result))
    assert pixels.shape == (320, 240, 3)
    dark = (pixels < 30).all(axis=2)
    assert dark[165:, :115].all()
    assert not dark[:155].any()
    assert not dark[:, 125:].any()


def test_a_camera_has_zones_and_thresholds_by_its_settings(
    idle_client: Start, shared_valkey: ValkeyServer, small_jpeg: bytes
) -> None:
    zones = [[[0, 0], [1, 0], [1, 0.5]]]
    client = idle_client(
        default_quality="fast", default_threshold="face=0.5", default_redact_zones=zones
    )
    upload(client, small_jpeg)
    upload(client, small_jpeg, quality="thorough", threshold="face=0.7", redact_zones="[]")

    with shared_valkey.client() as redis:
        waiting = rq_queue(redis, load_settings()).get_jobs()
    found = [job.kwargs["options"] for job in waiting]
    assert [options["quality"] for options in found] == ["fast", "thorough"]
    assert [options["thresholds"] for options in found] == [{"face": 0.5}, {"face": 0.7}]
    assert [options["zones"]["redact"] for options in found] == [zones, []]


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


def answers_of_upload(client: httpx.Client) -> Counter[str]:
    """How many requests to /upload have ended so far, by status."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return Counter(
        {
            sample.labels["status"]: int(sample.value)
            for family in families
            for sample in family.samples
            if sample.name == "blurline_http_requests_total" and sample.labels["route"] == "/upload"
        }
    )


def hang_up_halfway(client: httpx.Client, picture: bytes) -> Counter[str]:
    """Send all but the end of an upload, go away, and say how the service counted that."""
    before, body = answers_of_upload(client), part(picture)
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {MULTIPART['Content-Type']}\r\n\r\n"
    address = (client.base_url.host, client.base_url.port)
    with contextlib.closing(socket.create_connection(address)) as caller:
        caller.sendall(head.encode() + body[:-10])
    counted: Counter[str] = eventually(
        lambda: answers_of_upload(client) - before, "the request has come to its end"
    )
    return counted


def test_a_caller_that_hangs_up_halfway_leaves_nothing(taking: Taking, small_jpeg: bytes) -> None:
    before = taking.holds()

    hang_up_halfway(taking.client, small_jpeg)

    assert taking.holds() == before


def test_a_caller_that_hangs_up_is_not_counted_as_an_error_of_ours(
    taking: Taking, small_jpeg: bytes
) -> None:
    counted = hang_up_halfway(taking.client, small_jpeg)

    assert not [status for status in counted if status.startswith("5")]


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
        ("nul\0l.jpg", "null.jpg"),
        ("bell\a\x7f\x85.jpg", "bell.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("\u2067a\u2069\u200f\u061c.jpg", "a.jpg"),
        ("line\u2028.jpg", "line.jpg"),
    ],
)
def test_a_file_name_comes_back_harmless(
    taking: Taking, small_jpeg: bytes, sent: str, shown: str
) -> None:
    # Written by hand: a client's library would escape some of these.
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="'.encode()
    body = head + sent.encode() + part(small_jpeg).partition(b"photo.jpg")[2]

    answer = taking.client.post("/upload", content=body, headers=MULTIPART)

    assert answer.status_code == 202, answer.text
    assert answer.json()["filename"] == shown


def test_a_file_name_of_4_kb_is_cut(taking: Taking, small_jpeg: bytes) -> None:
    answer = send(taking.client, small_jpeg, "x" * 4096 + ".jpg")

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
    refusing: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = refusing.request(method, path)

    assert refusal(answer) == (status, code)
    assert status != 405 or answer.headers["Allow"]
