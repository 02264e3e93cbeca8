"""How jobs and batches go, for the callers that they belong to: from queue, records and orders."""

import re
from typing import Any

from blurline.access.caller import Caller
from blurline.api.errors import RequestError
from blurline.api.schemas import (
    BatchJob,
    BatchProgress,
    ErrorBody,
    OutputAnswer,
    Results,
    StatusAnswer,
)
from blurline.errors import QueueUnavailableError
from blurline.jobs.job import GIVEN_UP, JobError, JobRecord, JobStatus
from blurline.jobs.orders import find_order
from blurline.jobs.records import Records
from blurline.queue.queues import JobState, Queues
from blurline.storage.vault import OriginalsVault
from blurline.treatment.outputs import BLUR, DETECT

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Reports:
    """Answers questions; changes nothing. All methods block.

    They raise `QueueUnavailableError` or `StoreUnavailableError` where the one that would know is
    away, unless they say otherwise.
    """

    def __init__(self, originals: OriginalsVault, records: Records, queues: Queues) -> None:
        self._originals = originals
        self._records = records
        self._queues = queues

    def status(self, job_id: str, caller: Caller) -> StatusAnswer:
        """Where the job is: by the queue while it runs, by its record once it has ended.

        A job that the queue has lost is submitted, by its order in the store, until it is queued
        again.

        Raises:
            RequestError: `not_found`, nobody knows the job, or it is another caller's.
        """
        job_id = checked_id(job_id, "job")
        state, away = self._state(job_id)
        if state is not None and not state.status.ended:
            self._check(caller, job_id, state.owner)
            return _answer(job_id, state.status, state.updated_at)
        record = self._records.find(job_id)
        if record is not None:
            self._check(caller, job_id, record.owner)
            results = None if record.error else _results(record)
            return _answer(job_id, record.status, record.updated_at, results, record.error)
        if away is not None:
            raise away
        if state is not None and state.status is JobStatus.FAILED:
            self._check(caller, job_id, state.owner)
            return _answer(job_id, state.status, state.updated_at, error=GIVEN_UP)
        order = find_order(self._originals, job_id)
        if order is None:
            raise _unknown("job")
        _check_owner(caller, order.owner)
        return _answer(job_id, JobStatus.SUBMITTED, order.submitted_at)

    def record(self, job_id: str, caller: Caller) -> JobRecord:
        """The record of a completed job.

        Raises:
            RequestError: `not_found`, also for another caller's, `not_ready` or `job_failed`.
        """
        job_id = checked_id(job_id, "job")
        record = self._records.find(job_id)
        if record is None:
            self.status(job_id, caller)  # says so if there is no such job
            raise RequestError("the job is not completed yet", code="not_ready")
        self._check(caller, job_id, record.owner)
        if record.error is not None:
            raise RequestError(f"the job failed: {record.error.message}", code="job_failed")
        return record

    def owner(self, job_id: str, caller: Caller) -> str | None:
        """Whose the job is; for a caller who sees all, None, and the job need not exist.

        Raises:
            RequestError: `not_found`, it is another caller's, or nothing says whose it is.
        """
        job_id = checked_id(job_id, "job")
        if caller.sees_all:
            return None
        owner = self._records.owner(job_id)
        if owner is None and (state := self._queues.states([job_id])[0]) is not None:
            owner = state.owner
        if owner is None:
            owner = self._ordered_by(job_id)
        _check_owner(caller, owner)
        return owner

    def is_known(self, job_id: str) -> bool:
        """Whether there is or was such a job, whosever it is."""
        return (
            self._records.has_end(job_id)
            or find_order(self._originals, job_id) is not None
            or self._queues.states([job_id])[0] is not None
        )

    def batch(self, batch_id: str, caller: Caller) -> BatchProgress:
        """How far the batch is.

        Raises:
            RequestError: `not_found`, also for another caller's.
        """
        batch_id = checked_id(batch_id, "batch")
        found = self._records.find_batch(batch_id)
        if found is None:
            raise _unknown("batch")
        _check_owner(caller, found.owner, "batch")
        job_ids = found.job_ids
        if not found.sure:
            # Of an earlier version, or made up by somebody: none but the caller's own are told of.
            job_ids = [job_id for job_id in job_ids if self._is_of(job_id, caller)]
        try:
            states = self._queues.states(job_ids)
        except QueueUnavailableError:
            states = [None] * len(job_ids)
        jobs = [
            BatchJob(job_id=job_id, status=self._status_of(job_id, state))
            for job_id, state in zip(job_ids, states, strict=True)
        ]
        counts = {status: sum(job.status is status for job in jobs) for status in JobStatus}
        return BatchProgress(
            batch_id=batch_id,
            total=len(jobs),
            submitted=counts[JobStatus.SUBMITTED],
            processing=counts[JobStatus.PROCESSING],
            completed=counts[JobStatus.COMPLETED],
            failed=counts[JobStatus.FAILED],
            done=all(job.status is not None and job.status.ended for job in jobs),
            jobs=jobs,
        )

    def _check(self, caller: Caller, job_id: str, owner: str | None) -> None:
        """Return if the caller may know of the job, whose owner the order knows if nobody else."""
        if not caller.sees(owner):
            _check_owner(caller, self._ordered_by(job_id) if owner is None else owner)

    def _is_of(self, job_id: str, caller: Caller) -> bool:
        try:
            self.owner(job_id, caller)
        except RequestError:
            return False
        return True

    def _ordered_by(self, job_id: str) -> str | None:
        order = find_order(self._originals, job_id)
        return None if order is None else order.owner

    def _state(self, job_id: str) -> tuple[JobState | None, QueueUnavailableError | None]:
        """The queue's answer, or why it has none."""
        try:
            return self._queues.states([job_id])[0], None
        except QueueUnavailableError as error:
            return None, error

    def _status_of(self, job_id: str, state: JobState | None) -> JobStatus | None:
        """As `status` tells it: of a job that the queue calls failed its record knows better."""
        if state is not None and state.status is not JobStatus.FAILED:
            return state.status
        record = self._records.find(job_id)
        if record is not None:
            return record.status
        if state is not None:
            return state.status
        known = find_order(self._originals, job_id) is not None
        return JobStatus.SUBMITTED if known else None


def _check_owner(caller: Caller, owner: str | None, noun: str = "job") -> None:
    """Return if the caller may know of it; others are answered as if there were none."""
    if not caller.sees(owner):
        raise _unknown(noun)


def _unknown(noun: str) -> RequestError:
    return RequestError(f"there is no {noun} of that id", code="not_found")


def _results(record: JobRecord) -> Results:
    """What the record tells of the job's results."""
    primary = record.primary
    return Results(
        original_image_path=record.input.key,
        processed_image_path=primary.key,
        processing_time=record.seconds,
        blur_metadata=_report(record, BLUR),
        detection_metadata=_report(record, DETECT),
        width=primary.width,
        height=primary.height,
        pipeline=record.pipeline,
        outputs=[
            OutputAnswer(
                name=output.name,
                role=output.role,
                media_type=output.media_type,
                width=output.width,
                height=output.height,
                size=output.size,
                sha256=output.sha256,
            )
            for output in record.outputs
        ],
        reports=dict(record.reports),
    )


def _report(record: JobRecord, stage: str) -> dict[str, Any] | None:
    found = record.reports.get(stage)
    return None if found is None else dict(found)


def _answer(
    job_id: str,
    status: JobStatus,
    updated_at: float,
    results: Results | None = None,
    error: JobError | None = None,
) -> StatusAnswer:
    return StatusAnswer(
        job_id=job_id,
        status=status,
        updated_at=updated_at,
        results=results,
        error=None if error is None else ErrorBody(code=error.code, message=error.message),
    )


def checked_id(text: str, noun: str) -> str:
    """The id, which becomes part of keys, if it is one.

    Raises:
        RequestError: `not_found`.
    """
    if not UUID.fullmatch(text.lower()):
        raise _unknown(noun)
    return text.lower()
