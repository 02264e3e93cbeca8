"""What the workers of a queue can do, and how long what waits there will take them."""

import time
from dataclasses import dataclass

from blurline.queue.jobqueue import JobQueue, QueueCounts
from blurline.queue.presence import Presence, WorkerReport

MODELS_SECONDS = 2.0
"""For how long an answer of which networks the workers have is good."""

PREDICTION_SECONDS = 1.0
"""For how long a prediction is good."""


@dataclass(frozen=True, slots=True)
class Load:
    """What waits and runs, and in how many seconds that is done; None while nobody knows."""

    counts: QueueCounts
    seconds: float | None


class Capacity:
    """Answers questions of one process about one queue; changes nothing. All methods block.

    They raise `QueueUnavailableError` while Redis is away.
    """

    def __init__(self, queue: JobQueue, presence: Presence) -> None:
        self._queue = queue
        self._presence = presence
        self._models: tuple[float, frozenset[str] | None] = (-MODELS_SECONDS, None)
        self._prediction: tuple[float, float | None] = (-PREDICTION_SECONDS, None)
        self._pace: tuple[float, float | None] = (-PREDICTION_SECONDS, None)

    def load(self) -> Load:
        """The queue as it is now."""
        counts, threads = self._queue.counts(), self._threads()
        ahead = counts.waiting + counts.retrying + counts.processing
        return Load(counts, _estimate(ahead, self._queue.stats.pace(), threads))

    def predicted_seconds(self) -> float | None:
        """`seconds` of `load`, at most a second old."""
        asked_at, _ = self._prediction
        if time.monotonic() - asked_at >= PREDICTION_SECONDS:
            self._prediction = (time.monotonic(), self.load().seconds)
        return self._prediction[1]

    def seconds_each(self) -> float | None:
        """How much longer the work ahead takes for each job, at most a second old; None while
        nobody knows."""
        asked_at, _ = self._pace
        if time.monotonic() - asked_at >= PREDICTION_SECONDS:
            threads = self._threads()
            each = self._queue.stats.pace() if threads else None
            self._pace = (time.monotonic(), each / threads if each else None)
        return self._pace[1]

    def loaded_models(self) -> frozenset[str] | None:
        """Names of the networks that all who serve the queue have loaded; None if nobody does."""
        asked_at, _ = self._models
        if time.monotonic() - asked_at >= MODELS_SECONDS:
            workers = self._presence.serving(self._queue.name)
            self._models = (time.monotonic(), loaded_everywhere(workers) if workers else None)
        return self._models[1]

    def _threads(self) -> int:
        """How many jobs of the queue can run at a time."""
        name = self._queue.name
        return sum(worker.queues[name].threads for worker in self._presence.serving(name))


def loaded_everywhere(workers: list[WorkerReport]) -> frozenset[str]:
    """The networks that each of the workers has loaded: any of them may get a job."""
    models = [frozenset(worker.models) for worker in workers]
    return frozenset.intersection(*models) if models else frozenset()


def _estimate(ahead: int, each: float | None, threads: int) -> float | None:
    """Seconds until so many jobs are done; None if nobody works, or nobody knows how fast."""
    if not ahead and threads:
        return 0.0
    return round(ahead * each / threads, 3) if threads and each else None
