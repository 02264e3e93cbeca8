"""How the service itself is: its queue, its workers and their networks, what it has done so far."""

import time
from collections.abc import Callable, Mapping

import psutil

from blurline.api.schemas import (
    Dependency,
    HealthAnswer,
    LabelAnswer,
    Percentiles,
    ProcessUse,
    QueueAnswer,
    StatsAnswer,
    TotalsAnswer,
    WorkersAnswer,
)
from blurline.errors import TemporaryError
from blurline.queue.jobqueue import JobQueue
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.stats import WINDOWS, Stats
from blurline.stages.pipeline import Pipeline
from blurline.storage.store import Store

MODELS_SECONDS = 2.0
"""For how long an answer of which networks the workers have is good."""

PREDICTION_SECONDS = 1.0
"""For how long a prediction is good."""


class Vitals:
    """Answers questions; changes nothing. All methods block.

    They raise `QueueUnavailableError` while Redis is away, unless they say otherwise.
    """

    def __init__(
        self,
        store: Store,
        queue: JobQueue,
        stats: Stats,
        presence: Presence,
        pipelines: Mapping[str, Pipeline],
        capacity: int,
    ) -> None:
        self._store = store
        self._queue = queue
        self._stats = stats
        self._presence = presence
        self._pipelines = pipelines
        self._capacity = capacity
        self._process = psutil.Process()
        self._models: tuple[float, frozenset[str] | None] = (-MODELS_SECONDS, None)
        self._prediction: tuple[float, float | None] = (-PREDICTION_SECONDS, None)
        self._pace: tuple[float, float | None] = (-PREDICTION_SECONDS, None)

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

    def seconds_each(self) -> float | None:
        """How much longer the work ahead takes for each job, at most a second old; None while
        nobody knows."""
        asked_at, _ = self._pace
        if time.monotonic() - asked_at >= PREDICTION_SECONDS:
            threads = sum(worker.threads for worker in self._presence.alive())
            each = self._stats.pace() if threads else None
            self._pace = (time.monotonic(), each / threads if each else None)
        return self._pace[1]

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
        return HealthAnswer(
            status=status,
            dependencies=dependencies,
            targets=targets,
            precision=_precisions(workers),
        )

    def loaded_models(self) -> frozenset[str] | None:
        """Names of the networks that all living workers have loaded; None while none is alive."""
        asked_at, _ = self._models
        if time.monotonic() - asked_at >= MODELS_SECONDS:
            workers = self._presence.alive()
            self._models = (time.monotonic(), _loaded_everywhere(workers) if workers else None)
        return self._models[1]

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


def _estimate(ahead: int, each: float | None, threads: int) -> float | None:
    """Seconds until so many jobs are done; None if nobody works, or nobody knows how fast."""
    if not ahead and threads:
        return 0.0
    return round(ahead * each / threads, 3) if threads and each else None


def _loaded_everywhere(workers: list[WorkerReport]) -> frozenset[str]:
    models = [frozenset(worker.models) for worker in workers]
    return frozenset.intersection(*models) if models else frozenset()


def _precisions(workers: list[WorkerReport]) -> dict[str, list[str]]:
    """By network in what the workers compute it; most often all in the same."""
    found: dict[str, set[str]] = {}
    for worker in workers:
        for model, precision in worker.precisions.items():
            found.setdefault(model, set()).add(precision)
    return {model: sorted(precisions) for model, precisions in sorted(found.items())}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _use(worker: WorkerReport) -> ProcessUse:
    return ProcessUse(
        # Without the host and the process that come first: they are nothing for callers.
        name=f"worker {worker.name.rpartition('-')[2]}",
        cpu_percent=worker.cpu_percent,
        memory_bytes=worker.memory_bytes,
    )


def _dependency(check: Callable[[], None]) -> Dependency:
    try:
        check()
    except TemporaryError as error:
        return Dependency(status="down", detail=error.message)
    return Dependency(status="ok")
