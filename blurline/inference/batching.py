"""Pictures of many threads, run through a network together: what a GPU needs to be busy."""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from blurline import metrics
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Arithmetic, Network, Outputs, Size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A picture that waits, since when by the monotonic clock, and its answer to come."""

    pixels: Pixels
    since: float
    answer: Future[Outputs] = field(default_factory=Future)


class Batcher:
    """An engine that lets one thread of its own run the network, for as many callers as there are.

    Pictures of one size form a batch. It is run as soon as it is full or its first picture has
    waited for `max_delay`; what comes while a batch runs becomes part of a later one. Of several
    batches that are due, the one with the picture that has waited longest goes first.

    The network has a thread of its own, rather than that of a caller who would run the others'
    pictures with its own: a job's time-out is raised in its thread, and must not end a batch that
    holds other jobs' pictures.
    """

    def __init__(
        self, network: Network, *, max_size: int, max_delay: float, name: str = "network"
    ) -> None:
        """Start the thread.

        Args:
            network: what is run; only this batcher's thread runs it.
            max_size: most pictures in a batch, at least 1. The network may want fewer.
            max_delay: seconds for which a picture waits for company, from 0.
            name: what the network is called in metrics.
        """
        self._network = network
        self._max_size = min(max_size, network.largest_batch or max_size)
        self._max_delay = max_delay
        self._sizes = metrics.BATCH_SIZE.labels(name)
        # Never holds an empty line, so that each line has a first picture.
        self._waiting: dict[Size, deque[_Call]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Engine.labels`."""
        return self._network.labels

    @property
    def fixed_size(self) -> Size | None:
        """See `Engine.fixed_size`."""
        return self._network.fixed_size

    @property
    def precision(self) -> Arithmetic:
        """See `Engine.precision`."""
        return self._network.precision

    @property
    def waiting(self) -> int:
        """Pictures that wait for their batch."""
        with self._changed:
            return sum(len(line) for line in self._waiting.values())

    @property
    def closed(self) -> bool:
        """Whether no more calls are taken."""
        return self._closed

    def infer(self, pixels: Pixels) -> Outputs:
        """The picture's own outputs. The pixels must not change before they are there.

        Raises:
            RuntimeError: the batch failed, or the batcher was closed.
        """
        call = _Call(pixels, time.monotonic())
        height, width = pixels.shape[:2]
        with self._changed:
            if self._closed:
                raise RuntimeError("the network was closed")
            line = self._waiting.setdefault((height, width), deque())
            line.append(call)
            # Only these change what the thread waits for: a first picture's time, or a full batch.
            if len(line) in (1, self._max_size):
                self._changed.notify()
        if (error := call.answer.exception()) is not None:
            # Callers share the cause, and raising an exception writes to it: each has its own.
            raise RuntimeError("the network failed") from error
        return call.answer.result()

    def close(self) -> None:
        """Finish the batch that runs, fail the calls that wait, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            while batch := self._next():
                self._answer(batch)
        finally:
            with self._changed:
                self._closed = True
                left = [call for line in self._waiting.values() for call in line]
                self._waiting.clear()
            for call in left:
                call.answer.set_exception(RuntimeError("the network was closed"))

    def _next(self) -> list[_Call]:
        """The next batch once it is due; none after the end."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = [
                    size
                    for size, line in self._waiting.items()
                    if len(line) >= self._max_size or line[0].since + self._max_delay <= now
                ]
                if due:
                    return self._take(min(due, key=lambda size: self._waiting[size][0].since))
                first = min((line[0].since for line in self._waiting.values()), default=None)
                self._changed.wait(None if first is None else first + self._max_delay - now)
        return []

    def _take(self, size: Size) -> list[_Call]:
        line = self._waiting[size]
        batch = [line.popleft() for _ in range(min(len(line), self._max_size))]
        if not line:
            del self._waiting[size]
        return batch

    def _answer(self, batch: list[_Call]) -> None:
        """Run the batch, in halves if it does not fit, and give each call its own outputs."""
        outputs: Outputs | None = None
        try:
            outputs = self._run(batch)
        except MemoryError as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
        except BaseException as error:
            for call in batch:
                call.answer.set_exception(error)
            return
        # Outside of the handler, whose traceback would keep alive what did not fit.
        if outputs is None:
            log.warning("no memory for %d pictures at once: half of them are tried", len(batch))
            half = (len(batch) + 1) // 2
            self._answer(batch[:half])
            self._answer(batch[half:])
            return
        for index, call in enumerate(batch):
            own = {name: values[index : index + 1] for name, values in outputs.items()}
            call.answer.set_result(own)

    def _run(self, batch: list[_Call]) -> Outputs:
        if len(batch) == 1:
            outputs = self._network.run(batch[0].pixels[None])
        else:
            outputs = self._network.run(np.stack([call.pixels for call in batch]))
        if any(len(values) != len(batch) for values in outputs.values()):
            # Nobody could tell whose faces these are.
            raise RuntimeError("the network does not answer for each picture")
        self._sizes.observe(len(batch))
        return outputs
