"""What is believed of a job's hash in Redis: that it waits, since when, and how often it was tried.

rq takes far more from there: which function to import and call, what to import when that succeeds
or fails, where to post to, which other jobs to queue. So whoever could write to Redis would run
code in a worker. Of all that nothing is read here, and what a job is to do comes out of the store.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from blurline.queue.connection import reason
from blurline.settings import Settings

TASK = "blurline.queue.task.process_image"
"""What messages name. It is compared, and never imported."""

RETRY_SECONDS = (1, 5, 15, 60, 300)
"""Waits before the second and later tries of a job: about six minutes in all."""

MESSAGE_HEAD = f'["{TASK}", null, '.encode()
"""How messages begin, this version's and those of earlier ones, which went on with the options."""

VERSION = 2
"""Of messages, as their keyword arguments say it. Those that say none are of the first."""

VERSIONED = re.compile(rb'\[\], \{"version": ([0-9]{1,4})\}\]')
MOST_BYTES = len(MESSAGE_HEAD) + 64
"""What of a message is looked at: it may be of any size."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds that a job of a queue may take, and is known for once it is done, or has failed."""

    timeout: int
    result_ttl: int
    failure_ttl: int

    @classmethod
    def of(cls, settings: Settings, patience: float) -> "Terms":
        """Those of a queue whose jobs may take so many seconds."""
        return cls(ceil(patience), settings.result_ttl, settings.failure_ttl)


class QueuedJob(Job):
    """A job of rq that knows of its hash only what this module names.

    `refused`: the hash asks for something else than this service's one task. `later`: it is of a
    later version of the service, whose workers will know what to do.
    """

    refused = later = False

    def refresh(self) -> None:
        """Read the hash anew.

        Raises:
            NoSuchJobError: there is none; also where something else has its name.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ResponseError as error:
            if reason(error) != "WRONGTYPE":
                raise
            raise NoSuchJobError("there is something else under the name of the job") from None

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take over what is believed, and leave all else as it is in a job that is new."""
        told = raw_data.get
        version = _version_of(told(b"data") or b"")
        self.refused, self.later = version is None, (version or 0) > VERSION
        self._func_name, self._instance, self._args, self._kwargs = TASK, None, (), {}
        self.enqueued_at = moment_of(told(b"enqueued_at"))
        self.started_at = moment_of(told(b"started_at"))
        self.ended_at = moment_of(told(b"ended_at"))
        self.created_at = moment_of(told(b"created_at")) or datetime.now(UTC)
        self._status = status_of(told(b"status")) or JobStatus.QUEUED
        self.retries_left = _tries(told(b"retries_left"))
        self.retry_intervals = list(RETRY_SECONDS)

    def bind(self, queue: "PictureQueue") -> None:
        """Belong to that queue and keep to its terms, whatever the hash says."""
        self.origin = queue.name
        self.timeout = queue.terms.timeout
        self.result_ttl, self.failure_ttl = queue.terms.result_ttl, queue.terms.failure_ttl


class PictureQueue(Queue):
    """rq's queue of pictures, whose jobs are `QueuedJob`s and wait for no other job."""

    job_class = QueuedJob

    def __init__(self, name: str, connection: Redis, terms: Terms) -> None:
        super().__init__(
            name, connection=connection, job_class=QueuedJob, serializer=JSONSerializer
        )
        self.terms = terms

    def over(self, connection: Redis) -> "PictureQueue":
        """The same queue by another connection."""
        return PictureQueue(self.name, connection, self.terms)

    @property
    def started_job_registry(self) -> "StartedJobs":
        """See `StartedJobs`."""
        return StartedJobs(self)

    def enqueue_dependents(self, *_: Any, **__: Any) -> None:
        """No job depends on another here, whatever lies in Redis under names that say so."""


class StartedJobs(StartedJobRegistry):
    """The jobs that run. Those that are taken back from dead workers go to the very same queue."""

    def __init__(self, queue: PictureQueue) -> None:
        super().__init__(queue=queue, job_class=QueuedJob)
        self._queue = queue

    def get_queue(self) -> PictureQueue:
        """The queue that it was made for; rq would make a plain one."""
        return self._queue


def status_of(value: bytes | None) -> JobStatus | None:
    """rq's state of a job; None if the hash has none, or none that rq knows."""
    try:
        return JobStatus((value or b"").decode())
    except ValueError:
        return None


def _version_of(data: bytes) -> int | None:
    """The version of a message; None if it names another task than the one there is."""
    try:
        begin = zlib.decompressobj().decompress(data, MOST_BYTES)
    except zlib.error:
        return None
    if not begin.startswith(MESSAGE_HEAD):
        return None
    told = VERSIONED.fullmatch(begin, len(MESSAGE_HEAD))
    return int(told[1]) if told else 1


def moment_of(value: bytes | None) -> datetime | None:
    """A moment that rq has written; None if there is none that can be read."""
    try:
        return utcparse(value.decode()) if value else None
    except (ValueError, OverflowError):
        return None


def _tries(value: bytes | None) -> int:
    try:
        return min(max(int(value or 0), 0), len(RETRY_SECONDS))
    except ValueError:
        return 0
