"""Multipart uploads as they come off the wire, within limits that the sender can't talk around."""

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import PurePath

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message

from blurline.api.errors import RequestError

FORM_OVERHEAD = 256 * 1024
"""Bytes that option fields and part headers may add to the files of a request."""

MAX_FIELDS = 100
MAX_FILES = 10_000
MAX_FILENAME = 255
UNPRINTABLE = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
"""Control characters, line separators, and the marks that turn the direction of writing."""


@asynccontextmanager
async def open_form(request: Request, *, max_bytes: int, max_files: int) -> AsyncIterator[FormData]:
    """The request's form; its files lie in temporary files above one megabyte each.

    What counts are the bytes that arrive, not those that `Content-Length` announces.

    Raises:
        RequestError: `too_many_bytes`, `too_many_files`, or `bad_request` for what is no form.
    """
    limit = max_bytes + FORM_OVERHEAD
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            if message.get("more_body", False):
                await _drain(request, limit)
            raise RequestError(
                f"the request is larger than {max_bytes} bytes", code="too_many_bytes"
            )
        return message

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RequestError("send the picture as multipart/form-data", code="no_file")
    # Files are counted by whoever asks for them, so that the answer can say what the limit is.
    limited = Request(request.scope, receive)
    try:
        async with limited.form(max_files=max(max_files, MAX_FILES), max_fields=MAX_FIELDS) as form:
            yield form
    except ClientDisconnect as error:
        raise RequestError("the sender hung up", code="bad_request") from error


def files_of(form: FormData, field: str) -> list[UploadFile]:
    """The files in the form's field of that name.

    Raises:
        RequestError: `no_file`, there is none.
    """
    files = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    if not files:
        raise RequestError(f"the form has no file in a field named {field}", code="no_file")
    return files


def check_fields(form: FormData, known: Collection[str]) -> None:
    """Return if the form has no other fields: a mistyped option must not pass for none.

    Raises:
        RequestError: `bad_option`.
    """
    if set(form) - set(known):
        raise RequestError(f"the form may hold only {', '.join(sorted(known))}", code="bad_option")


def text_of(form: FormData, field: str) -> str:
    """The texts of all fields of that name, joined by commas; empty where there is none.

    Raises:
        RequestError: `bad_option`, the field holds a file.
    """
    texts = [value for value in form.getlist(field) if value]
    if not all(isinstance(value, str) for value in texts):
        raise RequestError(f"{field} must be text, not a file", code="bad_option")
    return ",".join(map(str, texts)).strip()


def safe_filename(name: str | None) -> str:
    """The name that the sender gave, without folders and control characters, at most 255 long.

    It is only ever shown again, never used as a path.
    """
    last = PurePath((name or "").replace("\\", "/")).name
    printable = re.sub(UNPRINTABLE, "", last)
    printable = printable.encode("utf-8", "replace").decode("utf-8")
    return "upload" if printable in ("", ".", "..") else printable[:MAX_FILENAME]


async def _drain(request: Request, most: int) -> None:
    """Read on for a while and forget it: who is still sending does not hear an answer."""
    left = most
    while left > 0:
        message = await request.receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))
