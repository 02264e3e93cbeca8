"""Handing out files: whole, in part, or not at all to those who have them (RFC 9110)."""

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PurePosixPath
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from blurline.api.errors import RequestError, error_response
from blurline.storage.store import Store

PIECE_BYTES = 512 << 10
"""That are in memory for a reader, twice at most: one is sent while the next is fetched."""

FOR_THE_READER_ALONE = "private, no-cache"
"""A browser may keep it and go on where it broke off, but has to ask each time whether it is still
there; nobody in between may keep it."""

PLACE_SECONDS = 10.0
SEND_SECONDS = 120.0
"""For which a rationed answer waits for its place, and for which it holds it."""

CONDITIONS = ("If-Match", "If-None-Match", "If-Range")
DESCRIBING = ("ETag", "Accept-Ranges", "Content-Range", "Content-Disposition")
"""Headers of requests and answers here that pages of other origins have to be let use."""

TAG = re.compile(r'(?:W/)?"[^"]*"')
RANGE = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*", re.IGNORECASE)
LONGEST_STEM = 150
"""Bytes of a file name before its ending; most file systems take 255 in all."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to hand out.

    Attributes:
        size: in bytes.
        media_type: what they are.
        tag: another one as soon as any byte is another one.
        filename: what they are to be called where they are kept.
        read: the bytes from a place up to another one; it may block.
    """

    size: int
    media_type: str
    tag: str
    filename: str
    read: Callable[[int, int], bytes]


class Rationed(Response):
    """An answer that is made when there is a place for it, and holds the place until it is sent.

    Args:
        places: how many such answers are in memory at a time.
        make: makes the answer; it may block.
    """

    def __init__(self, places: asyncio.Semaphore, make: Callable[[], Response]) -> None:
        super().__init__()
        self._places = places
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make it and send it.

        Raises:
            RequestError: `busy`, there was no place for `PLACE_SECONDS`.
        """
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError as error:
            raise RequestError("too many are handed out; try again later", code="busy") from error
        try:
            answer = await run_in_threadpool(self._make)
            # A reader that is cut off may go on where it was.
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await answer(scope, receive, send)
        finally:
            self._places.release()


def in_memory(data: bytes, media_type: str, filename: str) -> Content:
    """Bytes that are there already."""
    tag = sha256(data).hexdigest()[:32]
    return Content(len(data), media_type, tag, filename, lambda start, end: data[start:end])


def in_store(store: Store, key: str, media_type: str, filename: str) -> Content | None:
    """An object as it is now, or None if there is none. It is fetched while it is handed out.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    seen = store.look(key)
    if seen is None:
        return None

    def read(start: int, end: int) -> bytes:
        part = store.part(key, seen, start, end)
        if part is None:
            raise RequestError("it was removed while it was handed out", code="not_found")
        return part

    tag = sha256(f"{key} {seen.size} {seen.version}".encode()).hexdigest()[:32]
    return Content(seen.size, media_type, tag, filename, read)


def hand_out(request: Request, content: Content, caching: str = FOR_THE_READER_ALONE) -> Response:
    """The answer to GET or HEAD: 200, 206, 304, 412 or 416.

    One range is answered alone; several are answered by the whole, as RFC 9110, 14.2 allows.
    """
    asked, tag = request.headers, f'"{content.tag}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": caching,
        "Content-Disposition": _disposition(content.filename),
    }
    if "if-match" in asked and not _is_among(tag, asked.getlist("if-match"), weak=False):
        return error_response(RequestError("it is another one by now", code="precondition_failed"))
    if _is_among(tag, asked.getlist("if-none-match"), weak=True):
        return Response(status_code=304, headers=headers)
    part = _part_of(asked, tag, content.size) if request.method == "GET" else None
    if part is not None and not part:
        refused = error_response(RequestError("it has no such bytes", code="bad_range"))
        refused.headers["Content-Range"] = f"bytes */{content.size}"
        return refused
    status, sent = 200, range(content.size)
    if part is not None:
        status, sent = 206, part
        headers["Content-Range"] = f"bytes {sent.start}-{sent.stop - 1}/{content.size}"
    headers["Content-Length"] = str(len(sent))
    if request.method == "HEAD":
        return Response(headers=headers, media_type=content.media_type)
    return StreamingResponse(_pieces(content, sent), status, headers, content.media_type)


def hand_over(content: Content, remove: Callable[[], None]) -> Response:
    """The answer that hands the content out for the only time.

    Args:
        content: is fetched as fast as it is read.
        remove: removes what it is fetched from, once: before the last piece is sent, or when the
            reader has gone. It may block.
    """
    due = [remove]

    def remove_once() -> None:
        if due:
            due.pop()()

    return StreamingResponse(
        _pieces(content, range(content.size), remove_once),
        headers={"Content-Length": str(content.size)},
        media_type=content.media_type,
        background=BackgroundTask(remove_once),
    )


def framed(before: bytes, content: Content, after: bytes, media_type: str) -> Content:
    """The content between others."""
    first, last = len(before), len(before) + content.size

    def read(start: int, end: int) -> bytes:
        inner = max(start, first) - first, min(end, last) - first
        inside = content.read(*inner) if inner[0] < inner[1] else b""
        return before[start:end] + inside + after[max(0, start - last) : max(0, end - last)]

    return replace(content, size=last + len(after), media_type=media_type, read=read)


def called(filename: str, ending: str) -> str:
    """The file's name with another ending, without what a shell or a file system stumbles over."""
    stem = PurePosixPath(filename.replace("\\", "/")).stem
    clean = "".join(letter for letter in stem if unicodedata.category(letter)[0] != "C")
    clean = re.sub(r'[<>:"/\\|?*%;\u2028\u2029]', "_", clean)
    clean = clean.encode("utf-8", "ignore")[:LONGEST_STEM].decode("utf-8", "ignore")
    return f"{clean.strip('. ') or 'picture'}.{ending}"


async def _pieces(
    content: Content, sent: range, before_the_last: Callable[[], None] = lambda: None
) -> AsyncIterator[bytes]:
    for start in range(sent.start, sent.stop, PIECE_BYTES):
        end = min(start + PIECE_BYTES, sent.stop)
        piece = await run_in_threadpool(content.read, start, end)
        if end == sent.stop:
            await run_in_threadpool(before_the_last)
        yield piece


def _disposition(filename: str) -> str:
    """RFC 6266; names that are not ASCII by RFC 8187, with a likeness for old readers."""
    plain = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    if plain.startswith("."):
        plain = f"picture{plain}"
    said = f'inline; filename="{plain}"'
    return said if plain == filename else f"{said}; filename*=UTF-8''{quote(filename, safe='')}"


def _is_among(tag: str, fields: list[str], *, weak: bool) -> bool:
    """Whether the tag is one of those that the header's fields list (RFC 9110, 8.8.3.2)."""
    listed = TAG.findall(",".join(fields))
    if weak:
        listed = [one.removeprefix("W/") for one in listed]
    return tag in listed or [field.strip() for field in fields] == ["*"]


def _part_of(asked: Headers, tag: str, size: int) -> range | None:
    """The bytes that are asked for; None if all are, empty if there are none of them."""
    fields, condition = asked.getlist("range"), asked.getlist("if-range")
    match = RANGE.fullmatch(fields[0]) if len(fields) == 1 else None
    if match is None or (condition and condition != [tag]):
        return None
    first, last = (int(number[:19]) if number else None for number in match.groups())
    if first is None:
        return None if last is None else range(max(0, size - last), size)
    if last is not None and last < first:
        return None
    return range(first, size if last is None else min(last + 1, size))
