"""What keeps the queue in order: jobs of dead workers and jobs that wait for their next try."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import LockError
from rq.job import Job, JobStatus
from rq.utils import now as rq_now
from rq.utils import utcformat
from rq.worker_registration import clean_worker_registry

from blurline.jobs.job import JobError
from blurline.queue.queuedjob import RETRY_SECONDS, PictureQueue, QueuedJob
from blurline.queue.queues import Queues
from blurline.worker.endings import Endings

LOCK_KEY = "blurline:keeper"
LOCK_SECONDS = 30

SILENT = 1
"""The moment, long past, until which a job was held whose worker gives no sign any more."""

CLOCKS_APART = 60
"""Seconds by which the clocks of two machines may differ before a job's waiting is cut short."""

LOST = JobError(
    "worker_lost", "the workers that ran this job were lost each time; it will not be tried again"
)

# Once, whoever else does the same; and not a job that Redis has forgotten meanwhile.
GIVE_BACK_SCRIPT = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) > 0 and redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[1])
end
"""

# A job that Redis has forgotten meanwhile waits for nothing any more.
DUE_SCRIPT = """
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
    redis.call('ZREM', KEYS[1], id)
    local key = ARGV[2] .. id
    if redis.call('TYPE', key).ok == 'hash' then
        redis.call('HSET', key, 'status', ARGV[3], 'enqueued_at', ARGV[4])
        redis.call('RPUSH', KEYS[2], id)
    end
end
"""

WAITING = re.compile(rb"[A-Za-z0-9_-]{1,64}")
RUNNING = re.compile(rb"[A-Za-z0-9_-]{1,64}:[A-Za-z0-9_-]{1,64}")
"""Ids of jobs, and how rq notes a run of one. It stumbles over anything else in its lists."""

log = logging.getLogger(__name__)


class Keeper:
    """Keeps all queues. Many processes have one; at any time one of them works, by a lock in Redis.

    Args:
        abandoned_after: seconds without a sign of life after which a job is given back.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        queues: Queues,
        endings: Endings,
        abandoned_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = queues.redis
        self._keepers = [
            QueueKeeper(queue.rq, endings, abandoned_after, clock) for queue in queues.values()
        ]

    def keep(self) -> None:
        """Put jobs of dead workers and jobs whose waiting time is over back into their queues."""
        lock = self._redis.lock(LOCK_KEY, timeout=LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            for keeper in self._keepers:
                keeper.keep()
        finally:
            try:
                lock.release()
            except LockError:
                log.warning("the keeper's lock ran out while it worked")


class QueueKeeper:
    """Keeps one queue, for whoever has the lock.

    Who is dead it finds by watching, on a clock that nobody sets. The times that workers write with
    their heartbeats are of clocks that may be wrong, and a job must not be taken from a worker
    because somebody's clock has jumped. Nor because Redis stood still, or the keeper did: only time
    counts in which it has watched.
    """

    def __init__(
        self,
        queue: PictureQueue,
        endings: Endings,
        abandoned_after: float,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._abandoned_after = abandoned_after
        self._clock = clock
        self._redis: Redis = queue.connection
        self._endings = endings
        self._seen: dict[bytes, float] = {}
        self._beats: dict[bytes, tuple[float, float]] = {}
        self._watched = 0.0
        self._last_look = clock()
        self._give_back = self._redis.register_script(GIVE_BACK_SCRIPT)
        self._queue_due = self._redis.register_script(DUE_SCRIPT)

    def keep(self) -> None:
        """Put jobs of dead workers and jobs whose waiting time is over back into the queue."""
        self._watch()
        self._give_up_silent()
        self._queue.finished_job_registry.cleanup()
        self._queue.failed_job_registry.cleanup()
        clean_worker_registry(self._queue)
        self._requeue_untaken()
        self._end_long_waits()
        self._requeue_due()

    def _watch(self) -> None:
        """Let the time since the last look count, unless there was none for too long."""
        now = self._clock()
        passed, self._last_look = now - self._last_look, now
        if passed <= self._abandoned_after / 2:
            self._watched += passed

    def _give_up_silent(self) -> None:
        """Have rq take back the jobs whose heartbeats this keeper has not seen for too long."""
        registry = self._queue.started_job_registry
        now, before = self._watched, self._beats
        self._beats = {}
        beats: Any = self._redis.zrange(registry.key, 0, -1, withscores=True)
        if foreign := [name for name, _ in beats if not RUNNING.fullmatch(name)]:
            log.error("entries that are no runs of jobs are dropped from the list of these")
            self._redis.zrem(registry.key, *foreign)
            beats = [beat for beat in beats if beat[0] not in foreign]
        for name, beat in beats:
            last, since = before.get(name, (beat, now))
            self._beats[name] = (beat, since if beat == last else now)
        silent = [
            name for name, (_, since) in self._beats.items() if now - since >= self._abandoned_after
        ]
        if silent:
            self._redis.zadd(registry.key, dict.fromkeys(silent, SILENT), xx=True)
        registry.cleanup(SILENT, [self._abandoned])

    def _end_long_waits(self) -> None:
        """Put forward tries that are due later than any wait is long: a clock was put back."""
        key = self._queue.scheduled_job_registry.key
        latest = time.time() + RETRY_SECONDS[-1]
        late: Any = self._redis.zrangebyscore(key, latest + CLOCKS_APART, "+inf")
        for job_id in late:
            self._redis.zadd(key, {job_id: latest}, xx=True)

    def _requeue_due(self) -> None:
        """Queue the jobs whose waiting time is over."""
        keys = [self._queue.scheduled_job_registry.key, self._queue.key]
        words: list[Any] = [int(time.time()), Job.redis_job_namespace_prefix]
        words += [JobStatus.QUEUED.value, utcformat(rq_now())]
        self._queue_due(keys=keys, args=words)

    def _abandoned(self, job: QueuedJob, *_: Any) -> None:
        """A worker died with this job. rq tries it again, or, after the last try, gives it up.

        It never raises: one job that nobody can read would keep all others from being saved.
        """
        log.warning("job %s: its worker was lost, %d tries left", job.id, job.retries_left or 0)
        job.bind(self._queue)
        try:
            # The worker may have died before it took the job off this list.
            self._redis.lrem(self._queue.intermediate_queue_key, 1, job.id)
            if not job.retries_left:
                self._endings.give_up(job.id, LOST)
        except Exception:
            log.exception("job %s: it could not be given up in the records", job.id)

    def _requeue_untaken(self) -> None:
        """Give back jobs of workers that died between taking a job and starting it.

        A living worker starts a job within milliseconds.
        """
        running = {name.partition(b":")[0] for name in self._beats}
        taken: Any = self._redis.lrange(self._queue.intermediate_queue_key, 0, -1)
        now = self._watched
        self._seen = {
            entry: self._seen.get(entry, now)
            for entry in taken
            if entry not in running and WAITING.fullmatch(entry)
        }
        for entry, since in self._seen.items():
            if now - since >= self._abandoned_after:
                job_id = entry.decode()
                log.warning("job %s: its worker was lost before it began", job_id)
                names = [self._queue.intermediate_queue_key, self._queue.key, Job.key_for(job_id)]
                self._give_back(keys=names, args=[job_id])
