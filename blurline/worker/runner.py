"""What a worker does for each job that rq hands it, and how a try of a job ends."""

import logging
from contextvars import ContextVar
from typing import TypeGuard

from blurline import metrics, tracing
from blurline.errors import (
    BlurlineError,
    OriginalMissingError,
    TemporaryError,
)
from blurline.jobs.job import GIVEN_UP, JobError, JobSpec
from blurline.jobs.orders import Order, read_order
from blurline.jobs.processor import Processor
from blurline.log import mention
from blurline.queue.queuedjob import RETRY_SECONDS
from blurline.worker.endings import Endings

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs and hands their ends to `Endings`."""

    def __init__(self, processor: Processor, endings: Endings) -> None:
        self._processor = processor
        self.endings = endings
        self._records = endings.records

    def run(self, job_id: str, *, retries_left: int, waited: float) -> None:
        """Do what the job's order says and commit its end.

        Args:
            retries_left: tries that the job has after this one.
            waited: seconds that it was in the queue.

        Raises:
            BlurlineError: the job has failed for good and its record says so; rq is told as well.
            QueueUnavailableError: the job has ended, which could not be counted or reported; the
                next try does that.
            Exception: this try has failed; after the last one the record says so.
        """
        if (record := self._records.find(job_id)) is not None:
            # An earlier try ended the job and only its acknowledgement was lost, or somebody has
            # queued it once more. Whatever is in the store stays as it is.
            self._processor.originals.job_ended(job_id, record.kind)
            self.endings.tell(record)
            return
        order = read_order(self._processor.originals, job_id)
        if order is None:
            if self._records.is_deleted(job_id):
                return
            raise OriginalMissingError("what was ordered is not in the store any more")
        mention(request_id=order.spec.request_id)
        metrics.WAIT_SECONDS.labels(*self._labels(order.spec)).observe(waited)
        with tracing.continued(order.spec.trace):
            if order.spec.trace:
                tracing.lap("wait", waited)
            tries_before = len(RETRY_SECONDS) - retries_left
            with tracing.span("job", job_id=job_id, tries_before=tries_before):
                self._run(order, first_try=tries_before == 0, last_try=retries_left == 0)

    def _run(self, order: Order, *, first_try: bool, last_try: bool) -> None:
        spec = order.spec
        try:
            processed = self._processor.process(spec, cautious=not first_try, file=order.file)
        except OriginalMissingError as error:
            if not self._records.is_deleted(spec.job_id):
                self.endings.fail(spec, JobError(error.code, error.message))
                raise
            return
        except Exception as error:
            if is_final(error):
                self.endings.fail(spec, JobError(error.code, error.message))
            elif last_try:
                self.endings.fail(spec, GIVEN_UP)
            else:
                metrics.JOBS.labels(*self._labels(spec), "retried").inc()
            raise
        with tracing.span("commit"):
            record = self.endings.outbox.addressed(processed.record, spec)
            won = self.endings.commit(record)
        if won:
            self._processor.originals.job_ended(spec.job_id, spec.kind)
            if record.slot:
                # The names without one are of a try that has no record, and will have none.
                self.endings.withdraw(spec.job_id)
            labels = self._labels(spec)
            for stage, seconds in processed.seconds.items():
                metrics.STAGE_SECONDS.labels(*labels, stage).observe(seconds)
            processed.treated.count()
            self.endings.tell(record)
        else:
            self.endings.withdraw(spec.job_id, record.slot)
            self._accept_earlier(spec.job_id)

    def _labels(self, spec: JobSpec) -> tuple[str, str]:
        return self.endings.queues.labels(spec.pipeline)

    def _accept_earlier(self, job_id: str) -> None:
        """Leave the job as it has ended meanwhile."""
        if self._records.is_deleted(job_id):
            return
        earlier = self._records.find(job_id)
        if earlier is None:
            raise BlurlineError("something else lies in the place of the job's record")
        self.endings.tell(earlier)
        if earlier.error:
            # Given up meanwhile, and that stays so; rq has to hear the same.
            raise BlurlineError(earlier.error.message, code=earlier.error.code)


def is_final(error: BaseException | None) -> TypeGuard[BlurlineError]:
    """Whether another try would end in the same way."""
    return isinstance(error, BlurlineError) and not isinstance(error, TemporaryError)


RUNNER: ContextVar[JobRunner] = ContextVar("RUNNER")
"""The runner of this worker thread; set by `blurline.worker.crew`."""


def process_image(job_id: str, queue: str, *, retries_left: int, waited: float) -> None:
    """One try of a job of that queue, by this thread's runner; see `JobRunner.run`."""
    with metrics.JOBS_RUNNING.labels(queue).track_inprogress():
        RUNNER.get().run(job_id, retries_left=retries_left, waited=waited)
