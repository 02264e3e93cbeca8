"""What a worker does for each job that rq hands it, and how a try of a job ends."""

import logging
import time
from contextvars import ContextVar
from dataclasses import replace
from typing import TypeGuard

from blurline import metrics, tracing
from blurline.errors import (
    BlurlineError,
    OriginalMissingError,
    QueueUnavailableError,
    TemporaryError,
)
from blurline.jobs.job import GIVEN_UP, JobError, JobRecord, JobSpec, failed
from blurline.jobs.orders import Order, find_order, read_order
from blurline.jobs.processor import Processed, Processor
from blurline.jobs.records import Records
from blurline.log import mention
from blurline.queue.queuedjob import RETRY_SECONDS
from blurline.queue.queues import Queues
from blurline.storage.sealing import OriginalUnreadableError
from blurline.webhooks.outbox import Event, Outbox

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs and sees to it that each one ends exactly once in the records and the totals."""

    def __init__(
        self, processor: Processor, records: Records, queues: Queues, outbox: Outbox
    ) -> None:
        self._processor = processor
        self._records = records
        self._queues = queues
        self._outbox = outbox

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
            self._tell(record)
            return
        order = read_order(self._processor.originals, job_id)
        if order is None:
            if self._records.is_deleted(job_id):
                return
            raise OriginalMissingError("what was ordered is not in the store any more")
        mention(request_id=order.spec.request_id)
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
                self._give_up(spec, JobError(error.code, error.message))
                raise
            return
        except Exception as error:
            if is_final(error):
                self._give_up(spec, JobError(error.code, error.message))
            elif last_try:
                self._give_up(spec, GIVEN_UP)
            else:
                metrics.JOBS.labels("retried").inc()
            raise
        with tracing.span("commit"):
            record = self._outbox.addressed(processed.record, spec)
            won = self._commit(record)
        if won:
            self._processor.originals.job_ended(spec.job_id, spec.kind)
            if record.slot:
                # The names without one are of a try that has no record, and will have none.
                self._processor.withdraw(spec.job_id)
            _observe(processed)
            self._tell(record)
        else:
            self._processor.withdraw(spec.job_id, record.slot)
            self._accept_earlier(spec.job_id)

    def _accept_earlier(self, job_id: str) -> None:
        """Leave the job as it has ended meanwhile."""
        if self._records.is_deleted(job_id):
            return
        earlier = self._records.find(job_id)
        if earlier is None:
            raise BlurlineError("something else lies in the place of the job's record")
        self._tell(earlier)
        if earlier.error:
            # Given up meanwhile, and that stays so; rq has to hear the same.
            raise BlurlineError(earlier.error.message, code=earlier.error.code)

    def give_up(self, job_id: str, error: JobError) -> None:
        """Commit that the job has failed, if the store can be reached; rq keeps it in any case."""
        try:
            order = read_order(self._processor.originals, job_id)
            if order is not None:
                self._give_up(order.spec, error)
            elif (record := self._records.find(job_id)) is not None:
                self._tell(record)
        except TemporaryError:
            log.warning("job %s: failed, and its record could not be written", job_id)
        except OriginalUnreadableError:
            log.warning("job %s: failed, and what was ordered can't be read", job_id)

    def end_of(self, job_id: str) -> Event | None:
        """What its caller has to be told of the job's end, by its order and its record alone.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        spec, record = find_order(self._processor.originals, job_id), self._records.find(job_id)
        if spec is None or record is None:
            return None
        record = replace(record, owner=spec.owner)
        return self._outbox.event_of(self._outbox.addressed(record, spec))

    def _give_up(self, spec: JobSpec, error: JobError) -> None:
        record = self._outbox.addressed(failed(spec, error, time.time()), spec)
        try:
            won = self._commit(record)
            found = record if won else self._records.find(spec.job_id)
            if won:
                # An earlier try may have written a result, which is nobody's now.
                self._processor.withdraw(spec.job_id)
            self._processor.originals.job_ended(spec.job_id, spec.kind)
            if found is not None:
                self._tell(found)
        except QueueUnavailableError:
            log.warning("job %s: failed, which could not be counted or reported", spec.job_id)
        except TemporaryError:
            log.warning("job %s: failed, and its record could not be written", spec.job_id)

    def _tell(self, record: JobRecord) -> None:
        """Count the job's end, and have it reported to where its caller said, if anywhere.

        Both happen once, however often the same end is told.

        Raises:
            QueueUnavailableError: Redis is away; the job's next try tells it.
        """
        self._queues.of(record.pipeline).stats.record(record)
        event = self._outbox.event_of(record)
        if event is not None and not self._outbox.add(event):
            metrics.WEBHOOKS.labels("dropped").inc()
            log.warning("job %s: its end is not reported, too many wait for that", record.job_id)

    def _commit(self, record: JobRecord) -> bool:
        won = self._records.commit(record)
        if won:
            metrics.JOBS.labels(record.status.value).inc()
            seconds = max(0.0, record.updated_at - record.submitted_at)
            metrics.JOB_SECONDS.labels(record.status.value).observe(seconds)
            if record.error:
                metrics.JOB_FAILURES.labels(record.error.code).inc()
            why = f" ({record.error.code})" if record.error else ""
            log.info("job %s: %s%s", record.job_id, record.status, why)
        return won


def is_final(error: BaseException | None) -> TypeGuard[BlurlineError]:
    """Whether another try would end in the same way."""
    return isinstance(error, BlurlineError) and not isinstance(error, TemporaryError)


RUNNER: ContextVar[JobRunner] = ContextVar("RUNNER")
"""The runner of this worker thread; set by `blurline.worker.crew`."""


def process_image(job_id: str, *, retries_left: int, waited: float) -> None:
    """One try of a job, by this thread's runner; see `JobRunner.run`."""
    metrics.WAIT_SECONDS.observe(waited)
    with metrics.JOBS_RUNNING.track_inprogress():
        RUNNER.get().run(job_id, retries_left=retries_left, waited=waited)


def _observe(processed: Processed) -> None:
    for stage, seconds in processed.seconds.items():
        metrics.STAGE_SECONDS.labels(stage).observe(seconds)
    processed.treated.count()
