"""What keeps the queue in order: jobs of dead workers and jobs that wait for their next try."""

import logging
from typing import Any

from redis import Redis
from redis.exceptions import LockError
from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import clean_registries
from rq.scheduler import RQScheduler
from rq.worker_registration import clean_worker_registry

from blurline.jobs.job import JobError, JobSpec
from blurline.queue.task import JobRunner

LOCK_KEY = "blurline:keeper"
LOCK_SECONDS = 30

LOST = JobError(
    "worker_lost", "the workers that ran this job were lost each time; it will not be tried again"
)

log = logging.getLogger(__name__)


class Keeper:
    """Every worker process has one; at any time one of them works, by a lock in Redis."""

    def __init__(self, queue: Queue, runner: JobRunner) -> None:
        self._queue = queue
        self._redis: Redis = queue.connection
        self._runner = runner
        self._scheduler = RQScheduler([queue], connection=self._redis, serializer=queue.serializer)
        self._scheduler.prepare_registries([queue.name])

    def keep(self) -> None:
        """Put jobs of dead workers and jobs whose waiting time is over back into the queue."""
        lock = self._redis.lock(LOCK_KEY, timeout=LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            clean_registries(self._queue, [self._abandoned])
            clean_worker_registry(self._queue)
            self._requeue_untaken()
            self._scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
        finally:
            try:
                lock.release()
            except LockError:
                log.warning("the keeper's lock ran out while it worked")

    def _abandoned(self, job: Job, *_: Any) -> None:
        """A worker died with this job. rq tries it again, or, after the last try, gives it up."""
        log.warning("job %s: its worker was lost, %d tries left", job.id, job.retries_left or 0)
        if not job.retries_left:
            self._runner.give_up(JobSpec.from_message(job.kwargs), LOST)

    def _requeue_untaken(self) -> None:
        """Give back jobs of workers that died between taking a job and starting it.

        The job is seen there twice, one keeping apart, before it is moved: in between a living
        worker has long started it.
        """
        untaken = IntermediateQueue(self._queue.key, self._redis)
        running = set(self._queue.started_job_registry.get_job_ids(cleanup=False))
        for job_id in untaken.get_job_ids():
            if job_id in running or untaken.set_first_seen(job_id):
                continue
            if untaken.should_be_cleaned_up(job_id):
                log.warning("job %s: its worker was lost before it began", job_id)
                with self._redis.pipeline() as pipeline:
                    pipeline.lrem(untaken.key, 1, job_id)
                    pipeline.lpush(self._queue.key, job_id)
                    pipeline.delete(untaken.get_first_seen_key(job_id))
                    pipeline.execute()
