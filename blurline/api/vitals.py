"""How the service itself is: its queues, its workers and their networks, what it has done."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import psutil

from blurline.api.schemas import (
    Dependency,
    HealthAnswer,
    JobFigures,
    LabelAnswer,
    Percentiles,
    ProcessUse,
    QueueAnswer,
    QueueFigures,
    StatsAnswer,
    TotalsAnswer,
    WorkersAnswer,
)
from blurline.errors import TemporaryError
from blurline.queue.capacity import Capacity, loaded_everywhere
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.queues import Queues
from blurline.queue.stats import NOTHING, WINDOWS, Totals
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
        queues = {name: self._queue(capacity) for name, capacity in self._capacities.items()}
        figures = list(queues.values())
        return QueueAnswer(
            depth=sum(one.depth for one in figures),
            capacity=sum(one.capacity for one in figures),
            retrying=sum(one.retrying for one in figures),
            processing=sum(one.processing for one in figures),
            failed=sum(one.failed for one in figures),
            oldest_age_seconds=max(one.oldest_age_seconds for one in figures),
            estimated_seconds=_longest(figures),
            queues=queues,
        )

    def stats(self) -> StatsAnswer:
        """The service in figures."""
        workers = self._presence.alive()
        totals = self.totals()
        windows = {
            name: {span: queue.stats.window(seconds) for span, seconds in WINDOWS.items()}
            for name, queue in self._queues.items()
        }
        every = _sum(totals.values())
        spans = {span: _sum(windows[name][span] for name in windows) for span in WINDOWS}
        return StatsAnswer(
            **_figures(
                every,
                spans,
                WorkersAnswer(
                    processes=len(workers),
                    threads=sum(worker.threads for worker in workers),
                    busy=sum(worker.busy for worker in workers),
                ),
            ),
            queue=self.queue(),
            queues={
                name: JobFigures(**_figures(totals[name], windows[name], _serving(name, workers)))
                for name in self._queues
            },
            redactions=every.redactions,
            detections={
                label: LabelAnswer(count=seen.count, mean_confidence=round(seen.mean_confidence, 4))
                for label, seen in every.detections.items()
            },
            processes=[self._own_use(), *map(_use, workers)],
        )

    def totals(self) -> dict[str, Totals]:
        """What has become of the jobs of each queue."""
        return {name: queue.stats.totals() for name, queue in self._queues.items()}

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
        unknown = Dependency(status="unknown", detail="Redis is away")
        queues = {
            name: self._served(name, workers) if redis.status == "ok" else unknown
            for name in self._queues
        }
        targets = self._targets(workers)
        if "down" in (redis.status, store.status):
            status = "down"
        elif all(one.status in ("ok", "idle") for one in (*queues.values(), *targets.values())):
            status = "ok"
        else:
            status = "degraded"
        dependencies = {"redis": redis, "store": store, "workers": alive}
        return HealthAnswer(
            status=status,
            dependencies=dependencies,
            queues=queues,
            targets=targets,
            precision=_precisions(workers),
        )

    def _queue(self, capacity: Capacity) -> QueueFigures:
        load = capacity.load()
        counts = load.counts
        return QueueFigures(
            depth=counts.waiting,
            capacity=self._places,
            retrying=counts.retrying,
            processing=counts.processing,
            failed=counts.failed,
            oldest_age_seconds=round(counts.oldest_age, 3),
            estimated_seconds=load.seconds,
        )

    def _served(self, queue: str, workers: Sequence[WorkerReport]) -> Dependency:
        if serving := _serving(queue, workers).threads:
            return Dependency(status="ok", detail=f"{serving} at a time")
        try:
            counts = self._capacities[queue].load().counts
        except TemporaryError as error:
            return Dependency(status="unknown", detail=error.message)
        if counts.waiting + counts.retrying + counts.processing:
            return Dependency(status="missing", detail="nobody serves it; its jobs wait")
        return Dependency(status="idle", detail="nobody serves it, and nothing waits")

    def _targets(self, workers: list[WorkerReport]) -> dict[str, Dependency]:
        """For each target whether its network is loaded in all workers that may get the job."""
        answer = {}
        for pipeline in self._pipelines.values():
            serving = [worker for worker in workers if pipeline.queue in worker.queues]
            loaded = loaded_everywhere(serving)
            for name, target in pipeline.targets.items():
                if target.model in loaded:
                    answer[name] = Dependency(status="ok")
                elif serving:
                    answer[name] = Dependency(status="missing", detail="network not loaded")
                else:
                    answer[name] = Dependency(status="unknown", detail="no worker is alive")
        return answer

    def _own_use(self) -> ProcessUse:
        memory = self._process.memory_info().rss
        return ProcessUse(name="api", cpu_percent=self._process.cpu_percent(), memory_bytes=memory)


def _longest(figures: Sequence[QueueFigures]) -> float | None:
    """Predicted seconds until all queues are empty; None while that of one is not known."""
    asked = [one for one in figures if one.depth + one.retrying + one.processing]
    seconds = [one.estimated_seconds for one in asked or figures]
    known = [one for one in seconds if one is not None]
    return max(known) if known and (len(known) == len(seconds) or not asked) else None


def _sum(totals: Iterable[Totals]) -> Totals:
    return reduce(add, totals, NOTHING)


def _figures(
    totals: Totals, windows: Mapping[str, Totals], workers: WorkersAnswer
) -> dict[str, Any]:
    """The fields of `JobFigures`."""
    recent = windows["15m"]
    return {
        "throughput": {
            span: round(windows[span].completed / seconds, 3) for span, seconds in WINDOWS.items()
        },
        "totals": TotalsAnswer(completed=totals.completed, failed=totals.failed),
        "success_rate": _rounded(totals.success_rate),
        "latency_seconds": Percentiles(
            p50=_rounded(recent.latency_percentile(0.5)),
            p95=_rounded(recent.latency_percentile(0.95)),
            p99=_rounded(recent.latency_percentile(0.99)),
        ),
        "mean_processing_seconds": _rounded(recent.mean_processing_seconds),
        "workers": workers,
    }


def _serving(queue: str, workers: Sequence[WorkerReport]) -> WorkersAnswer:
    """Those of the workers that serve the queue, by their threads for it."""
    hands = [worker.queues[queue] for worker in workers if queue in worker.queues]
    return WorkersAnswer(
        processes=len(hands),
        threads=sum(one.threads for one in hands),
        busy=sum(one.busy for one in hands),
    )


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
