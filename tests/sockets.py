"""What a caller on a bare socket sends and hears."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

from tests.parts import PATIENCE

LENGTH = re.compile(rb"content-length: (\d+)")
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n")


@contextmanager
def connection(client: httpx.Client) -> Iterator[socket.socket]:
    """A bare connection to the service."""
    address = (client.base_url.host, client.base_url.port)
    with closing(socket.create_connection(address, PATIENCE)) as caller:
        yield caller


def head(line: str, *headers: str) -> bytes:
    """Request line and headers of HTTP/1.1, to this machine."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def heard(caller: socket.socket) -> bytes:
    """All that the service says until it hangs up, in whatever way."""
    said = b""
    try:
        while piece := caller.recv(65_536):
            said += piece
    except ConnectionError:
        pass
    return said


def first_answer(caller: socket.socket) -> bytes:
    """One answer, on a connection that stays; it says its length."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += caller.recv(65_536)
    top, _, body = said.partition(b"\r\n\r\n")
    match = LENGTH.search(top.lower())
    assert match, top
    while len(body) < int(match[1]):
        body += caller.recv(65_536)
    return top + b"\r\n\r\n" + body


def said_to(client: httpx.Client, *pieces: bytes) -> bytes:
    """What the service says to someone who sends this, until it hangs up."""
    with connection(client) as caller:
        try:
            for piece in pieces:
                caller.sendall(piece)
        except ConnectionError:
            pass
        return heard(caller)


def statuses(said: bytes) -> list[int]:
    """Of all answers."""
    return [int(status) for status in ANSWER.findall(said)]


def refusals(said: bytes) -> list[tuple[int, str]]:
    """Status and code of all answers, which must be errors of the one shape and nothing else."""
    found = []
    while said:
        top, _, rest = said.partition(b"\r\n\r\n")
        match = LENGTH.search(top.lower())
        assert match, top
        content: Any = json.loads(rest[: int(match[1])])
        assert set(content) == {"error"}
        assert set(content["error"]) == {"code", "message"}
        found.append((statuses(top + b"\r\n")[0], content["error"]["code"]))
        said = rest[int(match[1]) :]
    return found


def sent_before_the_end(caller: socket.socket, piece: bytes, most: int) -> int:
    """Bytes that go out before the service has ended the connection, or `most`."""
    sent = 0
    try:
        while sent < most:
            caller.sendall(piece)
            sent += len(piece)
    except ConnectionError:
        pass
    return sent
