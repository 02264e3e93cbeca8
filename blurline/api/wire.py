"""A connection that comes to an end, whatever the other side does or leaves undone."""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

LINGER_SECONDS = 5.0
LINGER_BYTES = 16 << 20
"""For which a sender is listened to that has its answer and goes on sending: a connection that is
closed on bytes that nobody has read is reset, and with it the answer may be lost."""

READ_SECONDS = 20.0
LEAST_READ = 64 << 10
"""Bytes that a reader takes in that time, or it is cut off."""


class Wire(asyncio.Transport):
    """The transport of one connection, with bounds for readers that do not read.

    `owed`: whether the sender has not sent all of its request; then `close` says that nothing more
    will be answered, and forgets for a while what still comes.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.owed = False
        self._transport = transport
        self._loop = loop
        self._ending = False
        self._left = LINGER_BYTES
        self._written = self._taken = 0
        self._linger: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        _send_at_once(transport)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it; as much as the reader does not take is kept."""
        self._written += len(data)
        self._transport.write(data)

    def watch(self) -> None:
        """Cut the reader off if it takes too little from now on."""
        if self._look is None:
            self._taken = self._written - self._transport.get_write_buffer_size()
            self._look = self._loop.call_later(READ_SECONDS, self._check)

    def unwatch(self) -> None:
        """The reader has taken what there was."""
        if self._look is not None and not self._ending:
            self._look.cancel()
            self._look = None

    def close(self) -> None:
        """Send what is kept, then end the connection, at once or after the sender was heard out."""
        if self._ending:
            return
        self._ending = True
        self.watch()
        if self.owed and not self._transport.is_closing():
            with suppress(OSError, NotImplementedError, RuntimeError):  # it is gone already
                self._transport.write_eof()
            self._transport.resume_reading()
            self._linger = self._loop.call_later(LINGER_SECONDS, self._transport.close)
        else:
            self._transport.close()

    def drop(self, size: int) -> None:
        """Forget bytes that came after `close`; too many of them end the connection."""
        self._left -= size
        if self._left < 0:
            self.abort()

    def lost(self) -> None:
        """The connection is no more."""
        self._ending = True
        for timer in (self._linger, self._look):
            if timer is not None:
                timer.cancel()

    def abort(self) -> None:
        """End the connection at once, and forget what is kept."""
        self._ending = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more will be answered."""
        return self._ending or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not self._ending:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not self.is_closing():
            self._transport.resume_reading()

    def _check(self) -> None:
        self._look = None
        kept = self._transport.get_write_buffer_size()
        if self._written - kept - self._taken < LEAST_READ:
            self.abort()
        else:
            self.watch()


def _send_at_once(transport: asyncio.Transport) -> None:
    """Have the kernel not keep the body of an answer until its head was acknowledged.

    Event loops see to it themselves (TCP_NODELAY), but not for a socket that was handed over by its
    descriptor, which uvicorn takes for a Unix socket.
    """
    known = transport.get_extra_info("socket")
    if known is None:
        return
    with socket.socket(fileno=os.dup(known.fileno())) as real:
        if real.family in (socket.AF_INET, socket.AF_INET6):
            real.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
