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
class WorkerReport:
    """What a worker process says of itself.

    `cpu_percent` is of one core, `memory_bytes` the resident set, `reported_at` in seconds since
    the epoch; `models` are the networks that it has loaded, `precisions` in what each of them
    computes, empty if the process is of a release that does not tell.
    """

    name: str
    threads: int
    busy: int
    models: tuple[str, ...]
    cpu_percent: float
    memory_bytes: int
    reported_at: float
    precisions: Mapping[str, str] = field(default_factory=dict)


class Presence:
    """The list of worker processes, which each of them writes itself into every few seconds."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

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
        reports = [_parse(text) for text in self._redis.hgetall(KEY).values()]
        oldest = time.time() - ALIVE_SECONDS
        for report in reports:
            if report.reported_at < oldest:
                self._redis.hdel(KEY, report.name)
        living = (report for report in reports if report.reported_at >= oldest)
        return sorted(living, key=lambda report: report.name)


def _parse(text: bytes | str) -> WorkerReport:
    values = json.loads(text)
    # A worker of a later release may tell more.
    known = {name.name: values[name.name] for name in fields(WorkerReport) if name.name in values}
    return WorkerReport(**{**known, "models": tuple(known["models"])})
