"""Every Prometheus metric of the service, by name and meaning.

A worker counts in its own process and serves that on `WORKER_METRICS_PORT`; the API's `/metrics`
adds what all processes share through Redis.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

STAGE_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

STAGE_SECONDS = Histogram(
    "blurline_stage_seconds",
    "Wall-clock seconds of one stage of a job: fetch, decode, blur, detect, encode, store, and "
    "second look where there is one.",
    ["stage"],
    buckets=STAGE_BUCKETS,
)
JOBS = Counter(
    "blurline_jobs_total",
    "Tries of jobs that ended in this worker process: completed, failed or retried.",
    ["outcome"],
)
JOBS_RUNNING = Gauge("blurline_jobs_running", "Jobs that this worker process runs now.")
DETECTIONS = Counter(
    "blurline_detections_total", "Objects seen in blurred pictures, by class.", ["label"]
)
REDACTIONS = Counter("blurline_redactions_total", "Regions made unreadable, by target.", ["target"])
LEAKS = Counter(
    "blurline_leaks_suspected_total",
    "Redacted pictures that a second look held back, since they showed what they should not.",
)
WEBHOOKS = Counter(
    "blurline_webhooks_total",
    "Tries of webhooks by this worker process: delivered, retried or given_up; and events that "
    "were dropped, since too many waited.",
    ["outcome"],
)
UPLOADS = Counter(
    "blurline_uploads_total",
    "Pictures at this API process: taken; replayed, since their job was there already; or refused, "
    "though nothing was wrong with them: full (no place in the queue), late (what waits takes too "
    "long), mismatch (another one had the same Idempotency-Key).",
    ["outcome"],
)
HTTP_REQUESTS = Counter(
    "blurline_http_requests_total",
    "Requests that this API process answered.",
    ["method", "route", "status"],
)
HTTP_SECONDS = Histogram(
    "blurline_http_request_seconds",
    "Seconds from a request's first byte to the end of its answer.",
    ["method", "route"],
)

SHARED = {
    "blurline_images": "Jobs that ended, over all workers: completed or failed.",
    "blurline_queue_depth": "Jobs that wait in the queue.",
    "blurline_queue_processing": "Jobs that run now, over all workers.",
    "blurline_queue_oldest_age_seconds": "How long the job at the head of the queue has waited.",
    "blurline_queue_estimated_seconds": "Predicted seconds until the queue is empty.",
    "blurline_worker_processes": "Worker processes that are alive.",
}
"""Metrics that the API reads from Redis when it is asked, by name and meaning."""

__all__ = [
    "DETECTIONS",
    "HTTP_REQUESTS",
    "HTTP_SECONDS",
    "JOBS",
    "JOBS_RUNNING",
    "LEAKS",
    "REDACTIONS",
    "REGISTRY",
    "SHARED",
    "STAGE_SECONDS",
    "UPLOADS",
    "WEBHOOKS",
]
