"""How the service itself is: its queue, its workers and their networks, what it has done so far."""

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
from blurline.queue.capacity import Capacity, loaded_everywhere
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.queues import Queues
from blurline.queue.stats import WINDOWS
from blurline.stages.pipeline import Pipeline
from blurline.storage.store import Store


class Vitals:
    """Answers questions; changes nothing. All methods block.

    They raise `QueueUnavailableError` while Redis is away, unless they say otherwise.
    """

    def __init__(
        self,
        store: Store,
        queues: Queues,
        presence: Presence,
        pipelines: Mapping[str, Pipeline],
        capacities: Mapping[str, Capacity],
        places: int,
    ) -> None:
        self._store = store
        self._queues = queues
        self._presence = presence
        self._pipelines = pipelines
        self._capacities = capacities
        self._places = places
        self._process = psutil.Process()

    def queue(self) -> QueueAnswer:
        """What waits and what runs, and for how long still."""
        load = self._capacities[self._queues.first.name].load()
        counts = load.counts
        return QueueAnswer(
            depth=counts.waiting,
            capacity=self._places,
            retrying=counts.retrying,
            processing=counts.processing,
            failed=counts.failed,
            oldest_age_seconds=round(counts.oldest_age, 3),
            estimated_seconds=load.seconds,
        )

    def stats(self) -> StatsAnswer:
        """The service in figures."""
        stats = self._queues.first.stats
        totals = stats.totals()
        windows = {name: stats.window(seconds) for name, seconds in WINDOWS.items()}
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
        redis = _dependency(self._queues.check)
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

    def _targets(self, workers: list[WorkerReport]) -> dict[str, Dependency]:
        """For each target whether its network is loaded in all workers: any may get the job."""
        loaded = loaded_everywhere(workers)
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
