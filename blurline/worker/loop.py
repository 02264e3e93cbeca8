"""An rq worker that lives in a thread."""

import logging
import sys
import time
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import NoSuchJobError, StopRequested
from rq.executions import Execution
from rq.job import Job, JobStatus, parse_job_id
from rq.timeouts import TimerDeathPenalty
from rq.utils import now as rq_now
from rq.utils import utcformat
from rq.worker import WorkerStatus

from blurline.errors import BlurlineError, TemporaryError
from blurline.log import about, outline
from blurline.queue.queuedjob import PictureQueue, QueuedJob
from blurline.worker.runner import is_final, process_image

BEATS = 4
"""Heartbeats in the time after which a worker that gives none is taken for dead."""

IDLE_SECONDS = 1
"""How long a worker waits for a job before it looks whether it should stop."""

log = logging.getLogger(__name__)


class RefusedMessageError(BlurlineError):
    """A message in Redis asks for something else than this service's one task."""

    code = "refused_message"


class LaterMessageError(TemporaryError):
    """A message in Redis is of a later version of the service."""


class ImageJob(QueuedJob):
    """A job of rq whose `perform` runs the one task, whatever Redis says, or refuses."""

    def perform(self) -> None:
        """Run the task, which learns how many tries are left and how long the job has waited.

        Raises:
            RefusedMessageError: the message names another function; nothing was called.
            LaterMessageError: it is of a later version; another worker may know what to do.
        """
        if self.refused:
            log.error("job %s: its message asks for another function, which is not called", self.id)
            raise RefusedMessageError("the message asks for something else than a picture")
        if self.later:
            raise LaterMessageError("the message is of a later version of the service")
        now = rq_now()
        waited = max(0.0, (now - (self.enqueued_at or now)).total_seconds())
        process_image(self.id, self.origin, retries_left=self.retries_left or 0, waited=waited)


class ImageWorker(SimpleWorker):
    """Runs one job at a time in the thread that calls `work`; several share a process.

    What rq does by signals or by forking is done otherwise here: time-outs by a timer thread, the
    stop by `stop()`, heartbeats and maintenance by the process's keeper. The names below are rq's
    own hooks.
    """

    job_class = ImageJob
    death_penalty_class = TimerDeathPenalty
    log_result_lifespan = False

    def __init__(
        self, queue: PictureQueue, name: str, connection: Redis, abandoned_after: int
    ) -> None:
        super().__init__([queue], name=name, connection=connection, serializer=queue.serializer)
        self._queue = queue
        self._abandoned_after = abandoned_after
        self._beat_seconds = abandoned_after / BEATS
        self._running: tuple[Job, Execution, float] | None = None
        self._next_heartbeat = self._next_suspension_check = 0.0

    def stop(self) -> None:
        """Take no new job and let `work` return once the running one is done."""
        self._stop_requested = True

    @property
    def serves(self) -> str:
        """Name of its queue."""
        return str(self._queue.name)

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
            with about(job_id=job.id):
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
                entry = self._take()
                if entry is None:
                    self.set_state(WorkerStatus.IDLE)
                elif (job := self._restored(entry)) is not None:
                    return job, self._queue
            except RedisError as error:
                raise StopRequested from error
        return None

    def _take(self) -> bytes | None:
        """The next entry of the queue, put on rq's list of those just taken; None for a while."""
        queue = self._queue
        taken: Any = self.connection.blmove(queue.key, queue.intermediate_queue_key, IDLE_SECONDS)
        return taken  # type: ignore[no-any-return]

    def _restored(self, entry: bytes) -> ImageJob | None:
        """The job of an entry; None, and no entry any more, if there is none."""
        try:
            job = ImageJob(parse_job_id(entry.decode()), self.connection, self.serializer)
            job.refresh()
        except NoSuchJobError:
            log.debug("a job was forgotten before a worker took it")
        except ValueError:
            log.error("an entry of the queue is no job's id; it is dropped")
        else:
            job.bind(self._queue)
            return job
        self.connection.lrem(self._queue.intermediate_queue_key, 1, entry)  # type: ignore[arg-type]
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
            pipeline.lrem(self._queue.intermediate_queue_key, 1, job.id)
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

    def _set_ip_address(self, connection: Redis) -> None:
        """Not looked for: workers may not see the list of all who are connected."""
        self.ip_address = "unknown"

    def subscribe(self) -> None:
        """Not needed: rq's commands over pub/sub stop forked jobs only."""

    def _install_signal_handlers(self) -> None:
        """Signals belong to the main thread, which calls `stop`."""
