"""Multipart uploads as they come off the wire, within limits that the sender can't talk around."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePath

from fastapi import Request
from starlette.requests import ClientDisconnect

from blurline.api.errors import RequestError
from blurline.api.multipart import Form, PartLimits, read_form
from blurline.api.spool import RequestSpool, Spool, SpooledFile
from blurline.settings import Settings
from blurline.stages.optiontable import LONGEST_TEXT, OptionTable
from blurline.stages.pipeline import Pipeline, all_options

FORM_OVERHEAD = 256 * 1024
"""Bytes that option fields and part heads may add to the files of a request."""

ALL_TEXT_BYTES = 192 * 1024
"""Of all texts of a form together; the largest zones of both kinds fit in."""

PIPELINE, CALLBACK = "pipeline", "callback_url"
"""The fields beside files and options."""

CHARSET = "_charset_"
"""A field by which a form says how its texts are coded (RFC 7578, 4.6); options are ASCII."""

MEGABYTE = 1_000_000
PICTURES_IN_MEMORY = 4
"""Of the largest size, which one process judges and stores at a time; smaller ones are more."""

DRAIN_SECONDS = 10
"""For which a sender is listened to that has been refused, so that it hears the answer."""

UNPRINTABLE = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
"""Control characters, line separators, and the marks that turn the direction of writing."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What a request may take up, beside the bytes and the number of its files.

    Attributes:
        fields: options, and files in excess, beside the files that are asked for.
        head_bytes: of the headers of one part.
        seconds_a_megabyte: in which each further megabyte has to arrive.
    """

    fields: int
    head_bytes: int
    seconds_a_megabyte: float


@dataclass(frozen=True, slots=True)
class FormReader:
    """Takes forms off the wire; `options` are all that any pipeline has."""

    spool: Spool
    limits: FormLimits
    options: OptionTable

    @asynccontextmanager
    async def form(
        self, request: Request, field: str, *, max_bytes: int, max_files: int
    ) -> AsyncIterator[Form]:
        """The request's form, whose files lie in the spool until the end of the context.

        They are in the `field` of that name. What counts are the bytes that arrive, not those that
        `Content-Length` announces.

        Raises:
            RequestError: `too_many_bytes`, `too_many_files`, `busy` where the spool is full,
                `no_file` for another kind of body, `bad_option` for too long a text, or
                `bad_request` for what is no form, is compressed, or comes too slowly.
        """
        headers = request.headers
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise RequestError("send the form as it is, without a Content-Encoding")
        content_type = headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
            raise RequestError("send the picture as multipart/form-data", code="no_file")
        parts = PartLimits(
            max_files + self.limits.fields,
            self.limits.head_bytes,
            text_bytes(self.options),
            LONGEST_TEXT,
            ALL_TEXT_BYTES,
        )
        with self.spool.request() as spooled:
            body = _Body(request, spooled, max_bytes, self.limits.seconds_a_megabyte)
            try:
                form = await body.form(content_type.encode("latin-1"), parts, field)
            except ClientDisconnect as error:
                raise RequestError("the sender hung up") from error
            except TimeoutError as error:
                raise RequestError("the upload came too slowly", hang_up=True) from error
            except RequestError as error:
                error.hang_up = not await body.drain()
                raise
            yield form


class _Body:
    """The body of a request while it arrives."""

    def __init__(
        self, request: Request, spooled: RequestSpool, max_bytes: int, patience: float
    ) -> None:
        self._request = request
        self._spooled = spooled
        self._max_bytes = max_bytes
        self._patience = patience
        self._more = True

    async def form(self, content_type: bytes, parts: PartLimits, field: str) -> Form:
        """The form that it is, with files in that field.

        Raises:
            RequestError: what `read_form` raises, or `too_many_bytes`.
            ClientDisconnect: the sender hung up.
            TimeoutError: the sender was too slow.
        """
        async with asyncio.timeout(self._patience) as due:
            return await read_form(self._pieces(due), content_type, self._spooled, parts, field)

    async def _pieces(self, due: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Its bytes, piece by piece; with each megabyte the time begins anew."""
        clock, received = asyncio.get_running_loop(), 0
        while self._more:
            piece = await self._next()
            if (received + len(piece)) // MEGABYTE > received // MEGABYTE:
                due.reschedule(clock.time() + self._patience)
            received += len(piece)
            if received > self._max_bytes + FORM_OVERHEAD:
                raise RequestError(
                    f"the request is larger than {self._max_bytes} bytes", code="too_many_bytes"
                )
            self._spooled.take(len(piece))
            yield piece

    async def drain(self) -> bool:
        """Read on for a while and forget it: who is still sending does not hear an answer.

        Returns:
            Whether that was all of it.
        """
        left = self._max_bytes + FORM_OVERHEAD
        with suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._more and left > 0:
                    left -= len(await self._next())
        return not self._more

    async def _next(self) -> bytes:
        message = await self._request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        self._more = message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


def text_bytes(options: OptionTable) -> dict[str, int]:
    """Bytes of the text of each field that there may be."""
    return {
        **{name: option.longest for name, option in options.items()},
        PIPELINE: LONGEST_TEXT,
        CALLBACK: LONGEST_TEXT,
    }


def open_form_reader(settings: Settings, pipelines: Mapping[str, Pipeline]) -> FormReader:
    """The reader of one process, with the settings' limits."""
    limits = FormLimits(
        settings.max_form_fields, settings.max_part_head_bytes, settings.upload_timeout
    )
    memory = PICTURES_IN_MEMORY * settings.max_image_bytes
    return FormReader(Spool(settings.max_spool_bytes, memory), limits, all_options(pipelines))


def files_of(form: Form, field: str) -> list[SpooledFile]:
    """The files in the form's field of that name; a slot that a browser left empty is none.

    Raises:
        RequestError: `no_file`, there is none.
    """
    values = form.getlist(field)
    if not values:
        raise RequestError(f"the form has no file in a field named {field}", code="no_file")
    files = [value for value in values if isinstance(value, SpooledFile)]
    chosen = [file for file in files if file.filename or file.size]
    if not chosen:
        raise RequestError(f"no file was chosen in the field {field}", code="no_file")
    return chosen


def check_fields(form: Form, known: Collection[str]) -> None:
    """Return if the form has no other fields: a mistyped option must not pass for none.

    Raises:
        RequestError: `bad_option`.
    """
    if set(form) - set(known) - {CHARSET}:
        raise RequestError(f"the form may hold only {', '.join(sorted(known))}", code="bad_option")


def text_of(form: Form, field: str, *, once: bool = False) -> str:
    """The texts of all fields of that name, joined by commas; empty where there is none.

    Empty ones don't count. A list may so be spread over several fields; two words for one are an
    error of whoever reads them. Where a comma may stand in it, there may be one alone, `once`.

    Raises:
        RequestError: `bad_option`, the field holds a file, or two of what may be there `once`.
    """
    texts = [value for value in form.getlist(field) if value]
    if not all(isinstance(value, str) for value in texts):
        raise RequestError(f"{field} must be text, not a file", code="bad_option")
    if len(texts) > 1 and once:
        raise RequestError(f"{field} is in the form more than once", code="bad_option")
    return ",".join(map(str, texts)).strip()


def safe_filename(name: str, longest: int) -> str:
    """The name that the sender gave, without folders and control characters, cut to `longest`.

    It is only ever shown again, never used as a path.
    """
    last = PurePath(name.replace("\\", "/")).name
    printable = re.sub(UNPRINTABLE, "", last)
    printable = printable.encode("utf-8", "replace").decode("utf-8")
    return "upload" if printable in ("", ".", "..") else printable[:longest]
