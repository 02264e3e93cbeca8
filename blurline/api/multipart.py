"""A form (RFC 7578) taken apart while it arrives, within limits for its parts and their heads."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import ImmutableMultiDict

from blurline.api.errors import RequestError
from blurline.api.spool import RequestSpool, SpooledFile

HEAD_LINES = 16
"""Header lines of a part; browsers send two."""

Form = ImmutableMultiDict[str, str | SpooledFile]
"""The fields of a form in the order in which they came; a name may be there more than once."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """What a form may consist of.

    Attributes:
        parts: fields and files in all.
        head_bytes: of the headers of one part, its file name among them.
    """

    parts: int
    head_bytes: int


async def read_form(
    chunks: AsyncIterator[bytes], content_type: bytes, spool: RequestSpool, limits: PartLimits
) -> Form:
    """The form in a request's body; its files lie in `spool`.

    Raises:
        RequestError: `bad_request` for what is no form, `too_many_files` for too many parts, and
            what `spool` raises.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError("the form's boundary is missing")
    reader = _Reader(spool, limits)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_headers_finished": reader.head_end,
                "on_part_data": reader.content,
                "on_part_end": reader.end,
            },
            max_header_count=HEAD_LINES,
            max_header_size=limits.head_bytes,
        )
        async for chunk in chunks:
            parser.write(chunk)
            await reader.flush()
        parser.finalize()
    except FormParserError as error:
        raise RequestError("the form is malformed") from error
    return Form(reader.items)


class _Reader:
    """Collects the parts that the parser calls out."""

    def __init__(self, spool: RequestSpool, limits: PartLimits) -> None:
        self.items: list[tuple[str, str | SpooledFile]] = []
        self._spool = spool
        self._limits = limits
        self._parts = self._head_size = 0
        self._name = self._value = b""
        self._disposition = b""
        self._field, self._filename = "", ""
        self._is_file = False
        self._text = bytearray()
        self._pieces: list[bytes] = []
        self._start = self._place = 0

    def begin(self) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            message = f"a form has at most {self._limits.parts} fields and files"
            raise RequestError(message, code="too_many_files")
        self._head_size = 0
        self._disposition = b""
        self._text.clear()
        self._start = self._place

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def head_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise RequestError("a field of the form has no name")
        self._field = _text(options[b"name"])
        self._is_file = b"filename" in options
        self._filename = _text(options.get(b"filename", b""))

    def content(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._pieces.append(data[start:end])
            self._place += end - start
        else:
            self._text += data[start:end]

    def end(self) -> None:
        if self._is_file:
            size = self._place - self._start
            file = SpooledFile(self._filename, self._start, size, self._spool)
            self.items.append((self._field, file))
        else:
            self.items.append((self._field, _text(bytes(self._text))))

    async def flush(self) -> None:
        """Write what the last chunk held of files."""
        if self._pieces:
            await self._spool.write(b"".join(self._pieces))
            self._pieces.clear()

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.head_bytes:
            message = f"the head of a part is larger than {self._limits.head_bytes} bytes"
            raise RequestError(message)


def _text(data: bytes) -> str:
    """UTF-8, as browsers send it, or Latin-1, which nothing fails to be."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
