"""Closed-loop load: so many images are always under way, which shows throughput."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from bench.client import ASK_SECONDS, STUCK_SECONDS, Client, form
from blurline.errors import BlurlineError


@dataclass(frozen=True, slots=True)
class Sent:
    """An image that was taken: its job, and when its upload began, in seconds since the epoch."""

    job_id: str
    started_at: float


class Load:
    """Uploads photos so that a given number of them is always under way.

    `batch` is the number of files of one upload, 0 for uploads of one file by themselves.
    """

    def __init__(self, url: str, photos: Sequence[bytes], in_flight: int, batch: int = 0) -> None:
        self._url = url
        self._in_flight = in_flight
        self._batch = batch
        self._outstanding = 0
        self._changed = threading.Condition()
        turn = cycle(photos)
        self._bodies = [
            form(list(islice(turn, batch or 1)), batch=bool(batch)) for _ in range(len(photos))
        ]

    def run(
        self,
        images: int,
        connections: int = 4,
        done: Callable[[float], None] = lambda done: None,
        until: float = float("inf"),
    ) -> list[Sent]:
        """Upload so many images and return when the service has done them all.

        Args:
            images: rounded up to whole batches.
            connections: uploads at a time.
            done: told how many images are done, a few times a second.
            until: no upload begins after this moment of `time.monotonic`.

        Raises:
            BlurlineError: an upload was refused, or the service has come to a standstill.
        """
        uploads = -(-images // (self._batch or 1))
        bodies = islice(cycle(self._bodies), uploads)
        sent, errors, over = list[Sent](), list[BlurlineError](), threading.Event()

        def upload() -> None:
            try:
                with Client(self._url) as client:
                    self._upload(client, bodies, sent, errors, until)
            except BlurlineError as error:
                errors.append(error)

        def watch() -> None:
            try:
                with Client(self._url) as client:
                    self._watch(client, sent, over, done)
            except BlurlineError as error:
                errors.append(error)

        uploaders = [threading.Thread(target=upload) for _ in range(connections)]
        watcher = threading.Thread(target=watch)
        for thread in (*uploaders, watcher):
            thread.start()
        for thread in uploaders:
            thread.join()
        while not errors and self._outstanding:
            time.sleep(ASK_SECONDS)
        over.set()
        watcher.join()
        if errors:
            raise errors[0]
        return sent

    def _upload(
        self,
        client: Client,
        bodies: Iterator[bytes],
        sent: list[Sent],
        errors: list[BlurlineError],
        until: float,
    ) -> None:
        """Send what there is whenever there is room for it."""
        while not errors:
            with self._changed:
                room = self._changed.wait_for(
                    lambda: self._outstanding < self._in_flight or errors, ASK_SECONDS
                )
                if not room:
                    continue
                body = next(bodies, None) if time.monotonic() < until else None
                if body is None:
                    return
                self._outstanding += self._batch or 1
            started_at = time.time()
            job_ids = client.upload(body, batch=bool(self._batch))
            sent.extend(Sent(job_id, started_at) for job_id in job_ids)

    def _watch(
        self,
        client: Client,
        sent: list[Sent],
        over: threading.Event,
        done: Callable[[float], None],
    ) -> None:
        """Keep count of what is under way."""
        most, changed = 0, time.monotonic()
        while not over.wait(ASK_SECONDS):
            before = len(sent)
            waiting = client.under_way()
            with self._changed:
                # What was sent while the question was under way may not be in the answer.
                self._outstanding = waiting + len(sent) - before
                self._changed.notify_all()
            done(before - waiting)
            if before - waiting > most or not waiting:
                most, changed = before - waiting, time.monotonic()
            if time.monotonic() - changed > STUCK_SECONDS:
                raise BlurlineError(f"{waiting} jobs do not get done; is the worker still there?")
