"""Forms off the wire: what is none, what is too much, who hangs up, and what files are called."""

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.parts import (
    Taking,
    ValkeyServer,
    drawing,
    eventually,
    picture_file,
    refusal,
    send,
    serving,
    settings_for,
)

BOUNDARY = "a-boundary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PNG = picture_file(Image.fromarray(drawing()), "PNG")


def part(content: bytes, name: str = "photo.jpg", field: str = "file") -> bytes:
    """A multipart body with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"'
    return head.encode() + b"\r\n\r\n" + content + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize(
    "request_parts",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"json": {"file": "photo.jpg"}}, id="JSON"),
        pytest.param({"data": {"file": "photo.jpg"}}, id="URL-encoded form"),
        pytest.param({"content": PNG, "headers": {"Content-Type": "image/png"}}, id="bare picture"),
        pytest.param({"files": {"picture": ("a.png", PNG)}}, id="other field"),
        pytest.param({"files": {"files": ("a.png", PNG)}}, id="the batch's field"),
        pytest.param({"data": {"file": "text"}, "files": {"other": ("a.png", PNG)}}, id="text"),
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
    head = f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
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


def option(field: str, text: str) -> bytes:
    """A text field, to stand before a `part`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"'
    return head.encode() + b"\r\n\r\n" + text.encode() + b"\r\n"


LARGEST_ZONES = json.dumps(
    [[[x / 100 + 0.00123456789012345, 0.12345678901234567] for x in range(100)]] * 20
)


def test_the_largest_zones_are_taken(taking: Taking, small_jpeg: bytes) -> None:
    zones = option("ignore_zones", LARGEST_ZONES) + option("redact_zones", LARGEST_ZONES)

    answer = taking.client.post("/upload", content=zones + part(small_jpeg), headers=MULTIPART)

    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("ignore_zones", "[" + "[[0,0],[1,0],[1,1]]," * 50_000),
        ("redact_zones", "[" * 200_000),
        ("threshold", "0.3," * 250_000),
        ("targets", "face," * 200_000),
        ("style", "x" * 1_000_000),
        ("callback_url", "http://example.org/" + "x" * 1_000_000),
        ("nonsense", "x" * 1_000_000),
        ("x" * 5000, "x" * 1_000_000),
    ],
)
@pytest.mark.parametrize("route", ["/upload", "/batch-upload", "/blur/"])
def test_a_long_text_is_refused_while_it_arrives(
    taking: Taking, small_jpeg: bytes, route: str, field: str, text: str
) -> None:
    before = taking.holds()

    answer = taking.client.post(
        route, content=option(field, text) + part(small_jpeg), headers=MULTIPART
    )

    assert refusal(answer) == (422, "bad_option")
    assert answer.json()["error"]["message"].endswith(" bytes")
    assert len(answer.text) < 300
    assert taking.holds() == before


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("ignore_zones", "[" + "2," * 5000 + "2]"),
        ("threshold", "0.3," * 1000),
        ("targets", "face," * 500),
    ],
)
def test_a_list_of_too_much_is_refused(
    taking: Taking, small_jpeg: bytes, field: str, text: str
) -> None:
    answer = taking.client.post(
        "/upload", content=option(field, text) + part(small_jpeg), headers=MULTIPART
    )

    assert refusal(answer) == (422, "bad_option")
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["callback_url", "ignore_zones", "redact_zones"])
def test_two_texts_do_not_pass_for_one(taking: Taking, small_jpeg: bytes, field: str) -> None:
    twice = option(field, "[]") * 2

    answer = taking.client.post("/upload", content=twice + part(small_jpeg), headers=MULTIPART)

    assert refusal(answer) == (422, "bad_option")
    assert answer.json()["error"]["message"] == f"{field} is in the form more than once"


def test_a_list_may_be_spread_over_several_fields(taking: Taking, small_jpeg: bytes) -> None:
    body = option("targets", "face") + option("targets", "license_plate") + part(small_jpeg)

    assert taking.client.post("/upload", content=body, headers=MULTIPART).status_code == 202


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (part(b"", name=""), "no file was chosen in the field file"),
        (part(b"").replace(b'; filename="photo.jpg"', b""), "no file was chosen in the field file"),
        (part(b"a.jpg").replace(b'; filename="photo.jpg"', b""), "the field file holds text"),
        (part(b"x", field="picture"), "the form has no file in a field named file"),
        (part(b"x")[:-20], "the form ends before its last boundary"),
    ],
)
def test_a_form_without_a_file_is_told_why(refusing: httpx.Client, form: bytes, said: str) -> None:
    answer = refusing.post("/upload", content=form, headers=MULTIPART)

    assert refusal(answer) == (400, "no_file")
    assert said in answer.json()["error"]["message"]


def test_an_empty_file_is_said_to_be_empty(refusing: httpx.Client) -> None:
    answer = refusing.post("/upload", content=part(b""), headers=MULTIPART)

    assert refusal(answer) == (400, "not_an_image")
    assert answer.json()["error"]["message"] == "the file is empty"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (b'filename="photo.jpg"', b"filename*=UTF-8''caf%C3%A9.jpg", "café.jpg"),
        (b'; filename="photo.jpg"', b"", "upload"),
        (b'filename="photo.jpg"', b'filename=""', "upload"),
        (b"--" + BOUNDARY.encode(), b"a preamble\r\n--" + BOUNDARY.encode(), "photo.jpg"),
        (b"form-data; ", b"form-data;\r\n\t", "photo.jpg"),
    ],
)
def test_a_form_that_a_sender_wrote_differently_is_taken(
    taking: Taking, small_jpeg: bytes, old: bytes, new: bytes, name: str
) -> None:
    body = part(small_jpeg).replace(old, new, 1)

    answer = taking.client.post("/upload", content=body, headers=MULTIPART)

    assert answer.status_code == 202, answer.text
    assert answer.json()["filename"] == name


def test_slots_that_a_browser_left_empty_are_no_files(taking: Taking, small_jpeg: bytes) -> None:
    slot = part(b"", name="").removesuffix(f"--{BOUNDARY}--\r\n".encode())
    body = slot + part(small_jpeg)
    assert taking.client.post("/upload", content=body, headers=MULTIPART).status_code == 202

    batch = body.replace(b'name="file"', b'name="files"')
    answer = taking.client.post("/batch-upload", content=batch, headers=MULTIPART)
    assert len(answer.json()["jobs"]) == 1


def test_a_form_may_name_its_charset(taking: Taking, small_jpeg: bytes) -> None:
    body = option("_charset_", "UTF-8") + part(small_jpeg)

    assert taking.client.post("/upload", content=body, headers=MULTIPART).status_code == 202
