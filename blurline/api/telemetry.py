"""The API's Prometheus metrics: its own requests, and what all processes share through Redis."""

import logging
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from redis import Redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blurline import metrics, tracing
from blurline.api.vitals import Vitals
from blurline.errors import TemporaryError
from blurline.log import subject
from blurline.machine import MachineCollector, folders_of
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.server import redis_memory
from blurline.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Words that may stand in a metric; a caller can send any other."""

COMMON_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which several API processes count together; the name is that of
Prometheus' library, which reads it when it is imported."""

ERROR = 400
"""Statuses from here on say that a request failed."""

log = logging.getLogger(__name__)


class SharedCollector(Collector):
    """Reads queue, totals and workers when it is asked; silent while Redis is away."""

    def __init__(self, redis: Redis, vitals: Vitals, presence: Presence) -> None:
        self._redis = redis
        self._vitals = vitals
        self._presence = presence

    def collect(self) -> Iterator[Metric]:
        """The metrics of `metrics.SHARED`."""
        try:
            totals, queues = self._vitals.totals(), self._vitals.queue().queues
            workers = self._presence.alive()
        except TemporaryError:
            return
        images = CounterMetricFamily(
            "blurline_images", metrics.SHARED["blurline_images"], labels=["queue", "outcome"]
        )
        for name, ended in totals.items():
            images.add_metric([name, "completed"], ended.completed)
            images.add_metric([name, "failed"], ended.failed)
        yield images
        by_queue: dict[str, dict[str, float | None]] = {
            name: {
                "blurline_queue_depth": queue.depth,
                "blurline_queue_capacity": queue.capacity,
                "blurline_queue_processing": queue.processing,
                "blurline_queue_oldest_age_seconds": queue.oldest_age_seconds,
                "blurline_queue_estimated_seconds": queue.estimated_seconds,
                **_hands(name, workers),
            }
            for name, queue in queues.items()
        }
        for metric in by_queue[next(iter(by_queue))]:
            family = GaugeMetricFamily(metric, metrics.SHARED[metric], labels=["queue"])
            for name, figures in by_queue.items():
                if (figure := figures[metric]) is not None:
                    family.add_metric([name], figure)
            yield family
        values = {"blurline_worker_processes": len(workers)}
        # A Redis of others may not let us ask for its memory.
        with suppress(TemporaryError):
            memory = redis_memory(self._redis)
            values["blurline_redis_memory_bytes"] = memory.used
            values["blurline_redis_memory_limit_bytes"] = memory.limit
        for name, value in values.items():
            yield GaugeMetricFamily(name, metrics.SHARED[name], value=value)

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not ask Redis."""
        return []


def _hands(queue: str, workers: Sequence[WorkerReport]) -> dict[str, float]:
    hands = [worker.queues[queue] for worker in workers if queue in worker.queues]
    return {
        "blurline_queue_worker_processes": len(hands),
        "blurline_worker_threads": sum(one.threads for one in hands),
        "blurline_worker_threads_busy": sum(one.busy for one in hands),
    }


class MetricsPage:
    """What `/metrics` answers: this API's own counts, and what is read when it is asked."""

    def __init__(self, settings: Settings, shared: Collector) -> None:
        self._asked = CollectorRegistry()
        self._asked.register(shared)
        self._asked.register(MachineCollector(folders_of(settings.data_dir)))
        if COMMON_FOLDER not in os.environ and multiprocessing.parent_process() is not None:
            log.warning(
                "one of several API processes counts for itself alone: set %s", COMMON_FOLDER
            )

    def text(self) -> bytes:
        """The page in Prometheus' text format; of all processes that share `COMMON_FOLDER`."""
        own = metrics.REGISTRY
        if COMMON_FOLDER in os.environ:
            own = CollectorRegistry()
            MultiProcessCollector(own)  # type: ignore[no-untyped-call]
        return generate_latest(own) + generate_latest(self._asked)


@asynccontextmanager
async def traced_life(_app: Any) -> AsyncIterator[None]:
    """The life of an API process, at whose end the last spans are sent."""
    yield
    tracing.stop()


class RequestMetrics:
    """ASGI middleware that counts, times and logs requests by route, never by path.

    Those that change something are spans too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the status of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, answered, status = perf_counter(), None, 500

        async def watched(message: Message) -> None:
            nonlocal answered, status
            if message["type"] == "http.response.start":
                # How long the rest takes is the reader's affair.
                answered, status = perf_counter(), message["status"]
            await send(message)

        # Who asks how it goes asks often.
        asks = scope["method"] in ("GET", "HEAD")
        span: AbstractContextManager[None] = nullcontext()
        if not asks:
            span = tracing.span("request", request_id=subject("request_id"))
        try:
            with span:
                await self._app(scope, receive, watched)
                if not asks:
                    tracing.note(" ".join(_known(scope)), status=status)
        finally:
            method, route = _known(scope)
            metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
            seconds = (answered or perf_counter()) - started
            metrics.HTTP_SECONDS.labels(method, route).observe(seconds)
            level = logging.DEBUG if asks and status < ERROR else logging.INFO
            log.log(level, "%s %s: %d in %.3f s", method, route, status, seconds)


def _known(scope: Scope) -> tuple[str, str]:
    """Method and route of a request; what a caller made up is `any` and `unmatched`."""
    route = getattr(scope.get("route"), "path", "unmatched")
    known = route != "unmatched" and scope["method"] in METHODS
    return scope["method"] if known else "any", route
