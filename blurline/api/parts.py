"""A multipart body (RFC 2046, 5.1.1) taken apart while it arrives, in time linear in its length."""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from blurline.api.errors import RequestError

LONGEST_BOUNDARY = 256
"""Bytes; RFC 2046 allows 70."""

LONGEST_PADDING = 128
"""Blanks between a boundary and the end of its line."""

HEAD_LINES = 16
"""Header lines of a part; browsers send two."""

IDENTITIES = ("", "7bit", "8bit", "binary")
"""Transfer encodings that leave bytes as they are (RFC 2045, 6.2)."""

_LINE_END = b"\r\n"
_REST_OF_LINE = re.compile(rb"[ \t]*\r\n")
_MAY_GO_ON = re.compile(rb"-|[ \t]*\r?")
_FOLD = re.compile(rb"\r\n[ \t]+")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~\w-]+)[ \t]*:[ \t]*(.*)", re.DOTALL)
_PARAMETER = re.compile(
    rb";[ \t]*(?:([!#$%&'*+.^_`|~\w-]+)[ \t]*=[ \t]*"
    rb'(?:"((?:[^"\\]|\\.)*)"|([^;"]*))[ \t]*)?',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Head:
    """What a part says of itself; `filename` is None where it does not say that it is a file."""

    name: str
    filename: str | None
    content_type: str


class End:
    """A part ends."""


END: Final = End()

Event = Head | bytes | End
"""A part begins, goes on, ends."""

_Events = Generator[Event, None, bool]
"""What a step brings, and whether there is another one to take at once."""


class Splitter:
    """Finds the parts of a body that comes in pieces.

    What stands before the first boundary is ignored as far as it is no longer than a head may be,
    and so is all that comes behind the last one.
    """

    def __init__(self, boundary: bytes, head_bytes: int) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._head_bytes = head_bytes
        # The first boundary may stand at the very start, without a line end before it.
        self._buffer = bytearray(_LINE_END)
        self._ignored = 0
        self._in_head = self._in_part = self._ended = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """What a further piece of the body brings.

        Raises:
            RequestError: `bad_request`, the form is malformed.
        """
        self._buffer += piece
        more = True
        while more and not self._ended:
            more = yield from self._head() if self._in_head else self._content()
        if self._ended:
            self._buffer.clear()

    def finish(self) -> None:
        """Return if the body was whole.

        Raises:
            RequestError: `bad_request`, it is no form; `no_file`, it ends too early.
        """
        if self._ended:
            return
        if self._in_head or self._in_part:
            raise RequestError("the form ends before its last boundary", code="no_file")
        raise malformed()

    def _head(self) -> _Events:
        """The head that the buffer begins with, behind the end of its boundary's line."""
        end = self._buffer.find(_LINE_END * 2)
        if (end if end >= 0 else len(self._buffer) - 4) > self._head_bytes:
            raise RequestError(f"the head of a part is larger than {self._head_bytes} bytes")
        if end < 0:
            return False
        head = bytes(self._buffer[len(_LINE_END) : end])
        del self._buffer[: end + 2 * len(_LINE_END)]
        self._in_head, self._in_part = False, True
        yield parse_head(head)
        return True

    def _content(self) -> _Events:
        """What there is of a part's content, or before the first boundary; and the boundary."""
        place, size = self._buffer.find(self._delimiter), len(self._delimiter)
        yield from self._passed(place if place >= 0 else len(self._buffer) - size + 1)
        if place < 0:
            return False
        rest = bytes(self._buffer[size : size + LONGEST_PADDING + 2])
        line, is_last = _REST_OF_LINE.match(rest), rest.startswith(b"--")
        if not line and not is_last:
            if len(rest) > LONGEST_PADDING or not _MAY_GO_ON.fullmatch(rest):
                raise malformed()
            return False
        if self._in_part:
            yield END
        self._in_part, self._in_head, self._ended = False, not is_last, is_last
        if line:
            del self._buffer[: size + line.end() - len(_LINE_END)]
        return True

    def _passed(self, size: int) -> Iterator[Event]:
        """Take that many bytes from the buffer."""
        if size <= 0:
            return
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        if self._in_part:
            yield content
            return
        self._ignored += size
        if self._ignored > self._head_bytes:
            raise malformed()


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a request's `Content-Type` names.

    Raises:
        RequestError: there is none that can be one.
    """
    boundary = _parameters(content_type).get(b"boundary", b"").rstrip(b" ")
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise RequestError(f"the form's boundary must be of 1 to {LONGEST_BOUNDARY} characters")
    if re.search(rb"[\r\n]", boundary):
        raise malformed()
    return boundary


def parse_head(head: bytes) -> Head:
    """The head of a part, without the empty line behind it.

    A name in RFC 8187's form, `filename*`, is taken rather than a plain one; some clients send it
    alone. Names are UTF-8, as browsers send them, or Latin-1, which nothing fails to be.

    Raises:
        RequestError: it is malformed, has no name, or the part's content is coded.
    """
    lines = [line for line in _FOLD.sub(b" ", head).split(_LINE_END) if line]
    if len(lines) > HEAD_LINES:
        raise RequestError(f"the head of a part has more than {HEAD_LINES} lines")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in headers:
            raise malformed()
        headers[match[1].lower()] = match[2]
    coding = to_text(headers.get(b"content-transfer-encoding", b"")).strip().lower()
    if coding not in IDENTITIES:
        raise RequestError("send each part as it is, without a Content-Transfer-Encoding")
    said = _parameters(headers.get(b"content-disposition", b""))
    if b"name" not in said and b"name*" not in said:
        raise RequestError("a field of the form has no name")
    content_type = to_text(headers.get(b"content-type", b"")).partition(";")[0]
    filename = _name(said, b"filename")
    if filename is None and any(key.startswith(b"filename*") for key in said):
        filename = ""
    return Head(_name(said, b"name") or "", filename, content_type.strip().lower())


def to_text(data: bytes) -> str:
    """UTF-8, as browsers send it, or Latin-1, which nothing fails to be."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def malformed() -> RequestError:
    """The error for what is no form."""
    return RequestError("the form is malformed")


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """The parameters behind a header's first word, by their names in lower case.

    In quotes a backslash stands for itself unless a quote or another one follows: browsers escape
    none, and those of Windows once sent whole paths.

    Raises:
        RequestError: they are malformed, or one is there twice.
    """
    place, found = value.find(b";"), dict[bytes, bytes]()
    while 0 <= place < len(value):
        match = _PARAMETER.match(value, place)
        name = match and match[1] and match[1].lower()
        if match is None or name in found:
            raise malformed()
        if name:
            quoted, plain = match[2], match[3]
            found[name] = plain.strip() if quoted is None else re.sub(rb'\\(["\\])', rb"\1", quoted)
        place = match.end()
    return found


def _name(said: dict[bytes, bytes], key: bytes) -> str | None:
    """A parameter's text; None where it is missing."""
    charset, _, rest = said.get(key + b"*", b"").partition(b"'")
    _, apostrophe, coded = rest.partition(b"'")
    if apostrophe and charset.lower() in (b"utf-8", b"iso-8859-1", b"us-ascii"):
        try:
            return unquote_to_bytes(coded).decode(charset.decode())
        except UnicodeDecodeError:
            pass  # damaged, so that the plain one counts
    return to_text(said[key]) if key in said else None
