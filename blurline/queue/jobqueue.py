"""The queue as its callers see it: jobs go in, their state comes out."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis import Redis
from rq import Queue
from rq import Retry as RetryPolicy
from rq.job import Job
from rq.job import JobStatus as RqStatus
from rq.results import Result
from rq.utils import now as rq_now
from rq.utils import utcparse

from blurline.jobs.job import JobSpec, JobStatus
from blurline.queue.connection import answering
from blurline.queue.queuedjob import RETRY_SECONDS, TASK, rq_queue, status_of
from blurline.queue.shares import HELD_SECONDS, ROOM, Shares
from blurline.settings import Settings
from blurline.storage.masterkeys import signet_of
from blurline.storage.signet import Signet

JOB_PREFIX = Job.redis_job_namespace_prefix

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


GONE_PREFIX = "blurline:gone:"
GONE_SECONDS = 3600
"""For how long nobody can queue a job that was given up; longer than any upload is under way."""

# All of them at one moment, so that callers at once can neither overfill the queue nor queue a job
# twice. Before each job's fields stands how many words they are.
SUBMIT_SCRIPT = f"""{ROOM}
redis.call('SADD', KEYS[2], KEYS[1])
local jobs, gone, seconds = unpack(ARGV, 1, 3)
local places, shared, share = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local answers, at = {{}}, 7
while at <= #ARGV do
    local id, mine, words = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local key = jobs .. id
    if redis.call('EXISTS', key) == 1 then
        table.insert(answers, 'known')
    elseif redis.call('EXISTS', gone .. id) == 1 then
        table.insert(answers, 'gone')
    else
        local answer = room(KEYS[1], mine, places, shared, share, jobs)
        if answer == 'queued' then
            redis.call('HSET', key, unpack(ARGV, at + 3, at + 2 + words))
            redis.call('RPUSH', KEYS[1], id)
            if mine ~= '' then
                redis.call('RPUSH', mine, id)
                redis.call('EXPIRE', mine, seconds)
            end
        end
        table.insert(answers, answer)
    end
    at = at + 3 + words
end
return answers
"""

ROOM_SCRIPT = f"""{ROOM}
local places, shared, share = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
return room(KEYS[1], ARGV[2], places, shared, share, ARGV[1])
"""

GIVE_UP_SCRIPT = """
local free = {}
for at = 4, #ARGV do
    if redis.call('EXISTS', ARGV[1] .. ARGV[at]) == 0 then
        redis.call('SET', ARGV[2] .. ARGV[at], 1, 'EX', ARGV[3])
        table.insert(free, ARGV[at])
    end
end
return free
"""


class Submission(StrEnum):
    """What became of a job that was to be queued. `KNOWN`: it was queued before. `SHARE`: its
    caller holds all the places that it may. `GONE`: it was given up, and its picture may be removed
    already."""

    QUEUED = "queued"
    KNOWN = "known"
    FULL = "full"
    SHARE = "share"
    GONE = "gone"

    @property
    def taken(self) -> bool:
        """Whether the job is in the queue, or was."""
        return self in (Submission.QUEUED, Submission.KNOWN)


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job is, since when in seconds since the epoch, and whose it is.

    `owner` is None where nobody has it, and where somebody else has put it there: ask the order.
    """

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

    A message says no more than that a job waits: what is to be done is in its order in the store.
    So whoever can write to Redis can neither run code in a worker nor change what a job is.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self._settings = settings
        self._queue = rq_queue(redis, settings)
        self._owners = signet_of(settings, b"owner")
        self._shares = Shares(settings)
        self._submit = redis.register_script(SUBMIT_SCRIPT)
        self._room = redis.register_script(ROOM_SCRIPT)
        self._give_up = redis.register_script(GIVE_UP_SCRIPT)

    @answering()
    def submit(
        self, specs: Sequence[JobSpec], *, accepted: bool = False, shared: int | None = None
    ) -> list[Submission]:
        """Put the jobs at the end of the queue, unless Redis knows them, at one moment.

        Args:
            accepted: they were taken in before, so they get a place even in a full queue.
            shared: places that callers share; None where they do not.

        Returns:
            What became of each. Those for which `max_queue_size`, or their caller's share, left no
            place are not queued.
        """
        places = -1 if accepted else self._settings.max_queue_size
        bounds = self._shares.bounds(None if accepted else shared)
        words: list[Any] = [JOB_PREFIX, GONE_PREFIX, HELD_SECONDS, places, *bounds]
        for spec in specs:
            fields = [word for pair in self._fields(spec).items() for word in pair]
            words += [spec.job_id, self._shares.list_of(spec.owner), len(fields), *fields]
        keys = [self._queue.key, Queue.redis_queues_keys]
        return [Submission(word.decode()) for word in self._submit(keys=keys, args=words)]

    @answering()
    def room(self, owner: str | None, places: int, shared: int | None) -> Submission:
        """`QUEUED` if there is a place for a job of that caller at this moment, or why not.

        Args:
            places: jobs that may wait.
            shared: places that callers share; None where they do not.
        """
        words = [JOB_PREFIX, self._shares.list_of(owner), places, *self._shares.bounds(shared)]
        return Submission(self._room(keys=[self._queue.key], args=words).decode())

    @answering()
    def give_up(self, job_ids: Iterable[str]) -> list[str]:
        """Have nobody queue these jobs from now on, but for those that Redis knows already.

        Returns:
            The jobs that are not queued and won't be, so that their pictures can be removed.
        """
        words: list[Any] = [JOB_PREFIX, GONE_PREFIX, GONE_SECONDS, *job_ids]
        return [job_id.decode() for job_id in self._give_up(keys=[], args=words)]

    @answering()
    def known(self, job_ids: Iterable[str]) -> list[bool]:
        """Whether Redis knows anything of each job, by one exchange."""
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.exists(Job.key_for(job_id))
        return [bool(found) for found in pipeline.execute()]

    @answering()
    def forget(self, job_id: str) -> bool:
        """Remove all that Redis knows of the job, wherever it is; whether it knew anything.

        A worker that runs it at this moment goes on, and rq then notes its end for `result_ttl`.
        """
        key = Job.key_for(job_id)
        known = bool(self.redis.exists(key))
        owner = _owner(self._owners, job_id, self.redis.hget(key, "meta"))  # type: ignore[arg-type]
        self._shares.forget(self.redis, owner, job_id)
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
        asked = list(job_ids)
        pipeline = self.redis.pipeline(transaction=False)
        for job_id in asked:
            pipeline.hmget(Job.key_for(job_id), *fields)
        found = zip(asked, pipeline.execute(), strict=True)
        return [self._state(job_id, *values) for job_id, values in found]

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
            age = max(0.0, time.time() - _seconds(since))  # type: ignore[arg-type]
        return QueueCounts(waiting, retrying, processing, failed, age)

    @answering()
    def check(self) -> None:
        """Return if Redis answers."""
        self.redis.ping()

    def _fields(self, spec: JobSpec) -> dict[str, Any]:
        """The hash by which rq knows a job that waits."""
        settings = self._settings
        job = self._queue.create_job(
            TASK,
            job_id=spec.job_id,
            timeout=settings.job_timeout,
            result_ttl=settings.result_ttl,
            failure_ttl=settings.failure_ttl,
            description=spec.pipeline,
            # So that who asks for a job that waits is told apart without the store.
            meta=None if spec.owner is None else self._named(spec.job_id, spec.owner),
            retry=RetryPolicy(max=len(RETRY_SECONDS), interval=list(RETRY_SECONDS)),
        )
        job.enqueued_at = rq_now()
        return {name: value for name, value in job.to_dict().items() if value is not None}

    def _named(self, job_id: str, owner: str) -> dict[str, str]:
        return {"owner": owner, "tag": self._owners.tag(job_id, owner.encode())}

    def _state(
        self,
        job_id: str,
        status: bytes | None,
        enqueued: bytes | None,
        started: bytes | None,
        ended: bytes | None,
        meta: bytes | None,
    ) -> JobState | None:
        """The state from the fields of rq's hash of a job."""
        found = status_of(status)
        if found is None:
            return None
        known = STATUS[found]
        since = {JobStatus.SUBMITTED: enqueued, JobStatus.PROCESSING: started}.get(known, ended)
        owner = _owner(self._owners, job_id, meta)
        return JobState(known, _seconds(since or enqueued), owner)


def _owner(owners: Signet, job_id: str, meta: bytes | None) -> str | None:
    """Whose the job is by rq's field, if this service has written it."""
    try:
        told = json.loads(meta or b"{}")
        owner, tag = str(told["owner"]), str(told["tag"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return owner if owners.holds(tag, job_id, owner.encode()) else None


def _seconds(timestamp: bytes | None) -> float:
    """The moment in seconds since the epoch; now where there is none that can be read."""
    try:
        return utcparse((timestamp or b"").decode()).timestamp()
    except (ValueError, OverflowError):
        return time.time()
