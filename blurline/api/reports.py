"""What the service knows of its jobs and of itself, from queue, records and workers."""

import re
import time
from collections.abc import Callable, Mapping

import psutil

from blurline.access.caller import Caller
from blurline.api.errors import RequestError
from blurline.api.schemas import (
    BatchJob,
    BatchProgress,
    Dependency,
    ErrorBody,
    HealthAnswer,
    LabelAnswer,
    Percentiles,
    ProcessUse,
    QueueAnswer,
    Results,
    StatsAnswer,
    StatusAnswer,
    TotalsAnswer,
    WorkersAnswer,
)
from blurline.errors import QueueUnavailableError, TemporaryError
from blurline.jobs.job import GIVEN_UP, JobRecord, JobStatus
from blurline.jobs.orders import find_order
from blurline.jobs.records import Records
from blurline.queue.jobqueue import JobQueue, JobState
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.stats import WINDOWS, Stats
from blurline.stages.pipeline import Pipeline
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MODELS_SECONDS = 2.0
"""For how long an answer of which networks the workers have is good."""

PREDICTION_SECONDS = 1.0
"""For how long a prediction is good."""


class Reports:
    """Answers questions; changes nothing. All methods block.

    They raise `QueueUnavailableError` or `StoreUnavailableError` where the one that would know is
    away, unless they say otherwise.
    """

    def __init__(
        self,
        store: Store,
        originals: OriginalsVault,
        records: Records,
        queue: JobQueue,
        stats: Stats,
        presence: Presence,
        pipelines: Mapping[str, Pipeline],
        capacity: int,
    ) -> None:
        self._store = store
        self._originals = originals
        self._records = records
        self._queue = queue
        self._stats = stats
        self._presence = presence
        self._pipelines = pipelines
        self._capacity = capacity
        self._process = psutil.Process()
        self._models: tuple[float, frozenset[str] | None] = (-MODELS_SECONDS, None)
        self._prediction: tuple[float, float | None] = (-PREDICTION_SECONDS, None)

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
            _check_owner(caller, state.owner)
            return StatusAnswer(
                job_id=job_id,
                status=state.status,
                updated_at=state.updated_at,
                results=None,
                error=None,
            )
        record = self._records.find(job_id)
        if record is not None:
            _check_owner(caller, record.owner)
            return _answer(record)
        if away is not None:
            raise away
        if state is not None and state.status is JobStatus.FAILED:
            _check_owner(caller, state.owner)
            return StatusAnswer(
                job_id=job_id,
                status=JobStatus.FAILED,
                updated_at=state.updated_at,
                results=None,
                error=ErrorBody(code=GIVEN_UP.code, message=GIVEN_UP.message),
            )
        order = find_order(self._originals, job_id)
        if order is None:
            raise _unknown("job")
        _check_owner(caller, order.owner)
        return StatusAnswer(
            job_id=job_id,
            status=JobStatus.SUBMITTED,
            updated_at=order.submitted_at,
            results=None,
            error=None,
        )

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
        _check_owner(caller, record.owner)
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
        if owner is None and (state := self._queue.states([job_id])[0]) is not None:
            owner = state.owner
        if owner is None and (order := find_order(self._originals, job_id)) is not None:
            owner = order.owner
        _check_owner(caller, owner)
        return owner

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
        try:
            states = self._queue.states(job_ids)
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

    def queue(self) -> QueueAnswer:
        """What waits and what runs, and for how long still."""
        counts = self._queue.counts()
        threads = sum(worker.threads for worker in self._presence.alive())
        each = self._stats.pace()
        ahead = counts.waiting + counts.retrying + counts.processing
        return QueueAnswer(
            depth=counts.waiting,
            capacity=self._capacity,
            retrying=counts.retrying,
            processing=counts.processing,
            failed=counts.failed,
            oldest_age_seconds=round(counts.oldest_age, 3),
            estimated_seconds=_estimate(ahead, each, threads),
        )

    def predicted_seconds(self) -> float | None:
        """`estimated_seconds` of `queue`, at most a second old."""
        asked_at, _ = self._prediction
        if time.monotonic() - asked_at >= PREDICTION_SECONDS:
            self._prediction = (time.monotonic(), self.queue().estimated_seconds)
        return self._prediction[1]

    def stats(self) -> StatsAnswer:
        """The service in figures."""
        totals = self._stats.totals()
        windows = {name: self._stats.window(seconds) for name, seconds in WINDOWS.items()}
        recent = windows["15m"]
        workers = self._presence.alive()
        return StatsAnswer(
            throughput={
                name: round(windows[name].completed / seconds, 3)
                for name, seconds in WINDOWS.items()
            },
            totals=TotalsAnswer(completed=totals.completed, failed=totals.failed),
            success_rate=_rounded(totals.success_rate),
            latency_seconds=Percentiles(
                p50=_rounded(recent.latency_percentile(0.5)),
                p95=_rounded(recent.latency_percentile(0.95)),
                p99=_rounded(recent.latency_percentile(0.99)),
            ),
            mean_processing_seconds=_rounded(recent.mean_processing_seconds),
            queue=self.queue(),
            workers=WorkersAnswer(
                processes=len(workers),
                threads=sum(worker.threads for worker in workers),
                busy=sum(worker.busy for worker in workers),
            ),
            redactions=totals.redactions,
            detections={
                label: LabelAnswer(count=seen.count, mean_confidence=round(seen.mean_confidence, 4))
                for label, seen in totals.detections.items()
            },
            processes=[self._own_use(), *map(_use, workers)],
        )

    def health(self) -> HealthAnswer:
        """Whether everything is there; never raises."""
        redis = _dependency(self._queue.check)
        store = _dependency(self._store.check)
        workers: list[WorkerReport] = []
        if redis.status == "ok":
            workers = self._presence.alive()
        alive = Dependency(
            status="ok" if workers else "missing",
            detail=f"{len(workers)} alive" if workers else "none is alive; jobs wait",
        )
        targets = self._targets(workers)
        if "down" in (redis.status, store.status):
            status = "down"
        elif workers and all(target.status != "missing" for target in targets.values()):
            status = "ok"
        else:
            status = "degraded"
        dependencies = {"redis": redis, "store": store, "workers": alive}
        return HealthAnswer(status=status, dependencies=dependencies, targets=targets)

    def loaded_models(self) -> frozenset[str] | None:
        """Names of the networks that all living workers have loaded; None while none is alive."""
        asked_at, _ = self._models
        if time.monotonic() - asked_at >= MODELS_SECONDS:
            workers = self._presence.alive()
            self._models = (time.monotonic(), _loaded_everywhere(workers) if workers else None)
        return self._models[1]

    def _state(self, job_id: str) -> tuple[JobState | None, QueueUnavailableError | None]:
        """The queue's answer, or why it has none."""
        try:
            return self._queue.states([job_id])[0], None
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

    def _targets(self, workers: list[WorkerReport]) -> dict[str, Dependency]:
        """For each target whether its network is loaded in all workers: any may get the job."""
        loaded = _loaded_everywhere(workers)
        answer = {}
        for pipeline in self._pipelines.values():
            for name, target in pipeline.targets.items():
                if target.model in loaded:
                    answer[name] = Dependency(status="ok")
                elif workers:
                    answer[name] = Dependency(status="missing", detail="network not loaded")
                else:
                    answer[name] = Dependency(status="unknown", detail="no worker is alive")
        return answer

    def _own_use(self) -> ProcessUse:
        memory = self._process.memory_info().rss
        return ProcessUse(name="api", cpu_percent=self._process.cpu_percent(), memory_bytes=memory)


def _check_owner(caller: Caller, owner: str | None, noun: str = "job") -> None:
    """Return if the caller may know of it; others are answered as if there were none."""
    if not caller.sees(owner):
        raise _unknown(noun)


def _estimate(ahead: int, each: float | None, threads: int) -> float | None:
    """Seconds until so many jobs are done; None if nobody works, or nobody knows how fast."""
    if not ahead and threads:
        return 0.0
    return round(ahead * each / threads, 3) if threads and each else None


def _unknown(noun: str) -> RequestError:
    return RequestError(f"there is no {noun} of that id", code="not_found")


def _answer(record: JobRecord) -> StatusAnswer:
    error = record.error
    return StatusAnswer(
        job_id=record.job_id,
        status=record.status,
        updated_at=record.updated_at,
        results=None if record.results is None else Results(**record.results),
        error=ErrorBody(code=error.code, message=error.message) if error else None,
    )


def _loaded_everywhere(workers: list[WorkerReport]) -> frozenset[str]:
    models = [frozenset(worker.models) for worker in workers]
    return frozenset.intersection(*models) if models else frozenset()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _use(worker: WorkerReport) -> ProcessUse:
    return ProcessUse(
        name=f"worker {worker.name}",
        cpu_percent=worker.cpu_percent,
        memory_bytes=worker.memory_bytes,
    )


def _dependency(check: Callable[[], None]) -> Dependency:
    try:
        check()
    except TemporaryError as error:
        return Dependency(status="down", detail=error.message)
    return Dependency(status="ok")


def checked_id(text: str, noun: str) -> str:
    """The id, which becomes part of keys, if it is one.

    Raises:
        RequestError: `not_found`.
    """
    if not UUID.fullmatch(text.lower()):
        raise _unknown(noun)
    return text.lower()
