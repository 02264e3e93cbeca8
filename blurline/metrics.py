"""Every Prometheus metric of the service, by name and meaning.

A worker counts in its own process and serves that on `WORKER_METRICS_PORT`; the API's `/metrics`
adds what all processes share through Redis. Labels have few values, none of which is a name, an id
or a path; the classes of objects are those that the networks know.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Summary, disable_created_metrics

from blurline import __version__

# The moment of each first count, as a third of all series, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

STAGE_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
JOB_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)
COUNT_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100)
SHARE_BUCKETS = (0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)

BUILD = Gauge(
    "blurline_build_info", "1, with the version that runs.", ["version"], multiprocess_mode="max"
)
BUILD.labels(__version__).set(1)

# The API

UPLOADS = Counter(
    "blurline_uploads_total",
    "Pictures at this API process: taken; replayed, since their job was there already; or refused, "
    "though nothing was wrong with them: full (no place in the queue), late (what waits takes too "
    "long), mismatch (another one had the same Idempotency-Key).",
    ["queue", "outcome"],
)
HTTP_REQUESTS = Counter(
    "blurline_http_requests_total",
    "Requests that this API process answered.",
    ["method", "route", "status"],
)
HTTP_SECONDS = Histogram(
    "blurline_http_request_seconds",
    "Seconds from a request's head to the beginning of its answer.",
    ["method", "route"],
)
BATCH_FILES = Histogram(
    "blurline_batch_files",
    "Pictures of one batch upload that could be read.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)

# Jobs

JOBS = Counter(
    "blurline_jobs_total",
    "Tries of jobs that ended in this worker process: completed, failed or retried.",
    ["queue", "pipeline", "outcome"],
)
JOB_FAILURES = Counter(
    "blurline_job_failures_total",
    "Jobs that failed for good, by the code of their error.",
    ["queue", "pipeline", "code"],
)
JOB_SECONDS = Histogram(
    "blurline_job_seconds",
    "Seconds from a picture's upload to the end of its job, completed or failed.",
    ["queue", "pipeline", "outcome"],
    buckets=JOB_BUCKETS,
)
WAIT_SECONDS = Histogram(
    "blurline_job_wait_seconds",
    "Seconds that a job waited in its queue before a worker took it.",
    ["queue", "pipeline"],
    buckets=JOB_BUCKETS,
)
STAGE_SECONDS = Histogram(
    "blurline_stage_seconds",
    "Wall-clock seconds of one stage of a job: fetch, decode, blur, detect, encode, store, and "
    "second look where there is one.",
    ["queue", "pipeline", "stage"],
    buckets=STAGE_BUCKETS,
)
JOBS_RUNNING = Gauge(
    "blurline_jobs_running",
    "Jobs that this worker process runs now.",
    ["queue"],
    multiprocess_mode="livesum",
)
WEBHOOKS = Counter(
    "blurline_webhooks_total",
    "Tries of webhooks by this worker process: delivered, retried or given_up; and events that "
    "were dropped, since too many waited.",
    ["outcome"],
)

# Networks

MODEL_INFO = Gauge(
    "blurline_model_info",
    "1, with a network that is loaded and the beginning of its file's sha256.",
    ["model", "sha256"],
    multiprocess_mode="max",
)
MODEL_LOAD_SECONDS = Gauge(
    "blurline_model_load_seconds",
    "Seconds that it took to load a network and run it for the first time.",
    ["model"],
    multiprocess_mode="max",
)
INFERENCE_SECONDS = Histogram(
    "blurline_inference_seconds",
    "Seconds of one run of a network on one input, on a GPU with the wait for its batch.",
    ["model"],
    buckets=STAGE_BUCKETS,
)
BATCH_SIZE = Histogram(
    "blurline_inference_batch_size",
    "Pictures that a network computed together; only where networks run in batches.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)

# What is found

DETECTIONS = Summary(
    "blurline_detection_confidence",
    "Confidences of the objects seen in blurred pictures, by class: how many, and their sum.",
    ["label"],
)
REDACTIONS = Histogram(
    "blurline_redaction_confidence",
    "Confidences of the regions that were made unreadable, by target.",
    ["target"],
    buckets=CONFIDENCE_BUCKETS,
)
IMAGE_DETECTIONS = Histogram(
    "blurline_image_detections", "Objects seen in one blurred picture.", buckets=COUNT_BUCKETS
)
IMAGE_REDACTIONS = Histogram(
    "blurline_image_redactions", "Regions of one picture made unreadable.", buckets=COUNT_BUCKETS
)
REDACTED_RATIO = Histogram(
    "blurline_image_redacted_ratio",
    "Share of a picture's area inside the boxes of its redactions, at most 1; where boxes overlap "
    "it counts twice.",
    buckets=SHARE_BUCKETS,
)
SECOND_LOOKS = Counter(
    "blurline_second_looks_total",
    "Redacted pictures that were looked at again and published: passed or mended.",
    ["outcome"],
)
LEAKS = Counter(
    "blurline_leaks_suspected_total",
    "Redacted pictures that a second look held back, since they showed what they should not.",
)

# What others do to us

STORE_ERRORS = Counter(
    "blurline_store_errors_total",
    "Requests to the object store that this process had no good answer to.",
)
REDIS_ERRORS = Counter(
    "blurline_redis_errors_total", "Requests to Redis that this process had no good answer to."
)

# A rate can be told from the first count on only of a series that was there before.
for _outcome in ("delivered", "retried", "given_up", "dropped"):
    WEBHOOKS.labels(_outcome)
for _outcome in ("passed", "mended"):
    SECOND_LOOKS.labels(_outcome)


def expect_uploads(queue: str) -> None:
    """Have the series of that queue's uploads there before the first one."""
    for outcome in ("taken", "replayed", "full", "share", "late", "mismatch"):
        UPLOADS.labels(queue, outcome)


def expect_jobs(queue: str, pipeline: str) -> None:
    """Have the series of that pipeline's jobs there before the first one."""
    for outcome in ("completed", "failed", "retried"):
        JOBS.labels(queue, pipeline, outcome)
    for outcome in ("completed", "failed"):
        JOB_SECONDS.labels(queue, pipeline, outcome)


SHARED = {
    "blurline_images": "Jobs of a queue that ended, over all workers: completed or failed.",
    "blurline_queue_depth": "Jobs that wait in a queue.",
    "blurline_queue_capacity": "Waiting jobs above which an upload is answered 429.",
    "blurline_queue_processing": "Jobs of a queue that run now, over all workers.",
    "blurline_queue_worker_processes": "Worker processes that are alive and serve a queue.",
    "blurline_queue_oldest_age_seconds": "How long the job at the head of a queue has waited.",
    "blurline_queue_estimated_seconds": "Predicted seconds until a queue is empty; missing "
    "while nobody serves it.",
    "blurline_worker_processes": "Worker processes that are alive.",
    "blurline_worker_threads": "Jobs of a queue that all living workers can run at a time.",
    "blurline_worker_threads_busy": "Threads of all living workers that run a job of a queue now.",
    "blurline_redis_memory_bytes": "Memory that Redis uses.",
    "blurline_redis_memory_limit_bytes": "Memory that Redis may use; without a limit of its own, "
    "that of its machine.",
}
"""Metrics that the API reads from Redis when it is asked, by name and meaning."""

MACHINE = {
    "blurline_disk_size_bytes": "Size of the disk under DATA_DIR (data) or TMPDIR (tmp), where "
    "this process has such a folder.",
    "blurline_disk_free_bytes": "What is free of it.",
    "blurline_memory_limit_bytes": "Memory of this process's container, or of its machine if that "
    "is less.",
    "blurline_memory_available_bytes": "What of it can still be had.",
}
"""Metrics of where a process runs, read when it is asked, by name and meaning."""

__all__ = [
    "BATCH_FILES",
    "BATCH_SIZE",
    "BUILD",
    "DETECTIONS",
    "HTTP_REQUESTS",
    "HTTP_SECONDS",
    "IMAGE_DETECTIONS",
    "IMAGE_REDACTIONS",
    "INFERENCE_SECONDS",
    "JOBS",
    "JOBS_RUNNING",
    "JOB_FAILURES",
    "JOB_SECONDS",
    "LEAKS",
    "MACHINE",
    "MODEL_INFO",
    "MODEL_LOAD_SECONDS",
    "REDACTED_RATIO",
    "REDACTIONS",
    "REDIS_ERRORS",
    "REGISTRY",
    "SECOND_LOOKS",
    "SHARED",
    "STAGE_SECONDS",
    "STORE_ERRORS",
    "UPLOADS",
    "WAIT_SECONDS",
    "WEBHOOKS",
    "expect_jobs",
    "expect_uploads",
]
