"""An rq worker that lives in a thread."""

import logging
import sys
import time
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.timeouts import TimerDeathPenalty
from rq.utils import now as rq_now
from rq.utils import utcformat
from rq.worker import WorkerStatus

from blurline.log import about, outline
from blurline.queue.task import RETRIES_LEFT, WAITED, is_final

BEATS = 4
"""Heartbeats in the time after which a worker that gives none is taken for dead."""

IDLE_SECONDS = 1
"""How long a worker waits for a job before it looks whether it should stop."""

log = logging.getLogger(__name__)


class ImageJob(Job):
    """A job of rq whose `perform` runs the task and asks Redis for nothing."""

    def perform(self) -> Any:
        """Run the task, which learns how many tries are left and how long the job has waited."""
        RETRIES_LEFT.set(self.retries_left or 0)
        now = rq_now()
        WAITED.set(max(0.0, (now - (self.enqueued_at or now)).total_seconds()))
        return self._execute()


class ImageWorker(SimpleWorker):
    """Runs one job at a time in the thread that calls `work`; several share a process.

    What rq does by signals or by forking is done otherwise here: time-outs by a timer thread, the
    stop by `stop()`, heartbeats and maintenance by the process's keeper. The names below are rq's
    own hooks.
    """

    job_class = ImageJob
    death_penalty_class = TimerDeathPenalty
    log_result_lifespan = False

    def __init__(self, queue: Queue, name: str, connection: Redis, abandoned_after: int) -> None:
        super().__init__([queue], name=name, connection=connection, serializer=queue.serializer)
        self._abandoned_after = abandoned_after
        self._beat_seconds = abandoned_after / BEATS
        self._running: tuple[Job, Execution, float] | None = None
        self._next_heartbeat = self._next_suspension_check = 0.0

    def stop(self) -> None:
        """Take no new job and let `work` return once the running one is done."""
        self._stop_requested = True

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self._running is not None

    @property
    def hung(self) -> str | None:
        """Id of the running job if it has outlived its time-out so long that nothing will end it.

        Others have taken it over by then.
        """
        running = self._running
        if running is None:
            return None
        job, _, started = running
        late = time.monotonic() - started - (job.timeout or 0)
        return job.id if late > self._abandoned_after else None

    def beat(self) -> None:
        """Tell Redis that the running job is alive, unless it has outlived its time-out.

        A hang in native code can't be interrupted, but it must not hold its job for ever.
        """
        running = self._running
        if running is None:
            return
        job, execution, started = running
        if time.monotonic() - started > (job.timeout or 0) + self._beat_seconds:
            return
        with self.connection.pipeline() as pipeline:
            self.heartbeat(pipeline=pipeline)
            execution.heartbeat(job.started_job_registry, self._abandoned_after, pipeline=pipeline)
            pipeline.execute()

    def execute_job(self, job: Job, queue: Queue) -> None:
        try:
            with about(job_id=job.id, request_id=_request_of(job)):
                self.perform_job(job, queue)
        except RedisError as error:
            # The job's end is in its record, or it has none: its next try finds that.
            raise StopRequested from error
        finally:
            self._running = None

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """A job, or None when it is time to stop.

        rq's own loop goes on for ever while Redis is away, whoever asks it to stop; this one
        leaves, and the crew connects anew.
        """
        while not self._stop_requested:
            self.heartbeat()
            try:
                found = self.queue_class.dequeue_any(
                    self.queues,
                    IDLE_SECONDS,
                    connection=self.connection,
                    job_class=self.job_class,
                    serializer=self.serializer,
                    death_penalty_class=self.death_penalty_class,
                )
            except DequeueTimeout:
                self.set_state(WorkerStatus.IDLE)
                continue
            except RedisError as error:
                raise StopRequested from error
            if found is not None:
                return found
        return None

    # The beginning and the end of a job are one transaction each, where rq takes two and three, and
    # sixteen answers of Redis in all. Nothing of it is left out that anybody here reads.

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        ttl = self.get_heartbeat_ttl(job)
        with self.connection.pipeline() as pipeline:
            execution = Execution.create(job, ttl, pipeline, self.name)
            self.set_state(WorkerStatus.BUSY, pipeline)
            self.set_current_job_id(job.id, pipeline)
            job.prepare_for_execution(self.name, pipeline)
            pipeline.persist(job.key)
            for queue in self.queues:
                pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
            pipeline.execute()
        self.execution = execution
        self._running = (job, execution, time.monotonic())

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: Any) -> None:
        ttl = job.get_result_ttl(self.default_result_ttl) or 0
        with self.connection.pipeline() as pipeline:
            self.increment_successful_job_count(pipeline)
            if ttl:
                pipeline.hset(job.key, "status", JobStatus.FINISHED.value)
                pipeline.hset(job.key, "ended_at", utcformat(job.ended_at or rq_now()))
                pipeline.expire(job.key, ttl)
                queue.finished_job_registry.add(job, ttl, pipeline)
            else:
                job.delete(pipeline=pipeline, remove_from_queue=False)
            self.cleanup_execution(job, pipeline)
            pipeline.execute()

    # rq asks Redis for each of the next three several times a job. At dozens of jobs a second those
    # questions cost more than the job's own messages, and none needs to be that fresh.

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._beat_seconds
            super().heartbeat(pipeline=pipeline)

    def check_for_suspension(self, burst: bool) -> None:
        now = time.monotonic()
        if now >= self._next_suspension_check:
            self._next_suspension_check = now + IDLE_SECONDS
            super().check_for_suspension(burst)

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        job.ended_at = rq_now()

    def get_heartbeat_ttl(self, job: Job) -> int:
        return self._abandoned_after

    @property
    def should_run_maintenance_tasks(self) -> bool:
        return False

    def handle_job_failure(
        self, job: Job, queue: Queue, started_job_registry: Any = None, exc_string: str = ""
    ) -> None:
        if is_final(sys.exception()):
            job.retries_left = 0
        # The text goes to Redis, so it says what went wrong and where, but not with which values.
        super().handle_job_failure(job, queue, started_job_registry, outline(sys.exception()))

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        log.warning("job %s: %s", job.id, outline(sys.exception()))

    def subscribe(self) -> None:
        """Not needed: rq's commands over pub/sub stop forked jobs only."""

    def _install_signal_handlers(self) -> None:
        """Signals belong to the main thread, which calls `stop`."""


def _request_of(job: Job) -> str:
    """Id of the request that handed the job in; empty if the message does not say."""
    try:
        return str(job.kwargs.get("request_id", ""))
    except Exception:
        return ""  # a message that nobody can read; the try that follows says so
