"""One queue as its callers see it: jobs go in, and what waits is counted."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq import Retry as RetryPolicy
from rq.job import Job
from rq.utils import now as rq_now

from blurline.jobs.job import JobSpec
from blurline.queue.connection import answering
from blurline.queue.owners import Owners
from blurline.queue.queuedjob import RETRY_SECONDS, TASK, VERSION, PictureQueue, Terms, moment_of
from blurline.queue.shares import HELD_SECONDS, ROOM, Shares
from blurline.queue.stats import Stats
from blurline.settings import Settings

JOB_PREFIX = Job.redis_job_namespace_prefix

GONE_PREFIX = "blurline:gone:"
"""Of names under which stands that a job was given up, so that nobody may queue it."""

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
    """An rq queue of pictures. Every method raises `QueueUnavailableError` while Redis is away.

    A message says no more than that a job waits: what is to be done is in its order in the store.
    So whoever can write to Redis can neither run code in a worker nor change what a job is.

    Attributes:
        rq: rq's own view of the queue.
        stats: what has become of its jobs.
        shares: of its places.
    """

    def __init__(
        self, redis: Redis, settings: Settings, name: str | None = None, patience: float = 0.0
    ) -> None:
        """A queue of that name whose jobs may take so many seconds; else the settings' first."""
        self.redis = redis
        self.name = name or settings.queue_name
        terms = Terms.of(settings, patience or settings.job_timeout)
        self.rq = PictureQueue(self.name, redis, terms)
        self.stats = Stats(redis, "" if self.name == settings.queue_name else self.name)
        self.shares = Shares(settings, self.name)
        self._places = settings.max_queue_size
        self._owners = Owners(settings)
        self._submit = redis.register_script(SUBMIT_SCRIPT)
        self._room = redis.register_script(ROOM_SCRIPT)

    @property
    def key(self) -> str:
        """Name of the list of jobs that wait."""
        return str(self.rq.key)

    @property
    def lists(self) -> tuple[str, str, str, str]:
        """Names of the lists of jobs that wait, that were just taken, that run, and that wait for
        their next try."""
        rq = self.rq
        later = rq.scheduled_job_registry.key
        return self.key, rq.intermediate_queue_key, rq.started_job_registry.key, later

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
        places = -1 if accepted else self._places
        bounds = self.shares.bounds(None if accepted else shared)
        words: list[Any] = [JOB_PREFIX, GONE_PREFIX, HELD_SECONDS, places, *bounds]
        for spec in specs:
            fields = [word for pair in self._fields(spec).items() for word in pair]
            words += [spec.job_id, self.shares.list_of(spec.owner), len(fields), *fields]
        keys = [self.key, Queue.redis_queues_keys]
        return [Submission(word.decode()) for word in self._submit(keys=keys, args=words)]

    @answering()
    def room(self, owner: str | None, places: int, shared: int | None) -> Submission:
        """`QUEUED` if there is a place for a job of that caller at this moment, or why not.

        Args:
            places: jobs that may wait.
            shared: places that callers share; None where they do not.
        """
        words = [JOB_PREFIX, self.shares.list_of(owner), places, *self.shares.bounds(shared)]
        return Submission(self._room(keys=[self.key], args=words).decode())

    @answering()
    def depth(self) -> int:
        """How many jobs wait."""
        return int(self.redis.llen(self.key))

    @answering()
    def counts(self) -> QueueCounts:
        """The queue's counts, as of one moment."""
        pipeline = self.redis.pipeline()
        pipeline.llen(self.key)
        pipeline.zcard(self.rq.scheduled_job_registry.key)
        pipeline.zcard(self.rq.started_job_registry.key)
        pipeline.zcard(self.rq.failed_job_registry.key)
        pipeline.lindex(self.key, 0)
        waiting, retrying, processing, failed, oldest = pipeline.execute()
        age = 0.0
        if oldest is not None:
            since: Any = self.redis.hget(Job.key_for(oldest.decode()), "enqueued_at")
            enqueued = moment_of(since)
            age = max(0.0, time.time() - enqueued.timestamp()) if enqueued else 0.0
        return QueueCounts(waiting, retrying, processing, failed, age)

    def drop(self, job_id: str, owner: str | None, pipeline: Pipeline) -> None:
        """Have `pipeline` take the job off all lists of the queue, and of that caller's places."""
        pipeline.lrem(self.key, 0, job_id)
        for registry in (
            self.rq.scheduled_job_registry,
            self.rq.finished_job_registry,
            self.rq.failed_job_registry,
        ):
            pipeline.zrem(registry.key, job_id)
        if owner is not None:
            pipeline.lrem(self.shares.list_of(owner), 0, job_id)

    def _fields(self, spec: JobSpec) -> dict[str, Any]:
        """The hash by which rq knows a job that waits."""
        terms = self.rq.terms
        job = self.rq.create_job(
            TASK,
            kwargs={"version": VERSION},
            job_id=spec.job_id,
            timeout=terms.timeout,
            result_ttl=terms.result_ttl,
            failure_ttl=terms.failure_ttl,
            description=spec.pipeline,
            # So that who asks for a job that waits is told apart without the store.
            meta=self._owners.named(spec.job_id, spec.owner),
            retry=RetryPolicy(max=len(RETRY_SECONDS), interval=list(RETRY_SECONDS)),
        )
        job.enqueued_at = rq_now()
        return {name: value for name, value in job.to_dict().items() if value is not None}
