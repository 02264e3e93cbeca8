"""The function that rq calls for each job, and how a try of a job ends."""

import logging
import time
from contextvars import ContextVar
from typing import Any, TypeGuard

from blurline import metrics, tracing
from blurline.errors import (
    BlurlineError,
    OriginalMissingError,
    QueueUnavailableError,
    TemporaryError,
)
from blurline.jobs.job import GIVEN_UP, JobError, JobRecord, JobSpec, failed
from blurline.jobs.processor import Processed, Processor
from blurline.jobs.records import Records
from blurline.queue.jobqueue import RETRY_SECONDS
from blurline.queue.outbox import Event, Outbox
from blurline.queue.stats import Stats
from blurline.treatment.second_look import SecondLook

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs and sees to it that each one ends exactly once in the records and the totals."""

    def __init__(
        self, processor: Processor, records: Records, stats: Stats, outbox: Outbox
    ) -> None:
        self._processor = processor
        self._records = records
        self._stats = stats
        self._outbox = outbox

    def run(self, spec: JobSpec, *, first_try: bool, last_try: bool) -> None:
        """Do the job and commit its end.

        Raises:
            BlurlineError: the job has failed for good and its record says so; rq is told as well.
            QueueUnavailableError: the job has ended, which could not be counted or reported; the
                next try does that.
            Exception: this try has failed; after the last one the record says so.
        """
        if not first_try and (record := self._records.find(spec.job_id)) is not None:
            # An earlier try ended the job, and only its acknowledgement was lost.
            self._processor.originals.job_ended(spec.job_id, spec.kind)
            self._tell(spec, record)
            return
        try:
            processed = self._processor.process(spec, cautious=not first_try)
        except OriginalMissingError as error:
            if not self._records.is_deleted(spec.job_id):
                self.give_up(spec, JobError(error.code, error.message))
                raise
            return
        except Exception as error:
            if is_final(error):
                self.give_up(spec, JobError(error.code, error.message))
            elif last_try:
                self.give_up(spec, GIVEN_UP)
            else:
                metrics.JOBS.labels("retried").inc()
            raise
        with tracing.span("commit"):
            won = self._commit(processed.record)
        if won:
            self._processor.originals.job_ended(spec.job_id, spec.kind)
            _observe(processed)
            self._tell(spec, processed.record)
        elif self._records.is_deleted(spec.job_id):
            self._processor.withdraw(spec)
        elif (earlier := self._records.find(spec.job_id)) is not None:
            self._tell(spec, earlier)
            if earlier.error:
                # Given up meanwhile, and that stays so; rq has to hear the same.
                raise BlurlineError(earlier.error.message, code=earlier.error.code)

    def give_up(self, spec: JobSpec, error: JobError) -> None:
        """Commit that the job has failed, if the store can be reached; rq keeps it in any case."""
        record = failed(spec, error, time.time())
        try:
            found = record if self._commit(record) else self._records.find(spec.job_id)
            self._processor.originals.job_ended(spec.job_id, spec.kind)
            if found is not None:
                self._tell(spec, found)
        except QueueUnavailableError:
            log.warning("job %s: failed, which could not be counted or reported", spec.job_id)
        except TemporaryError:
            log.warning("job %s: failed, and its record could not be written", spec.job_id)

    def _tell(self, spec: JobSpec, record: JobRecord) -> None:
        """Count the job's end, and have it reported to where its caller said, if anywhere.

        Both happen once, however often the same end is told.

        Raises:
            QueueUnavailableError: Redis is away; the job's next try tells it.
        """
        self._stats.record(record)
        if spec.callback_url is None:
            return
        event = Event(
            spec.job_id, spec.callback_url, record.status, record.updated_at, spec.request_id
        )
        if not self._outbox.add(event):
            metrics.WEBHOOKS.labels("dropped").inc()
            log.warning("job %s: its end is not reported, too many wait for that", spec.job_id)

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
"""The runner of this worker thread; set by `blurline.queue.crew`."""


RETRIES_LEFT: ContextVar[int] = ContextVar("RETRIES_LEFT")
"""How many tries the job of this worker thread has left; set by `blurline.queue.worker`."""


WAITED: ContextVar[float] = ContextVar("WAITED", default=0.0)
"""Seconds that this worker thread's job waited in the queue; set by `blurline.queue.worker`."""


def process_image(**message: Any) -> None:
    """Run one job. rq finds this function by its name; only blurline's own workers can run it."""
    retries_left = RETRIES_LEFT.get()
    first_try = retries_left == len(RETRY_SECONDS)
    spec = JobSpec.from_message(message)
    waited = WAITED.get()
    metrics.WAIT_SECONDS.observe(waited)
    with metrics.JOBS_RUNNING.track_inprogress(), tracing.continued(spec.trace):
        if spec.trace:
            tracing.lap("wait", waited)
        tries_before = len(RETRY_SECONDS) - retries_left
        with tracing.span("job", job_id=spec.job_id, tries_before=tries_before):
            RUNNER.get().run(spec, first_try=first_try, last_try=retries_left == 0)


def _observe(processed: Processed) -> None:
    for stage, seconds in processed.seconds.items():
        metrics.STAGE_SECONDS.labels(stage).observe(seconds)
    if processed.second_look is not SecondLook.SKIPPED:
        metrics.SECOND_LOOKS.labels(processed.second_look.value).inc()
    frame = processed.frame
    metrics.REDACTED_RATIO.observe(frame.redacted_share)
    metrics.IMAGE_REDACTIONS.observe(len(frame.redactions or ()))
    for redaction in frame.redactions or ():
        metrics.REDACTIONS.labels(redaction.target).observe(redaction.confidence)
    if frame.detections is not None:
        metrics.IMAGE_DETECTIONS.observe(len(frame.detections))
    for detection in frame.detections or ():
        metrics.DETECTIONS.labels(detection.label).observe(detection.confidence)
