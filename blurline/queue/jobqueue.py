"""The queue as its callers see it: jobs go in, their state comes out."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from redis import Redis
from rq import Queue
from rq import Retry as RetryPolicy
from rq.job import Job
from rq.job import JobStatus as RqStatus
from rq.queue import EnqueueData
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from blurline.jobs.job import JobSpec, JobStatus
from blurline.queue.connection import answering
from blurline.queue.outbox import Outbox
from blurline.settings import Settings

TASK = "blurline.queue.task.process_image"
"""What rq calls for a job, by name, so that the API never imports a worker's code."""

RETRY_SECONDS = (1, 5, 15, 60, 300)
"""Waits before the second and later tries of a job: about six minutes in all."""

STATUS = {
    RqStatus.CREATED: JobStatus.SUBMITTED,
    RqStatus.QUEUED: JobStatus.SUBMITTED,
    RqStatus.DEFERRED: JobStatus.SUBMITTED,
    RqStatus.SCHEDULED: JobStatus.SUBMITTED,  # waits for its next try
    RqStatus.STARTED: JobStatus.PROCESSING,
    RqStatus.FINISHED: JobStatus.COMPLETED,
    RqStatus.FAILED: JobStatus.FAILED,
    RqStatus.STOPPED: JobStatus.FAILED,
    RqStatus.CANCELED: JobStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job is, since when in seconds since the epoch, and whose it is."""

    status: JobStatus
    updated_at: float
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs wait, wait for their next try, run, and have failed of late.

    `oldest_age` is in seconds, 0 for an empty queue.
    """

    waiting: int
    retrying: int
    processing: int
    failed: int
    oldest_age: float


class JobQueue:
    """The rq queue of pictures. Every method raises `QueueUnavailableError` while Redis is away.

    Messages are JSON, not pickles, so that whoever can write to Redis can't run code in a worker.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self._settings = settings
        self._queue = rq_queue(redis, settings)
        self._outbox = Outbox(redis, settings.queue_name)

    @answering()
    def submit(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """Put the jobs at the end of the queue, in one transaction: all of them or none.

        Those beyond `max_queue_size` are taken out again, unless a worker was faster. So many
        callers at once can't overfill the queue, and none of them waits for another.

        Returns:
            The jobs that found no place.
        """
        pipeline = self.redis.pipeline()
        self._queue.enqueue_many([self._enqueue_data(spec) for spec in specs], pipeline=pipeline)
        pipeline.llen(self._queue.key)
        surplus = pipeline.execute()[-1] - self._settings.max_queue_size
        return self._withdraw(specs[-surplus:]) if surplus > 0 else []

    def _withdraw(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """Take jobs out of the queue; those that were still in it."""
        pipeline = self.redis.pipeline()
        for spec in specs:
            pipeline.lrem(self._queue.key, 1, spec.job_id)
        found = pipeline.execute()
        withdrawn = [spec for spec, count in zip(specs, found, strict=True) if count]
        if withdrawn:
            self.redis.delete(*(Job.key_for(spec.job_id) for spec in withdrawn))
        return withdrawn

    @answering()
    def forget(self, job_id: str) -> bool:
        """Remove all that Redis knows of the job, wherever it is; whether it knew anything.

        A worker that runs it at this moment goes on, and rq then notes its end for `result_ttl`.
        """
        key = Job.key_for(job_id)
        known = bool(self.redis.exists(key))
        self._outbox.remove(job_id)
        pipeline = self.redis.pipeline()
        pipeline.lrem(self._queue.key, 0, job_id)
        for registry in (
            self._queue.scheduled_job_registry,
            self._queue.finished_job_registry,
            self._queue.failed_job_registry,
        ):
            pipeline.zrem(registry.key, job_id)
        pipeline.delete(key, Result.get_key(job_id))  # type: ignore[no-untyped-call]
        pipeline.execute()
        return known

    @answering()
    def depth(self) -> int:
        """How many jobs wait."""
        return int(self.redis.llen(self._queue.key))

    @answering()
    def states(self, job_ids: Iterable[str]) -> list[JobState | None]:
        """The state of each job, None for one that Redis does not know (any more)."""
        fields = ("status", "enqueued_at", "started_at", "ended_at", "meta")
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hmget(Job.key_for(job_id), *fields)
        return [_state(*values) for values in pipeline.execute()]

    @answering()
    def counts(self) -> QueueCounts:
        """The queue's counts, as of one moment."""
        queue = self._queue
        pipeline = self.redis.pipeline()
        pipeline.llen(queue.key)
        pipeline.zcard(queue.scheduled_job_registry.key)
        pipeline.zcard(queue.started_job_registry.key)
        pipeline.zcard(queue.failed_job_registry.key)
        pipeline.lindex(queue.key, 0)
        waiting, retrying, processing, failed, oldest = pipeline.execute()
        age = 0.0
        if oldest is not None:
            since = self.redis.hget(Job.key_for(oldest.decode()), "enqueued_at")
            age = max(0.0, time.time() - _seconds(since)) if since else 0.0  # type: ignore[arg-type]
        return QueueCounts(waiting, retrying, processing, failed, age)

    @answering()
    def check(self) -> None:
        """Return if Redis answers."""
        self.redis.ping()

    def _enqueue_data(self, spec: JobSpec) -> EnqueueData:
        settings = self._settings
        return Queue.prepare_data(
            TASK,
            kwargs=spec.to_message(),
            job_id=spec.job_id,
            timeout=settings.job_timeout,
            result_ttl=settings.result_ttl,
            failure_ttl=settings.failure_ttl,
            # rq's own description would repeat all arguments, the file's name included.
            description=spec.pipeline,
            # Beside the message, which is packed, so that who asks for a job is told apart quickly.
            meta=None if spec.owner is None else {"owner": spec.owner},
            retry=RetryPolicy(max=len(RETRY_SECONDS), interval=list(RETRY_SECONDS)),
        )


def rq_queue(redis: Redis, settings: Settings) -> Queue:
    """rq's own view of the queue."""
    return Queue(settings.queue_name, connection=redis, serializer=JSONSerializer)


def _state(
    status: bytes | None,
    enqueued: bytes | None,
    started: bytes | None,
    ended: bytes | None,
    meta: bytes | None,
) -> JobState | None:
    """The state from the fields of rq's hash of a job."""
    if status is None:
        return None
    known = STATUS[RqStatus(status.decode())]
    since = {JobStatus.SUBMITTED: enqueued, JobStatus.PROCESSING: started}.get(known, ended)
    owner = json.loads(meta).get("owner") if meta else None
    return JobState(known, _seconds(since or enqueued), owner)


def _seconds(timestamp: bytes | None) -> float:
    if not timestamp:
        return time.time()
    parsed: datetime = utcparse(timestamp.decode())
    return parsed.timestamp()
