"""Which worker processes are alive, what they can do and what they use."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from redis import Redis

from blurline.queue.connection import answering

KEY = "blurline:workers"
ALIVE_SECONDS = 10
"""A process that has not reported for this long is taken for dead."""


@dataclass(frozen=True, slots=True)
class Hands:
    """How many jobs of a queue a process can run at a time, and how many it runs now."""

    threads: int
    busy: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker process says of itself.

    `threads` and `busy` are those of all `queues` that it serves; a process of a release that knew
    one queue names none, and serves the first. `cpu_percent` is of one core, `memory_bytes` the
    resident set, `reported_at` in seconds since the epoch; `models` are the networks that it has
    loaded, `precisions` in what each of them computes, empty if the process does not tell.
    """

    name: str
    threads: int
    busy: int
    models: tuple[str, ...]
    cpu_percent: float
    memory_bytes: int
    reported_at: float
    precisions: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, Hands] = field(default_factory=dict)


class Presence:
    """The list of worker processes, which each of them writes itself into every few seconds.

    `first` is the name of the service's first queue.
    """

    def __init__(self, redis: Redis, first: str) -> None:
        self._redis = redis
        self._first = first

    def report(self, report: WorkerReport) -> None:
        """Be seen for the next ten seconds."""
        self._redis.hset(KEY, report.name, json.dumps(asdict(report)))

    def leave(self, name: str) -> None:
        """Be gone at once."""
        self._redis.hdel(KEY, name)

    @answering()
    def alive(self) -> list[WorkerReport]:
        """The processes that reported of late, by name; older reports are removed.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        reports = [self._parse(text) for text in self._redis.hgetall(KEY).values()]
        oldest = time.time() - ALIVE_SECONDS
        for report in reports:
            if report.reported_at < oldest:
                self._redis.hdel(KEY, report.name)
        living = (report for report in reports if report.reported_at >= oldest)
        return sorted(living, key=lambda report: report.name)

    def serving(self, queue: str) -> list[WorkerReport]:
        """Those of `alive` that take jobs of that queue.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        return [report for report in self.alive() if queue in report.queues]

    def _parse(self, text: bytes | str) -> WorkerReport:
        values = json.loads(text)
        # A worker of a later release may tell more.
        known = {one.name: values[one.name] for one in fields(WorkerReport) if one.name in values}
        queues = {name: Hands(**hands) for name, hands in known.get("queues", {}).items()}
        alone = {self._first: Hands(known["threads"], known["busy"])}
        return WorkerReport(
            **{**known, "models": tuple(known["models"]), "queues": queues or alone}
        )
