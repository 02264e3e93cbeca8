"""Where uploads lie until they are judged, and the bounds that hold for all of them together."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

from fastapi.concurrency import run_in_threadpool

from blurline.api.errors import RequestError

MEMORY_BYTES = 1 << 20
"""A request larger than this lies in a file, below it in memory."""


class Spool:
    """The uploads that one process holds at a time.

    Args:
        max_bytes: of all requests that are being received or judged.
        max_memory: of the pictures among them that lie in memory to be judged and stored.
    """

    def __init__(self, max_bytes: int, max_memory: int) -> None:
        self._left = max_bytes
        self._max_memory = self._memory_left = max_memory
        self._returned = asyncio.Condition()

    @contextmanager
    def request(self) -> Iterator["RequestSpool"]:
        """Room for the files of one request; it is given back, and they are gone, in the end."""
        spooled = RequestSpool(self)
        try:
            yield spooled
        finally:
            self._left += spooled.taken
            spooled.close()

    def take(self, size: int) -> None:
        """Count bytes that have arrived.

        Raises:
            RequestError: `busy`, there is no room for them.
        """
        if size > self._left:
            raise RequestError("too many uploads at a time; try again later", code="busy")
        self._left -= size

    @asynccontextmanager
    async def in_memory(self, file: "SpooledFile") -> AsyncIterator[bytes]:
        """The file's bytes, as soon as the pictures that are in memory leave room for it.

        Whoever still holds them afterwards takes memory that nobody counts.
        """
        size = min(file.size, self._max_memory)
        async with self._returned:
            await self._returned.wait_for(lambda: size <= self._memory_left)
            self._memory_left -= size
        try:
            yield await file.read()
        finally:
            async with self._returned:
                self._memory_left += size
                self._returned.notify_all()


class RequestSpool:
    """The files of one request, one behind the other, in memory or in one temporary file."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        # It is closed by `Spool.request`.
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        self._size = 0
        self.taken = 0

    def take(self, size: int) -> None:
        """Count bytes of the request, whatever they are for.

        Raises:
            RequestError: `busy`, there is no room for them.
        """
        self._spool.take(size)
        self.taken += size

    async def write(self, data: bytes) -> None:
        """Append bytes of a file.

        Raises:
            RequestError: `busy`, the disk is full.
        """
        self._size += len(data)
        try:
            if self._size > MEMORY_BYTES:
                await run_in_threadpool(self._file.write, data)
            else:
                self._file.write(data)
        except OSError as error:
            raise RequestError("no room for the upload; try again later", code="busy") from error

    async def read(self, start: int, size: int) -> bytes:
        """Bytes that were written."""
        if self._size > MEMORY_BYTES:
            return await run_in_threadpool(self._read_at, start, size)
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        """Forget the files."""
        self._file.close()

    def _read_at(self, start: int, size: int) -> bytes:
        """Without a position in the file, which threads that read other pictures would move."""
        self._file.flush()
        return os.pread(self._file.fileno(), size, start)


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """One file of a request: the name that the sender gave, and where it lies."""

    filename: str
    start: int
    size: int
    spool: RequestSpool

    async def read(self) -> bytes:
        """The whole file."""
        return await self.spool.read(self.start, self.size)
