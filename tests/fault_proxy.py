"""A connection that fails on demand: a TCP proxy on loopback between the service and its parts."""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

PIECE = 65_536
TICK_SECONDS = 0.02

SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s"
)
SLOW_DOWN_BODY = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>slower</Message></Error>'
)

Address = tuple[str, int] | str
"""A host and a port, or the path of a Unix socket."""


@dataclass
class HttpFault:
    """What happens to the next `left` requests of these methods (all if none are named).

    `slow_down` answers 503 in the server's place; `lose_answer` has the server do it and resets the
    connection before the sender hears of that; `no_answer` swallows the request.
    """

    act: Literal["slow_down", "lose_answer", "no_answer"]
    left: int
    methods: tuple[str, ...] = ()


class Proxy:
    """Passes bytes on to `upstream` until it is told otherwise; `injected` counts what it did.

    With `http` it looks at requests, one after the other on a connection, as S3's clients send
    them; answers it passes on unread.
    """

    def __init__(self, upstream: Address, *, http: bool = False) -> None:
        self.injected: Counter[str] = Counter()
        self._upstream = upstream
        self._http = http
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._faults: list[HttpFault] = []
        self._delay = self._stalled_until = 0.0
        self._refusing = False
        self._cut_after: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Be gone, with all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_all()

    def heal(self) -> None:
        """Pass on everything from now on."""
        with self._lock:
            self._faults.clear()
            self._delay = self._stalled_until = 0.0
            self._refusing, self._cut_after = False, None

    def delay(self, seconds: float) -> None:
        """Pass each piece on so much later."""
        self.injected["delay"] += 1
        self._delay = seconds

    def stall(self, seconds: float) -> None:
        """Pass nothing on for so long, and lose nothing."""
        self.injected["stall"] += 1
        self._stalled_until = time.monotonic() + seconds

    def refuse(self) -> None:
        """Reset what is open, and every new connection."""
        self.injected["refuse"] += 1
        self._refusing = True
        self._end_all()

    def reset(self) -> None:
        """Reset what is open now."""
        self.injected["reset"] += 1
        self._end_all()

    def cut(self, after: int) -> None:
        """Reset the next connection that has sent so many bytes upstream, in the midst of them."""
        self._cut_after = after

    def on_requests(self, fault: HttpFault) -> None:
        """Have that happen to the next requests."""
        assert self._http
        with self._lock:
            self._faults.append(fault)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _reset(client)
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = _connected(self._upstream)
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._open |= {client, server}
        link = _Link(self, client, server)
        back = threading.Thread(target=link.pump_back, daemon=True)
        back.start()
        try:
            link.pump_requests() if self._http else link.pump_forth()
        except OSError:
            pass
        finally:
            link.end()
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _end_all(self) -> None:
        with self._lock:
            sockets = list(self._open)
        for one in sockets:
            _reset(one)

    def _pass_on(self, target: socket.socket, data: bytes) -> None:
        if self._delay:
            time.sleep(self._delay)
        while time.monotonic() < self._stalled_until:
            time.sleep(TICK_SECONDS)
        target.sendall(data)

    def _cut(self, sent: int, data: bytes) -> bytes | None:
        """What of the data still goes through before the cut; None if there is no cut in it."""
        with self._lock:
            if self._cut_after is None or sent + len(data) <= self._cut_after:
                return None
            left, self._cut_after = data[: self._cut_after - sent], None
            self.injected["cut"] += 1
            return left

    def _fault_for(self, method: str) -> str | None:
        with self._lock:
            for fault in self._faults:
                if fault.left and (not fault.methods or method in fault.methods):
                    fault.left -= 1
                    self.injected[fault.act] += 1
                    return fault.act
        return None


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._sent = 0
        self._answer_lost = False

    def end(self) -> None:
        for one in (self._client, self._server):
            _reset(one)

    def pump_forth(self) -> None:
        while data := self._client.recv(PIECE):
            self._forward(data)

    def pump_back(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(PIECE):
                if self._answer_lost:
                    break
                self._proxy._pass_on(self._client, data)
        self.end()

    def pump_requests(self) -> None:
        for method, pieces in _requests(self._client):
            match self._proxy._fault_for(method):
                case None:
                    for piece in pieces:
                        self._forward(piece)
                case "lose_answer":
                    self._answer_lost = True
                    for piece in pieces:
                        self._forward(piece)
                case "slow_down":
                    for _ in pieces:
                        pass
                    answer = SLOW_DOWN % (len(SLOW_DOWN_BODY), SLOW_DOWN_BODY)
                    self._proxy._pass_on(self._client, answer)
                case "no_answer":
                    for _ in pieces:
                        pass

    def _forward(self, data: bytes) -> None:
        left = self._proxy._cut(self._sent, data)
        if left is not None:
            self._proxy._pass_on(self._server, left)
            raise ConnectionResetError
        self._proxy._pass_on(self._server, data)
        self._sent += len(data)


def _requests(client: socket.socket) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The method of each request, and its pieces, which have to be read before the next one."""
    rest = b""
    while True:
        while b"\r\n\r\n" not in rest:
            data = client.recv(PIECE)
            if not data:
                return
            rest += data
        head, _, rest = rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in map(_split, lines[1:])}
        assert "transfer-encoding" not in headers, "S3's clients tell the length beforehand"
        body = _Body(client, rest, int(headers.get("content-length", 0)))
        yield lines[0].split(" ")[0], body.pieces(head + b"\r\n\r\n")
        rest = body.rest


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


class _Body:
    """The bytes of one request's body, and those that came behind it."""

    def __init__(self, client: socket.socket, begun: bytes, length: int) -> None:
        self._client = client
        self._length = length
        self._begun, self.rest = begun[:length], begun[length:]

    def pieces(self, head: bytes) -> Iterator[bytes]:
        yield head
        left = self._length - len(self._begun)
        if self._begun:
            yield self._begun
        while left:
            data = self._client.recv(min(left, PIECE))
            if not data:
                raise ConnectionResetError
            left -= len(data)
            yield data


def _connected(address: Address) -> socket.socket:
    if isinstance(address, str):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(address)
        except OSError:
            server.close()
            raise
        return server
    return socket.create_connection(address)


def _reset(one: socket.socket) -> None:
    """End the connection with a RST where there is one, and whoever waits on it here."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)
    one.close()
