"""The API's Prometheus metrics: its own requests, and what all processes share through Redis."""

import logging
from collections.abc import Iterator
from time import perf_counter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blurline import metrics
from blurline.api.reports import Reports
from blurline.errors import TemporaryError
from blurline.queue.presence import Presence
from blurline.queue.stats import Stats

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Words that may stand in a metric; a caller can send any other."""

ERROR = 400
"""Statuses from here on say that a request failed."""

log = logging.getLogger(__name__)


class SharedCollector(Collector):
    """Reads queue, totals and workers when it is asked; silent while Redis is away."""

    def __init__(self, reports: Reports, stats: Stats, presence: Presence) -> None:
        self._reports = reports
        self._stats = stats
        self._presence = presence

    def collect(self) -> Iterator[Metric]:
        """The metrics of `metrics.SHARED`."""
        try:
            totals, queue = self._stats.totals(), self._reports.queue()
            workers = self._presence.alive()
        except TemporaryError:
            return
        images = CounterMetricFamily(
            "blurline_images", metrics.SHARED["blurline_images"], labels=["outcome"]
        )
        images.add_metric(["completed"], totals.completed)
        images.add_metric(["failed"], totals.failed)
        yield images
        values = {
            "blurline_queue_depth": queue.depth,
            "blurline_queue_processing": queue.processing,
            "blurline_queue_oldest_age_seconds": queue.oldest_age_seconds,
            "blurline_queue_estimated_seconds": queue.estimated_seconds or 0.0,
            "blurline_worker_processes": len(workers),
        }
        for name, value in values.items():
            yield GaugeMetricFamily(name, metrics.SHARED[name], value=value)

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not ask Redis."""
        return []


class RequestMetrics:
    """ASGI middleware that counts, times and logs requests by route, never by path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the status of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            known = route != "unmatched" and scope["method"] in METHODS
            method = scope["method"] if known else "any"
            metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
            seconds = perf_counter() - started
            metrics.HTTP_SECONDS.labels(method, route).observe(seconds)
            # Who asks how it goes asks often.
            level = logging.DEBUG if method == "GET" and status < ERROR else logging.INFO
            log.log(level, "%s %s: %d in %.3f s", method, route, status, seconds)
