"""Answers by HTTP/1.1 (RFC 9112) as they lie in what a connection brought."""

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any

STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [ -~]*")
HEADER = re.compile(rb"([!#-'*+.^-z|~\-0-9A-Z]+):[ \t]*([^\r\n\0]*)")
NO_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the service; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body's JSON; None where it is none."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None


class NoHttpError(Exception):
    """What came back is no HTTP."""


def answers_in(data: bytes, *, to_head: bool, is_all: bool) -> list[Answer]:
    """The whole answers in `data`, without those that only say to go on.

    Args:
        to_head: the first one answers HEAD, and so has no body.
        is_all: the service has hung up, which may be the end of a body.

    Raises:
        NoHttpError: it is no HTTP, or ends amid an answer.
    """
    answers: list[Answer] = []
    place = 0
    while (found := _answer(data, place, to_head and not answers, is_all)) is not None:
        answer, place = found
        if answer.status >= 200:
            answers.append(answer)
    if is_all and place < len(data):
        raise NoHttpError(f"an answer is cut off after {len(data) - place} bytes")
    return answers


def _answer(data: bytes, place: int, to_head: bool, is_all: bool) -> tuple[Answer, int] | None:
    """The answer at that place and where it ends; None if it is not whole."""
    end = data.find(b"\r\n\r\n", place)
    if end < 0:
        return None
    first, *lines = data[place:end].split(b"\r\n")
    status_line = STATUS_LINE.fullmatch(first)
    matches = [HEADER.fullmatch(line) for line in lines]
    if status_line is None or None in matches:
        raise NoHttpError("the head of an answer is malformed")
    headers = {match[1].decode().lower(): match[2].decode("latin-1") for match in matches if match}
    status, start = int(status_line[1]), end + 4
    if to_head or status < 200 or status in NO_BODY:
        return Answer(status, headers, b""), start
    if "transfer-encoding" in headers:
        return _chunked(data, start, status, headers)
    if "content-length" not in headers:
        return (Answer(status, headers, data[start:]), len(data)) if is_all else None
    length = int(headers["content-length"])
    if len(data) < start + length:
        return None
    return Answer(status, headers, data[start : start + length]), start + length


def _chunked(
    data: bytes, place: int, status: int, headers: dict[str, str]
) -> tuple[Answer, int] | None:
    body = b""
    while (end := data.find(b"\r\n", place)) >= 0:
        size = int(data[place:end], 16)
        start, after = end + 2, end + 2 + size + 2
        if len(data) < after:
            return None
        body, place = body + data[start : start + size], after
        if size == 0:
            return Answer(status, headers, body), place
    return None
