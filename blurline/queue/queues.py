"""All queues of the service: which there are, where a job goes to, and what is known of jobs."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.job import JobStatus as RqStatus
from rq.results import Result

from blurline.jobs.job import JobSpec, JobStatus
from blurline.queue.connection import answering
from blurline.queue.jobqueue import GONE_PREFIX, JOB_PREFIX, JobQueue, Submission
from blurline.queue.owners import Owners
from blurline.queue.queuedjob import moment_of, status_of
from blurline.settings import Settings
from blurline.stages.pipeline import Pipeline, queue_of

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

GONE_SECONDS = 3600
"""For how long nobody can queue a job that was given up; longer than any upload is under way."""

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

# A job that has not ended, and that no list of rq's has, waits for nobody. Lists are read at one
# moment with the jobs, since jobs go from one to the other. Of a run rq notes the job's id first.
# Jobs of queues that this process does not know are left alone.
STRAY_SCRIPT = """
local listed, queues = {}, {}
for at = 1, #KEYS, 4 do
    queues[KEYS[at]] = true
    for list = 0, 1 do
        for _, id in ipairs(redis.call('LRANGE', KEYS[at + list], 0, -1)) do listed[id] = true end
    end
    for set = 2, 3 do
        for _, id in ipairs(redis.call('ZRANGE', KEYS[at + set], 0, -1)) do
            listed[string.match(id, '^[^:]*')] = true
        end
    end
end
local strays = {}
for at = 4, #ARGV do
    local id = ARGV[at]
    local key = ARGV[1] .. id
    if not listed[id] and redis.call('TYPE', key).ok == 'hash' then
        local status, origin = unpack(redis.call('HMGET', key, 'status', 'origin'))
        local open = status == 'queued' or status == 'started' or status == 'scheduled'
        if open and queues[ARGV[2] .. (origin or '')] then
            if ARGV[3] == '1' then redis.call('DEL', key) end
            table.insert(strays, id)
        end
    end
end
return strays
"""


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job is, since when in seconds since the epoch, and whose it is.

    `owner` is None where nobody has it, and where somebody else has put it there: ask the order.
    """

    status: JobStatus
    updated_at: float
    owner: str | None = None


class Queues(Mapping[str, JobQueue]):
    """The queues that the pipelines name, by name, with the settings' first one before all others.

    The terms of a queue are those of its slowest pipeline. What its methods tell and do is about
    jobs of all queues; every one raises `QueueUnavailableError` while Redis is away.
    """

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        pipelines: Mapping[str, Pipeline],
    ) -> None:
        self.redis = redis
        patience: dict[str, list[float]] = {settings.queue_name: []}
        for pipeline in pipelines.values():
            patience.setdefault(pipeline.queue, []).append(pipeline.patience)
        self._queues = {
            name: JobQueue(redis, settings, name, max(seconds, default=0.0))
            for name, seconds in patience.items()
        }
        self.first = self._queues[settings.queue_name]
        self._pipelines = pipelines
        self._owners = Owners(settings)
        self._give_up = redis.register_script(GIVE_UP_SCRIPT)
        self._stray = redis.register_script(STRAY_SCRIPT)

    def __getitem__(self, name: str) -> JobQueue:
        return self._queues[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def of(self, pipeline: str) -> JobQueue:
        """The queue of the jobs of a pipeline, or of several by commas.

        Those of one that nobody knows go to the first queue, where they fail as any job fails.
        """
        return self._queues.get(queue_of(self._pipelines, pipeline) or "", self.first)

    def labels(self, pipeline: str) -> tuple[str, str]:
        """What the labels `queue` and `pipeline` of metrics say of its jobs: `other` of several
        pipelines one after the other, and of one that is gone, since labels have few values."""
        return self.of(pipeline).name, pipeline if pipeline in self._pipelines else "other"

    def submit(
        self, specs: Sequence[JobSpec], *, accepted: bool = False, shared: int | None = None
    ) -> list[Submission]:
        """Put each job at the end of its pipeline's queue; see `JobQueue.submit`."""
        queues = [self.of(spec.pipeline) for spec in specs]
        found: dict[int, Submission] = {}
        for queue in dict.fromkeys(queues):
            own = [number for number, one in enumerate(queues) if one is queue]
            jobs = [specs[number] for number in own]
            places = queue.submit(jobs, accepted=accepted, shared=shared)
            found |= dict(zip(own, places, strict=True))
        return [found[number] for number in range(len(specs))]

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
    def strays(self, job_ids: Iterable[str], *, forget: bool = False) -> list[str]:
        """Those of the jobs that Redis takes for waiting or running, but has in none of its lists.

        No worker comes upon them: somebody else's tool was stopped while it moved them.

        Args:
            forget: have Redis know nothing of them any more, so that they can be queued anew.
        """
        prefix = Queue.redis_queue_namespace_prefix
        words: list[Any] = [JOB_PREFIX, prefix, int(forget), *job_ids]
        keys = [key for queue in self.values() for key in queue.lists]
        return [job_id.decode() for job_id in self._stray(keys=keys, args=words)]

    @answering()
    def forget(self, job_id: str) -> bool:
        """Remove all that Redis knows of the job, wherever it is; whether it knew anything.

        A worker that runs it at this moment goes on, and rq then notes its end for `result_ttl`.
        """
        key = Job.key_for(job_id)
        known = bool(self.redis.exists(key))
        owner = self._owners.of(job_id, self.redis.hget(key, "meta"))  # type: ignore[arg-type]
        pipeline = self.redis.pipeline()
        for queue in self.values():
            queue.drop(job_id, owner, pipeline)
        pipeline.delete(key, Result.get_key(job_id))  # type: ignore[no-untyped-call]
        pipeline.execute()
        return known

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
    def check(self) -> None:
        """Return if Redis answers."""
        self.redis.ping()

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
        moment = moment_of(since or enqueued)
        updated_at = moment.timestamp() if moment else time.time()
        return JobState(known, updated_at, self._owners.of(job_id, meta))
