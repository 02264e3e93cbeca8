"""The proxy that the other fault tests break connections with does what it is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.fault_proxy import HttpFault, Proxy
from tests.parts import eventually

BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)


class Echo(BaseHTTPRequestHandler):
    """Keeps what is put, and gives it back."""

    protocol_version = "HTTP/1.1"
    kept = b""

    def do_PUT(self) -> None:
        type(self).kept = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.kept)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before a server of HTTP that keeps one object."""
    Echo.kept = b""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server, ExitStack() as cleanup:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        cleanup.callback(thread.join)
        cleanup.callback(server.shutdown)
        proxy = Proxy(("127.0.0.1", server.server_address[1]), http=True)
        cleanup.callback(proxy.close)
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}", timeout=2) as client:
        yield client


def test_it_passes_everything_on(client: httpx.Client) -> None:
    content = bytes(range(256)) * 4000
    for _ in range(3):
        assert client.put("/", content=content).status_code == 200
        assert client.get("/").content == content


def test_it_answers_503_so_many_times_and_only_to_what_it_is_told(
    proxy: Proxy, client: httpx.Client
) -> None:
    proxy.on_requests(HttpFault("slow_down", 2, ("PUT",)))
    assert client.get("/").status_code == 200
    answers = [client.put("/", content=b"a" * 100_000) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert b"SlowDown" in answers[0].content
    assert proxy.injected == {"slow_down": 2}


def test_it_loses_the_answer_to_what_was_done(proxy: Proxy, client: httpx.Client) -> None:
    proxy.on_requests(HttpFault("lose_answer", 1, ("PUT",)))
    with pytest.raises(BROKEN):
        client.put("/", content=b"written")
    assert client.get("/").content == b"written"


def test_it_swallows_a_request(proxy: Proxy, client: httpx.Client) -> None:
    proxy.on_requests(HttpFault("no_answer", 1))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/", timeout=0.2)
    assert client.get("/").status_code == 200


def test_it_cuts_a_connection_in_the_midst(proxy: Proxy, client: httpx.Client) -> None:
    proxy.cut(after=50_000)
    with pytest.raises(BROKEN):
        client.put("/", content=bytes(200_000))
    assert Echo.kept == b""
    assert client.put("/", content=b"whole").status_code == 200
    assert proxy.injected == {"cut": 1}


def test_it_resets_refuses_and_heals(proxy: Proxy, client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as idle:
        eventually(lambda: len(proxy._open) == 2, "the connection is there")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    proxy.refuse()
    with pytest.raises(BROKEN):
        client.get("/")
    proxy.heal()
    assert client.get("/").status_code == 200


def test_it_stalls_and_loses_nothing(proxy: Proxy, client: httpx.Client) -> None:
    client.put("/", content=b"slow")
    proxy.stall(60)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/", timeout=0.2)
    proxy.heal()
    assert client.get("/").content == b"slow"
