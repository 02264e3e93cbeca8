"""uvicorn's protocol with bounds for all bytes of a request that are not its body.

`uvicorn --http blurline.api.protocol:GuardedProtocol` uses it. Bodies have their bounds where they
are read, in `forms`; answers that nobody reads have theirs in `wire`.

The parser, llhttp without its leniencies, refuses by itself what proxies and servers may read in
different ways: two lengths, a length and chunks, bare line feeds, folded lines, spaces before
colons, control characters.
"""

import asyncio
import re
from enum import Enum, auto
from typing import Any
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from blurline import metrics
from blurline.api.envelope import stamp
from blurline.api.errors import RequestError, error_response
from blurline.api.wire import Wire

MAX_HEAD_BYTES = 65_536
"""Of request line and headers, with empty lines before them and the one behind them."""

MAX_HEADERS = 256
HEAD_SECONDS = 30.0
"""In which the head of a request has to be there, from the connection or its first byte on."""

MAX_FRAMING_BYTES = 65_536
FRAMING_SHARE = 4
"""Sizes and extensions of chunks, and trailers, may take the bytes, and this part of the body."""

END = b"\r\n\r\n"
HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Za-z:.%]+\])?(:[0-9]{0,5})?")
"""RFC 9112, 3.2, and RFC 3986, 3.2.2; empty where a URI has no authority."""


class _Stage(Enum):
    """How much of a request is there. `LAST`: all of it, and nothing more will be read."""

    HEAD = auto()
    BODY = auto()
    WHOLE = auto()
    LAST = auto()


class _AnotherRequestError(Exception):
    """A request begins in bytes that were read as the body of the one before."""


class GuardedProtocol(HttpToolsProtocol):
    """Reads one request at a time, and hangs up on senders whose heads or chunks have no end.

    A connection is kept only behind a request that was read to its end.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wire: Wire
        self._stage = _Stage.HEAD
        self._beside = self._body = 0
        """Bytes of this request, or of its head while it is read: beside the body, and of it."""
        self._tail = self._held = b""
        self._stays = False
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A head is awaited."""
        self._wire = Wire(transport, self.loop)
        super().connection_made(self._wire)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._head_is_there()
        self._wire.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read it as far as it belongs to the request whose turn it is."""
        if self._wire.is_closing():
            self._wire.drop(len(data))
            return
        self._unset_keepalive_if_required()
        self._read(self._held + data if self._held else data)

    def on_message_begin(self) -> None:
        """A request begins; not within the bytes of another one, which can't be held back."""
        if self._stage is not _Stage.HEAD:
            raise _AnotherRequestError
        super().on_message_begin()
        self._wire.owed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the head; trailers are forgotten (RFC 9110, 6.5.1)."""
        if self._stage is not _Stage.HEAD:
            return
        if len(self.headers) >= MAX_HEADERS:
            raise RequestError(
                f"a request has at most {MAX_HEADERS} headers", code="head_too_large"
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole. Until the body is, an answer is the last one on this connection."""
        self._check_head()
        self._head_is_there()
        super().on_headers_complete()
        self._stage = _Stage.BODY
        self._beside = self._body = 0
        self._stays, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        """Bytes that are counted where they are read."""
        self._beside -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stage = _Stage.WHOLE
        self._wire.owed = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._stays
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request may come, or has come already."""
        super().on_response_complete()
        if self._stage is _Stage.WHOLE and not self._wire.is_closing():
            self._stage, self._beside, self._tail = _Stage.HEAD, 0, b""
            if self._held:
                self.loop.call_soon(self.data_received, b"")

    def pause_writing(self) -> None:
        """The reader is slower than we are."""
        super().pause_writing()
        self._wire.watch()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._wire.unwatch()

    def shutdown(self) -> None:
        """The answer that is under way is the last one."""
        self._stays = False
        super().shutdown()

    def _read(self, data: bytes) -> None:
        """Feed the parser, and hold back what belongs to the next request."""
        at = 0
        while at < len(data) and self._stage in (_Stage.HEAD, _Stage.BODY):
            end = self._end_of_head(data, at) if self._stage is _Stage.HEAD else len(data)
            self._feed(data[at:end])
            if self._wire.is_closing():
                self._held = b""
                return
            at = end
        self._held = data[at:] if self._stage is _Stage.WHOLE else b""
        if len(self._held) > MAX_HEAD_BYTES:
            self._end_with_this_answer()
        if at < len(data):
            self.flow.pause_reading()

    def _end_of_head(self, data: bytes, at: int) -> int:
        """Where the head ends, if it ends in these bytes and within its bound."""
        straddling = (self._tail + data[at : at + 3]).find(END) if self._tail else -1
        if straddling >= 0:
            return at + straddling + len(END) - len(self._tail)
        bound = at + MAX_HEAD_BYTES - self._beside
        found = data.find(END, at, bound)
        return found + len(END) if found >= 0 else min(bound, len(data))

    def _feed(self, piece: bytes) -> None:
        """Have the parser read a piece, and look at what it came to."""
        in_head = self._stage is _Stage.HEAD
        if in_head and self._head_due is None:
            self._await_head()
        self._tail = piece[-3:] if in_head else b""
        self._beside += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # RFC 9110, 7.8: who offers another protocol is answered in this one
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _AnotherRequestError):
                self._end_with_this_answer()
            elif isinstance(error.__context__, RequestError):
                self._refuse(error.__context__)
            else:
                self._refuse(RequestError("the request is malformed"))
            return
        if self._stage is _Stage.HEAD and self._beside >= MAX_HEAD_BYTES:
            message = f"the head of a request has at most {MAX_HEAD_BYTES} bytes"
            self._refuse(RequestError(message, code="head_too_large"))
        elif self._beside > MAX_FRAMING_BYTES + self._body // FRAMING_SHARE:
            self._refuse(RequestError("the request's chunks are too small, or its trailers large"))

    def _check_head(self) -> None:
        """Return if the head can be read in one way only.

        Raises:
            RequestError: `bad_request`.
        """
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise RequestError("speak HTTP/1.1")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise RequestError("a request names one Host")
        if not all(map(HOST.fullmatch, hosts)):
            raise RequestError("what the request names as its Host is none")
        if not self.url.startswith(b"/") and self._authority() not in (*hosts, None):
            raise RequestError("the request's line and its Host name different hosts")
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or [one.lower() for one in codings] != [b"chunked"]):
            raise RequestError("the only Transfer-Encoding is chunked, and it comes with HTTP/1.1")

    def _authority(self) -> bytes | None:
        """Host and port of a URL in absolute form (RFC 9112, 3.2.2)."""
        _, scheme, rest = self.url.partition(b"://")
        return re.split(rb"[/?#]", rest, maxsplit=1)[0] if scheme else None

    def _refuse(self, error: RequestError) -> None:
        """Answer with the error, unless another answer has begun, and hang up."""
        cycle = self.cycle
        pending = cycle is not None and not cycle.response_complete
        if pending:
            cycle.disconnected = True
            cycle.message_event.set()
        if not (pending and cycle.response_started):
            self.transport.write(_refusal(error))
        self._wire.owed = True
        self.transport.close()

    def _end_with_this_answer(self) -> None:
        """Read nothing more: a sender that hears the connection end sends the rest again."""
        self._stage, self._held = _Stage.LAST, b""
        self._wire.owed = True
        self.cycle.keep_alive = False

    def _should_upgrade_to_ws(self) -> bool:
        return False

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_there(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


def _refusal(error: RequestError) -> bytes:
    """The whole answer to a request that no route has seen."""
    error.hang_up = True
    answer = error_response(error)
    stamp(answer.headers, str(uuid4()))
    metrics.HTTP_REQUESTS.labels("any", "unmatched", str(answer.status_code)).inc()
    lines = [name + b": " + value for name, value in answer.raw_headers]
    return STATUS_LINE[answer.status_code] + b"\r\n".join([*lines, b"", bytes(answer.body)])
