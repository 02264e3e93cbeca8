"""Running totals of each queue, kept in Redis by the workers and read by every API."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq.job import Job

from blurline.jobs.job import JobRecord, JobStatus
from blurline.queue.connection import answering

PREFIX = "blurline:stats:"
TOTALS = "totals"
BUCKET_SECONDS = 10
WINDOWS = {"1m": 60, "5m": 300, "15m": 900}
LONGEST = max(WINDOWS.values())

LATENCY_EDGES = tuple(round(0.02 * 1.15**n, 4) for n in range(74))
"""Upper edges in seconds of the latency histogram, each 1.15 times the last: 20 ms to 9 minutes."""

# One call adds all fields to both hashes, so a reader never sees half a picture. That a job is
# counted stands in rq's own hash of it.
RECORD_SCRIPT = """
if redis.call('EXISTS', KEYS[3]) == 1 and redis.call('HSETNX', KEYS[3], 'counted', 1) == 0 then
    return
end
for n = 1, 2 do
    for i = 2, #ARGV, 2 do
        redis.call('HINCRBYFLOAT', KEYS[n], ARGV[i], ARGV[i + 1])
    end
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class LabelStats:
    """How often a class was seen, and the mean of its confidences."""

    count: int
    mean_confidence: float

    def __add__(self, other: "LabelStats") -> "LabelStats":
        count = self.count + other.count
        confidence = self.count * self.mean_confidence + other.count * other.mean_confidence
        return LabelStats(count, confidence / count)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a span of time, or since the first picture.

    Latencies, from upload to record, and processing times are in seconds.
    """

    completed: int
    failed: int
    processing_seconds: float
    redactions: dict[str, int]
    detections: dict[str, LabelStats]
    latencies: dict[int, int]

    def __add__(self, other: "Totals") -> "Totals":
        labels = self.detections.keys() | other.detections.keys()
        none = LabelStats(0, 0.0)
        return Totals(
            self.completed + other.completed,
            self.failed + other.failed,
            self.processing_seconds + other.processing_seconds,
            dict(Counter(self.redactions) + Counter(other.redactions)),
            {
                label: self.detections.get(label, none) + other.detections.get(label, none)
                for label in sorted(labels)
            },
            dict(Counter(self.latencies) + Counter(other.latencies)),
        )

    @property
    def success_rate(self) -> float | None:
        """Share of ended jobs that were completed, None before any ended."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else None

    @property
    def mean_processing_seconds(self) -> float | None:
        """Mean time in a worker of a completed job, None before any was."""
        return self.processing_seconds / self.completed if self.completed else None

    def latency_percentile(self, share: float) -> float | None:
        """Seconds within which `share` (0 to 1) of the jobs were completed.

        Interpolated within a bucket of the histogram, so right to within 15 %.
        """
        total = sum(self.latencies.values())
        if total == 0:
            return None
        wanted, below = share * total, 0
        for index in sorted(self.latencies):
            inside = self.latencies[index]
            if below + inside >= wanted:
                low = LATENCY_EDGES[index - 1] if index else 0.0
                high = LATENCY_EDGES[min(index, len(LATENCY_EDGES) - 1)]
                return low + (high - low) * (wanted - below) / inside
            below += inside
        return LATENCY_EDGES[-1]


NOTHING = Totals(0, 0, 0.0, {}, {}, {})
"""Before the first picture."""


class Stats:
    """Adds up a queue's ended jobs: in all, and in buckets of ten seconds for a quarter of an hour.

    `queue` is its name, empty for the first one of the service: releases that had no other kept
    their sums under names without any.
    """

    def __init__(self, redis: Redis, queue: str = "") -> None:
        self._redis = redis
        self._place = f"{PREFIX}{queue}:" if queue else PREFIX
        self._record = redis.register_script(RECORD_SCRIPT)

    @answering()
    def record(self, record: JobRecord) -> None:
        """Count a job that has ended, after its record was committed.

        However often it is called, the job counts once as long as the queue knows it.

        Raises:
            QueueUnavailableError: Redis is away; whether the job is counted is not known.
        """
        fields = _fields(record)
        arguments: list[str | float] = [LONGEST + 2 * BUCKET_SECONDS]
        for name, amount in fields.items():
            arguments += [name, amount]
        keys = [self._place + TOTALS, self._bucket(record.updated_at), Job.key_for(record.job_id)]
        self._record(keys=keys, args=arguments)

    def totals(self) -> Totals:
        """Everything since the first picture."""
        return self._read([self._place + TOTALS])

    def pace(self) -> float | None:
        """Mean seconds in a worker of the jobs that were completed last; None before any was.

        It is time of a thread at work, so a time without jobs does not make workers look slow: it
        only makes the figure older. It is of the last minute, or else of the shortest longer span
        in which a job was completed.
        """
        for seconds in WINDOWS.values():
            if (mean := self.window(seconds).mean_processing_seconds) is not None:
                return mean
        return self.totals().mean_processing_seconds

    def window(self, seconds: int, now: float | None = None) -> Totals:
        """The last `seconds` up to `now`, at most a quarter of an hour, in steps of ten seconds."""
        end = time.time() if now is None else now
        steps = range(seconds // BUCKET_SECONDS)
        return self._read([self._bucket(end - BUCKET_SECONDS * step) for step in steps])

    @answering()
    def _read(self, keys: list[str]) -> Totals:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        replies: list[dict[bytes, bytes]] = pipeline.execute()
        sums: Counter[str] = Counter()
        for reply in replies:
            for name, amount in reply.items():
                sums[name.decode()] += float(amount)  # type: ignore[assignment]
        return _totals(sums)

    def _bucket(self, moment: float) -> str:
        return f"{self._place}{int(moment) // BUCKET_SECONDS}"


def _fields(record: JobRecord) -> dict[str, float]:
    """What one job adds, by field of the hash."""
    if record.status is not JobStatus.COMPLETED:
        return {"failed": 1}
    latency = max(0.0, record.updated_at - record.submitted_at)
    edge = next((i for i, e in enumerate(LATENCY_EDGES) if latency <= e), len(LATENCY_EDGES))
    fields: Counter[str] = Counter({"completed": 1, f"latency:{edge}": 1})
    fields["processing_seconds"] = record.seconds  # type: ignore[assignment]
    return {**fields, **record.tally}


def _totals(sums: "Counter[str]") -> Totals:
    def named(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): value
            for name, value in sorted(sums.items())
            if name.startswith(prefix)
        }

    return Totals(
        completed=round(sums["completed"]),
        failed=round(sums["failed"]),
        processing_seconds=float(sums["processing_seconds"]),
        redactions={target: round(count) for target, count in named("redacted:").items()},
        detections={
            label: LabelStats(round(count), sums[f"confidence:{label}"] / count)
            for label, count in named("seen:").items()
        },
        latencies={int(index): round(count) for index, count in named("latency:").items()},
    )
