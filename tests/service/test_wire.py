"""What comes beside the body of a request is counted, and a refused connection ends."""

import os
import socket
import threading
import time
from typing import Any

import httpx
import psutil
import pytest
import uvicorn

from blurline.api import protocol, wire
from tests.callers import House
from tests.parts import Taking, eventually
from tests.sockets import (
    connection,
    first_answer,
    head,
    heard,
    refusals,
    said_to,
    sent_before_the_end,
    statuses,
)

FORM = "Content-Type: multipart/form-data; boundary=a"
CHUNKED = "Transfer-Encoding: chunked"
UPLOAD = head("POST /upload", FORM, CHUNKED)
ASK = head("GET /nowhere")
MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param([b"0\r\n", b"A: " + b"a" * 9000 + b"\r\n"], id="trailers"),
        pytest.param([b"0\r\nA: ", b"a" * 9000], id="one trailer"),
        pytest.param([b"1;", b"x" * 9000], id="an extension of a chunk"),
        pytest.param([b"", b"0" * 9000], id="the size of a chunk"),
        pytest.param([b"", b"1\r\na\r\n" * 1500], id="tiny chunks"),
        pytest.param([b"", b"1;" + b"x" * 90 + b"\r\na\r\n"], id="extensions of tiny chunks"),
    ],
)
def test_what_is_beside_the_body_of_a_request_has_an_end(
    refusing: httpx.Client, endless: list[bytes]
) -> None:
    start, piece = endless
    said = said_to(refusing, UPLOAD + start, piece * (MEGABYTE // len(piece)))
    assert refusals(said) == [(400, "bad_request")]
    assert b"connection: close" in said.lower()


def test_endless_trailers_of_a_caller_without_credentials_take_no_memory(house: House) -> None:
    process, piece = psutil.Process(), (b"A: " + b"a" * 8187 + b"\r\n") * 32
    with connection(house.client) as caller:
        caller.sendall(UPLOAD + b"0\r\n")
        before = process.memory_info().rss
        sent = sent_before_the_end(caller, piece, 64 * MEGABYTE)
        grown = process.memory_info().rss - before
    assert sent < 40 * MEGABYTE, "the connection has ended"
    assert grown < 50 * MEGABYTE


def test_an_upload_in_chunks_with_an_extension_and_a_trailer_is_taken(
    taking: Taking, small_jpeg: bytes
) -> None:
    form = b'--a\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = form + small_jpeg + b"\r\n--a--\r\n"
    first, rest = body[:64], body[64:]
    chunks = b"40;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nA: b\r\n\r\n" % (first, len(rest), rest)
    said = said_to(taking.client, head("POST /upload", FORM, CHUNKED, "Connection: close"), chunks)
    assert statuses(said) == [202]


def test_a_trailer_is_no_header(house: House) -> None:
    token = house.keys["alice"]
    said = said_to(
        house.client,
        head("GET /stats", CHUNKED, "Connection: close")
        + b"0\r\nAuthorization: Bearer "
        + token.encode()
        + b"\r\n\r\n",
    )
    assert refusals(said) == [(401, "unauthorized")]


@pytest.mark.parametrize(
    ("request_head", "refusal"),
    [
        (head("POST /upload", FORM, "Content-Length: 50000000"), (401, "unauthorized")),
        (head("POST /upload", FORM, CHUNKED), (401, "unauthorized")),
        (head("GET /stats", "Content-Length: 50000000"), (401, "unauthorized")),
        (head("POST /nowhere", "Content-Length: 50000000"), (404, "not_found")),
        (head("PUT /upload", CHUNKED), (405, "method_not_allowed")),
        (head("DELETE /upload", "Content-Length: x"), (400, "bad_request")),
        (head("POST /upload", "Expect: 100-continue", CHUNKED), (401, "unauthorized")),
    ],
)
def test_a_connection_does_not_outlive_a_refusal_whose_body_nobody_read(
    house: House, request_head: bytes, refusal: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LINGER_BYTES", MEGABYTE)
    with connection(house.client) as caller:
        caller.sendall(request_head)
        said = heard(caller)
        assert refusals(said) == [refusal]
        assert b"connection: close" in said.lower()
        assert sent_before_the_end(caller, bytes(65_536), 64 * MEGABYTE) < 64 * MEGABYTE


def test_a_refused_sender_that_dribbles_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LINGER_SECONDS", 0.2)
    with connection(house.client) as caller:
        caller.sendall(head("POST /upload", FORM, "Content-Length: 50000000"))
        assert statuses(heard(caller)) == [401]
        with pytest.raises(ConnectionError):
            for _ in range(600):
                caller.sendall(b"a")
                time.sleep(0.05)


@pytest.mark.parametrize("size", [protocol.MAX_HEAD_BYTES, protocol.MAX_HEAD_BYTES + 1, 70_000])
@pytest.mark.parametrize("further", [False, True])
def test_the_bound_of_a_head_is_exact(taking: Taking, size: int, further: bool) -> None:
    empty = head("GET /nowhere", "Connection: close", "X: ")
    large = head("GET /nowhere", "Connection: close", "X: " + "a" * (size - len(empty)))
    assert len(large) == size
    fits = size <= protocol.MAX_HEAD_BYTES
    with connection(taking.client) as caller:
        if further:
            caller.sendall(ASK)
            assert statuses(first_answer(caller)) == [404]
        sent_before_the_end(caller, large, 1)
        assert statuses(heard(caller)) == [404 if fits else 431]


@pytest.mark.parametrize(
    ("sent", "refused"),
    [
        pytest.param(b"\r\n" * MEGABYTE, (431, "head_too_large"), id="empty lines"),
        pytest.param(bytes(100), (400, "bad_request"), id="garbage"),
        pytest.param(ASK[:-2] + b"a:b\r\n" * 300 + b"\r\n", (431, "head_too_large"), id="headers"),
    ],
)
def test_bytes_before_and_between_requests_are_counted(
    refusing: httpx.Client, sent: bytes, refused: tuple[int, str]
) -> None:
    assert refusals(said_to(refusing, sent)) == [refused]
    with connection(refusing) as caller:
        caller.sendall(ASK)
        assert refusals(first_answer(caller)) == [(404, "not_found")]
        sent_before_the_end(caller, sent, 1)
        assert refusals(heard(caller)) == [refused]


def test_a_few_empty_lines_before_a_request_are_borne(taking: Taking) -> None:
    ask = head("GET /nowhere", "Connection: close")
    assert statuses(said_to(taking.client, b"\r\n\r\n" + ask)) == [404]


def test_requests_that_come_at_once_are_answered_one_by_one(taking: Taking) -> None:
    ask = head("GET /nowhere", "X-Request-ID: one") + head("GET /openapi.json")
    said = said_to(taking.client, ask[:70], ask[70:] + head("PUT /docs", "Connection: close"))
    assert statuses(said) == [404, 200, 405]


def test_many_requests_that_come_at_once_take_no_memory(taking: Taking) -> None:
    """Each parsed request takes a hundred times what it came in."""
    said = said_to(taking.client, ASK * 20_000)
    assert len(statuses(said)) < 20_000
    assert set(statuses(said)) == {404}


H = b"Host: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/0.9\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/2.0\r\n" + H + b"\r\n", id="HTTP/2.0"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="preface of HTTP/2"),
        pytest.param(b"GET /stats HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /stats HTTP/1.1\r\n" + H + H + b"\r\n", id="two hosts"),
        pytest.param(b"GET /stats HTTP/1.0\r\n" + H + H + b"\r\n", id="two hosts in 1.0"),
        pytest.param(b"GET /stats HTTP/1.1\r\nHost: a b\r\n\r\n", id="a host with a space"),
        pytest.param(b"GET /stats HTTP/1.1\r\nHost: a@b\r\n\r\n", id="a host with a user"),
        pytest.param(b"GET /stats HTTP/1.1\r\nHost: a/b\r\n\r\n", id="a host with a path"),
        pytest.param(
            b"GET http://a/stats HTTP/1.1\r\n" + H + b"\r\n", id="another host in the line"
        ),
        pytest.param(b"GET /stats HTTP/1.1\n" + H + b"\n", id="bare line feeds"),
        pytest.param(b"GET /stats HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n", id="a folded line"),
        pytest.param(b"GET /stats HTTP/1.1\r\n" + H + b"X : a\r\n\r\n", id="space before a colon"),
        pytest.param(b"GET /stats HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n", id="a zero byte"),
        pytest.param(b"CONNECT a:80 HTTP/1.1\r\n" + H + b"\r\n", id="CONNECT"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(
    refusing: httpx.Client, sent: bytes
) -> None:
    assert refusals(said_to(refusing, sent)) == [(400, "bad_request")]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n",
        b"Content-Length: 0, 0\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
    ],
)
def test_no_second_request_is_smuggled_in_the_first(refusing: httpx.Client, headers: bytes) -> None:
    start = b"DELETE /jobs/x HTTP/1.1\r\n" + H + headers + b"\r\n"
    assert refusals(said_to(refusing, start + b"0\r\n\r\n" + ASK)) == [(400, "bad_request")]


def test_chunks_belong_to_http_1_1(refusing: httpx.Client) -> None:
    sent = b"POST /upload HTTP/1.0\r\n" + CHUNKED.encode() + b"\r\n\r\n0\r\n\r\n"
    assert refusals(said_to(refusing, sent)) == [(400, "bad_request")]


def test_an_old_client_needs_no_host(taking: Taking) -> None:
    assert statuses(said_to(taking.client, b"GET /openapi.json HTTP/1.0\r\n\r\n")) == [200]


def test_an_upgrade_is_answered_as_if_it_had_not_been_offered(taking: Taking) -> None:
    offer = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    said = said_to(taking.client, head("GET /nowhere", *offer, key), bytes([0x81, 0x85]) + bytes(9))
    assert refusals(said) == [(404, "not_found"), (400, "bad_request")]


def test_a_sender_that_asks_first_is_told_to_go_on(taking: Taking) -> None:
    with connection(taking.client) as caller:
        caller.sendall(head("POST /upload", FORM, "Expect: 100-continue", "Content-Length: 7"))
        assert caller.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"--a--\r\n")
        caller.shutdown(socket.SHUT_WR)


async def _says_hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_answers_are_sent_at_once_also_on_a_socket_that_was_handed_over(
    by_descriptor: bool,
) -> None:
    """Else the body of an answer waits until its head was acknowledged, which takes 40 ms."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno() if by_descriptor else None
        config = uvicorn.Config(
            _says_hello, fd=fd, http=protocol.GuardedProtocol, lifespan="off", log_level="warning"
        )
        server = uvicorn.Server(config)
        sockets = None if by_descriptor else [listener.dup()]
        thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
        thread.start()
        try:
            eventually(lambda: server.started, "it listens")
            with socket.create_connection(listener.getsockname()) as caller:
                caller.sendall(ASK)
                assert statuses(caller.recv(1000)) == [200]
                (accepted,) = (
                    known.fd
                    for known in psutil.Process().net_connections("tcp")
                    if known.raddr == caller.getsockname()
                )
                with socket.socket(fileno=os.dup(accepted)) as ours:
                    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            server.should_exit = True
            thread.join()
