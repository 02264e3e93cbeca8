"""A form (RFC 7578) read while it arrives, within limits for its parts, their heads and texts."""

import codecs
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from starlette.datastructures import ImmutableMultiDict

from blurline.api.errors import RequestError
from blurline.api.parts import End, Head, Splitter, boundary_of, to_text
from blurline.api.spool import RequestSpool, SpooledFile

Form = ImmutableMultiDict[str, str | SpooledFile]
"""The fields of a form in the order in which they came; a name may be there more than once."""

FILES_OF_NO_NAME = ("image/", "application/octet-stream")
"""How the content type of a part begins that is a file, also if it has no file name."""

_SNIFFED = 64
"""Bytes by which a part that says nothing of itself is judged."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """What a form may consist of.

    Attributes:
        parts: fields and files in all.
        head_bytes: of the headers of one part, its file name among them.
        text_bytes: of the text of a field, by its name.
        other_bytes: of the text of any other field.
        all_text_bytes: of all texts together.
    """

    parts: int
    head_bytes: int
    text_bytes: Mapping[str, int]
    other_bytes: int
    all_text_bytes: int


async def read_form(
    chunks: AsyncIterator[bytes],
    content_type: bytes,
    spool: RequestSpool,
    limits: PartLimits,
    field: str,
) -> Form:
    """The form in a request's body; its files lie in `spool`.

    A part is a file if it has a file name, be it an empty one. In the `field` that is for files
    it also is one if its type or its first bytes say so.

    Raises:
        RequestError: `bad_request` for what is no form, `too_many_files` for too many parts,
            `bad_option` for too long a text, `no_file` for a form that ends too early, and what
            `spool` raises.
    """
    splitter = Splitter(boundary_of(content_type), limits.head_bytes)
    reader = _Reader(spool, limits, field)
    async for chunk in chunks:
        for event in splitter.feed(chunk):
            reader.take(event)
        await reader.flush()
    splitter.finish()
    return Form(reader.items)


class _Reader:
    """Collects the parts."""

    def __init__(self, spool: RequestSpool, limits: PartLimits, field: str) -> None:
        self.items: list[tuple[str, str | SpooledFile]] = []
        self._spool = spool
        self._limits = limits
        self._field = field
        self._parts = 0
        self._head = Head("", None, "")
        self._is_file: bool | None = False
        self._text = bytearray()
        self._text_left = limits.all_text_bytes
        self._pieces: list[bytes] = []
        self._start = self._place = 0

    def take(self, event: Head | bytes | End) -> None:
        """The next that came.

        Raises:
            RequestError: there are too many parts, or a text is too long.
        """
        if isinstance(event, Head):
            self._begin(event)
        elif isinstance(event, End):
            self._end()
        else:
            self._go_on(event)

    async def flush(self) -> None:
        """Write what the last chunk held of files."""
        if self._pieces:
            await self._spool.write(b"".join(self._pieces))
            self._pieces.clear()

    def _begin(self, head: Head) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            message = f"a form has at most {self._limits.parts} fields and files"
            raise RequestError(message, code="too_many_files")
        self._head = head
        self._text.clear()
        self._start = self._place
        self._is_file = head.filename is not None
        if head.name == self._field and not self._is_file:
            self._is_file = head.content_type.startswith(FILES_OF_NO_NAME) or None

    def _go_on(self, content: bytes) -> None:
        if self._is_file:
            self._pieces.append(content)
            self._place += len(content)
            return
        self._text += content
        if self._is_file is None and len(self._text) >= _SNIFFED:
            self._judge()
        if self._is_file is False:
            self._check_text()

    def _judge(self) -> None:
        """Say what a part in the files' field is that has told nothing of itself."""
        self._is_file = not _reads_as_text(bytes(self._text[:_SNIFFED]))
        if self._is_file:
            self._pieces.append(bytes(self._text))
            self._place += len(self._text)
        elif self._text:
            raise RequestError(f"the field {self._field} holds text, not a file", code="no_file")

    def _check_text(self) -> None:
        name, limits = self._head.name, self._limits
        if len(self._text) > limits.text_bytes.get(name, limits.other_bytes):
            # Names that are not known are the sender's own words.
            shown = name if name in limits.text_bytes else "a field of the form"
            most = limits.text_bytes.get(name, limits.other_bytes)
            raise RequestError(f"{shown} is longer than {most} bytes", code="bad_option")
        if len(self._text) > self._text_left:
            message = f"the texts of the form are longer than {limits.all_text_bytes} bytes"
            raise RequestError(message, code="bad_option")

    def _end(self) -> None:
        if self._is_file is None:
            self._judge()
        if self._is_file:
            size = self._place - self._start
            file = SpooledFile(self._head.filename or "", self._start, size, self._spool)
            self.items.append((self._head.name, file))
        else:
            self._text_left -= len(self._text)
            self.items.append((self._head.name, to_text(bytes(self._text))))


def _reads_as_text(start: bytes) -> bool:
    """Whether the first bytes of a part are UTF-8 without control characters but line ends."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return not re.search(rb"[^\t\n\f\r -\xff]", start)
