"""Hostile requests on a real socket: slow, huge, torn and wrong ones.

Names carry the requirement of OWASP ASVS 5.0 that a test shows.
"""

import contextlib
import gzip
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from blurline.api import forms, protocol
from blurline.settings import load_settings
from tests.hostile import NAMES
from tests.parts import (
    PATIENCE,
    ROOT,
    Start,
    Taking,
    ValkeyServer,
    eventually,
    files_below,
    refusal,
    serving,
    settings_for,
)

BOUNDARY = b"a-boundary"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=a-boundary"}
END = b"--a-boundary--\r\n"


def part(
    content: bytes, head: bytes = b"", field: bytes = b"file", name: bytes = b"a.jpg"
) -> bytes:
    """One part of a form, without the form's end."""
    start = b'--a-boundary\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n'
    return start % (field, name) + head + b"\r\n" + content + b"\r\n"


def option(field: bytes, text: bytes) -> bytes:
    start = b'--a-boundary\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
    return start % field + text + b"\r\n"


def post(client: httpx.Client, body: bytes, path: str = "/upload", **headers: str) -> Any:
    fresh = {"Idempotency-Key": uuid4().hex}
    return client.post(path, content=body, headers={**MULTIPART, **fresh, **headers})


@contextlib.contextmanager
def connection(client: httpx.Client) -> Iterator[socket.socket]:
    """A bare connection to the service."""
    address = (client.base_url.host, client.base_url.port)
    with contextlib.closing(socket.create_connection(address, PATIENCE)) as caller:
        yield caller


def head_of(length: int, path: str = "/upload") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
    lines.append(f"Content-Type: {MULTIPART['Content-Type']}")
    return "\r\n".join([*lines, "", ""]).encode()


def answer_on(caller: socket.socket) -> bytes:
    """What the service says before it hangs up or falls silent after its answer."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := caller.recv(65_536):
            answer += piece
            if b"\r\n\r\n" in answer and answer.endswith(b"}"):
                break
    return answer


def is_alive(client: httpx.Client) -> bool:
    return client.get("/openapi.json").status_code == 200


def test_v5_1_1_the_limits_of_uploads_are_documented() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    for name in (
        "MAX_IMAGE_BYTES",
        "MAX_IMAGE_PIXELS",
        "MAX_IMAGE_SIDE",
        "MAX_METADATA_BYTES",
        "MAX_JPEG_SCANS",
        "MAX_BATCH_FILES",
        "MAX_BATCH_BYTES",
        "MAX_SPOOL_BYTES",
        "MAX_FORM_FIELDS",
        "MAX_PART_HEAD_BYTES",
        "MAX_FILENAME_LENGTH",
        "UPLOAD_TIMEOUT",
    ):
        assert f"| `{name}` |" in page
    kinds = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF")
    assert all(kind in (ROOT / "README.md").read_text() for kind in kinds)


@pytest.mark.parametrize("shown", NAMES)
def test_v5_3_2_a_file_name_is_shown_and_never_a_path(
    taking: Taking, small_jpeg: bytes, shown: str
) -> None:
    before, _ = taking.holds()
    name = shown.encode().replace(b'"', b"%22")
    answer = post(taking.client, part(small_jpeg, name=name) + END)
    assert answer.status_code == 202, answer.text
    assert answer.json()["filename"] == NAMES[shown]
    stored = set(taking.holds()[0]) - set(before)
    assert stored
    for path in stored:
        assert answer.json()["job_id"] in path.name


def test_v5_2_1_a_form_of_too_many_parts_is_refused(refusing: httpx.Client) -> None:
    for parts in (option(b"style", b"") * 10_000, part(b"x") * 10_000):
        answer = post(refusing, parts + END)
        assert refusal(answer) in [(413, "too_many_files"), (413, "too_many_bytes")]


def test_as_many_fields_as_allowed_are_read(taking: Taking, small_jpeg: bytes) -> None:
    most = load_settings().max_form_fields
    good = part(small_jpeg) + option(b"style", b"") * most
    assert post(taking.client, good + END).status_code == 202
    more = good + option(b"style", b"")
    assert refusal(post(taking.client, more + END)) == (413, "too_many_files")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X-A: " + b"a" * 100_000 + b"\r\n", id="a long line"),
        pytest.param(b"X-A: a\r\n" * 10_000, id="many lines"),
        pytest.param(b"a" * 100_000 + b": a\r\n", id="a long name"),
        pytest.param(b"X-A: " + b"a" * 5000 + b"\r\nX-B: " + b"b" * 5000 + b"\r\n", id="two lines"),
    ],
)
def test_v5_2_1_a_huge_head_of_a_part_is_refused(refusing: httpx.Client, head: bytes) -> None:
    assert refusal(post(refusing, part(b"x", head) + END)) == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(part(b"x").replace(BOUNDARY, b"another") + END, id="another boundary"),
        pytest.param(part(b"x") + b"--a-boundary-\r\n", id="torn end"),
        pytest.param(b"\0" * 10_000, id="zeros"),
        pytest.param(b"\r\n" * 10_000, id="empty lines"),
        pytest.param(b"--" * 10_000, id="dashes"),
        pytest.param(part(b"x", field=b'a"; name="b') + END, id="two names"),
        pytest.param(
            b"--a-boundary\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END, id="bare"
        ),
    ],
)
def test_a_torn_form_is_refused(refusing: httpx.Client, body: bytes) -> None:
    status, _ = refusal(post(refusing, body))
    assert status in (400, 422)


def test_a_field_that_comes_twice_is_not_half_heard(taking: Taking, small_jpeg: bytes) -> None:
    twice = option(b"style", b"solid") + option(b"style", b"mosaic")
    assert refusal(post(taking.client, part(small_jpeg) + twice + END)) == (422, "bad_option")
    files = part(small_jpeg) * 2
    assert refusal(post(taking.client, files + END)) == (413, "too_many_files")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity"])
def test_v5_2_3_a_compressed_request_is_refused(
    refusing: httpx.Client, small_jpeg: bytes, coding: str
) -> None:
    body = gzip.compress(part(small_jpeg) + END)
    answer = post(refusing, body, **{"Content-Encoding": coding})
    assert refusal(answer) == (400, "bad_request")


def test_v5_2_1_a_sender_that_announces_less_than_it_sends_gains_nothing(
    refusing: httpx.Client, small_jpeg: bytes
) -> None:
    body = part(small_jpeg) + END
    with connection(refusing) as caller:
        caller.sendall(head_of(100) + body)
        assert answer_on(caller).startswith(b"HTTP/1.1 4")
    assert is_alive(refusing)


@pytest.mark.parametrize("sent", [b"", b"PO", b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_sender_that_does_not_finish_its_head_is_left(
    taking: Taking, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with connection(taking.client) as caller:
        caller.sendall(sent)
        assert answer_on(caller) == b""
    assert is_alive(taking.client)


@pytest.mark.parametrize(
    "endless", [b"GET /" + b"a" * 400_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 400_000]
)
def test_a_head_without_end_is_not_kept(taking: Taking, endless: bytes) -> None:
    with connection(taking.client) as caller:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                caller.sendall(endless[:65_536])
                endless = endless[65_536:] or b"a" * 65_536
        answer = answer_on(caller)
        assert answer == b"" or b" 431 " in answer or b" 400 " in answer
    assert is_alive(taking.client)


def test_a_further_request_on_a_connection_has_its_own_time(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connection(taking.client) as caller:
        for _ in range(3):
            caller.sendall(request)
            assert answer_on(caller).startswith(b"HTTP/1.1 200")
            time.sleep(0.2)
        caller.sendall(request[:10])
        assert answer_on(caller) == b""


def test_a_slow_sender_is_cut_off(idle_client: Start, tmp_path: Path) -> None:
    client = idle_client(upload_timeout=0.3)
    with connection(client) as caller:
        caller.sendall(head_of(10_000) + part(b"x")[:40])
        assert b" 400 " in answer_on(caller)
        assert caller.recv(100) == b""
    assert files_below(tmp_path / "store") == []
    assert is_alive(client)


def test_slow_senders_do_not_keep_others_waiting(taking: Taking, small_jpeg: bytes) -> None:
    with contextlib.ExitStack() as callers:
        for _ in range(100):
            caller = callers.enter_context(connection(taking.client))
            caller.sendall(head_of(10_000) + part(b"x")[:40])
        assert post(taking.client, part(small_jpeg) + END).status_code == 202


def test_senders_that_hang_up_leave_nothing(idle_client: Start, tmp_path: Path) -> None:
    client = idle_client(max_spool_bytes=3_000_000)
    for size in (0, 50, 200, 100_000, 2_500_000):
        with connection(client) as caller:
            caller.sendall(head_of(10_000_000) + (part(bytes(2_500_000)))[:size])
    body = part(bytes(2_800_000)) + END
    # The spool is free again, or this would be answered 503.
    eventually(lambda: refusal(post(client, body)) == (400, "not_an_image"), "the spool is free")
    assert files_below(tmp_path / "store") == []


def test_v5_2_1_uploads_beyond_the_spool_are_answered_503(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client(max_spool_bytes=3_000_000)
    body = part(bytes(700_000)) + END

    def is_busy() -> bool:
        answer = post(client, body)
        busy = refusal(answer) == (503, "busy")
        assert not busy or int(answer.headers["Retry-After"]) >= 1
        return busy

    with contextlib.ExitStack() as uploads:

        def is_filled() -> bool:
            uploads.close()  # one that met with our own question may have been refused itself
            caller = uploads.enter_context(connection(client))
            caller.sendall(head_of(10_000_000) + part(bytes(2_500_000)))
            time.sleep(0.2)
            return is_busy()

        eventually(is_filled, "the spool is full")
        assert post(client, part(small_jpeg) + END).status_code == 202
    eventually(lambda: not is_busy(), "the spool is free again")


def test_a_batch_of_many_files_takes_no_descriptor_for_each(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client()
    before = psutil.Process().num_fds()
    most = 0
    body = b"".join(part(small_jpeg, field=b"files") for _ in range(300)) + END
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, client, body, "/batch-upload")
        while not answer.done():
            most = max(most, psutil.Process().num_fds())
    assert answer.result().json()["submitted"] == 300
    assert most - before < 100


def test_pictures_in_memory_wait_for_each_other(
    shared_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    # Room for the pictures of four requests of this size, and eight times as many of them.
    size = len(small_jpeg) + 1
    settings = settings_for(shared_valkey.url, tmp_path, queue_name="waiting", max_image_bytes=size)
    assert forms.PICTURES_IN_MEMORY == 4
    with serving(settings) as client, ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda _: post(client, part(small_jpeg) + END).status_code, range(32))
        assert set(answers) == {202}
