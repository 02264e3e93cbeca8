"""Open-loop load: uploads begin by the clock, whatever the service answers.

A latency is counted from the moment at which its upload was due, not from when it was sent, so an
upload that had to wait for its turn counts in full.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import uvloop

from bench.client import FORM_TYPE, KEY, form

LEAD_SECONDS = 0.2
ANSWER_SECONDS = 60
ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one upload; moments are in seconds since the epoch.

    `status` is that of HTTP, or 0 where there was no answer; then `job_id` is empty and `error`
    says why.
    """

    due_at: float
    sent_at: float
    answered_at: float
    status: int
    job_id: str = ""
    error: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the service has taken the image."""
        return self.status == ACCEPTED

    @property
    def latency_ms(self) -> float:
        """From the moment it was due."""
        return 1000 * (self.answered_at - self.due_at)

    @property
    def late_ms(self) -> float:
        """By how much the load generator itself was behind its schedule."""
        return 1000 * (self.sent_at - self.due_at)


def schedule(rate: float, seconds: float) -> list[float]:
    """When each upload is due, in seconds from the start, at so many uploads a second."""
    return [number / rate for number in range(round(rate * seconds))]


class OpenLoop:
    """Uploads photos by a schedule, over as many connections as that takes."""

    def __init__(self, url: str, photos: Sequence[bytes]) -> None:
        self._host, _, self._port = urlsplit(url).netloc.rpartition(":")
        self._bodies = [form([photo], batch=False) for photo in photos]
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def run(
        self, due: Sequence[float], started: Callable[[float], None] = lambda count: None
    ) -> list[Answer]:
        """The answer to each upload, in the order in which they were due.

        Args:
            due: seconds from the start, rising.
            started: told how many uploads have begun.
        """
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._run(due, started))

    async def _run(self, due: Sequence[float], started: Callable[[float], None]) -> list[Answer]:
        start = time.time() + LEAD_SECONDS
        tasks = []
        for number, offset in enumerate(due):
            # A timer may be up to a millisecond early.
            while (wait := start + offset - time.time()) > 0:  # noqa: ASYNC110 - for a moment
                await asyncio.sleep(wait)
            await asyncio.sleep(0)  # lets the answers in, even when the schedule is behind
            tasks.append(asyncio.create_task(self._upload(number, start + offset)))
            started(number + 1)
        answers = await asyncio.gather(*tasks)
        for _, writer in self._free:
            writer.close()
        self._free.clear()
        return answers

    async def _upload(self, number: int, due_at: float) -> Answer:
        sent_at = time.time()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, content = await self._exchange(self._bodies[number % len(self._bodies)])
            job_id = str(json.loads(content)["job_id"]) if status == ACCEPTED else ""
            return Answer(due_at, sent_at, time.time(), status, job_id)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            return Answer(due_at, sent_at, time.time(), 0, error=type(error).__name__)

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer, by a connection that is free or else a new one."""
        reader, writer = self._connection() or await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(_head(self._host, len(body)))
            writer.write(body)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (x.partition(":") for x in lines)}
            content = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return int(status_line.split()[1]), content

    def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection that was used last, so that the idle ones stay idle and get closed."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None


def _head(host: str, size: int) -> bytes:
    """The head of an upload of so many bytes that is a job of its own."""
    return (
        f"POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM_TYPE}\r\n"
        f"{KEY}: {uuid4()}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
