"""Putting a worker process together from the settings, and its life from start to signal."""

import ctypes
import logging
import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType

from prometheus_client import start_http_server

from blurline import metrics
from blurline.certificate.signing import load_signing_key
from blurline.errors import ModelError, ModelMissingError, SettingsError
from blurline.imaging.header import limits_of
from blurline.jobs.processor import Processor
from blurline.jobs.records import open_records
from blurline.machine import MachineCollector, folders_of
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.stages.pipeline import Pipeline
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from blurline.treatment.families import open_treatment
from blurline.webhooks.outbox import open_outbox
from blurline.worker.crew import Crew
from blurline.worker.reconciler import open_reconciler
from blurline.worker.runner import JobRunner
from blurline.worker.upkeep import ask_bucket, open_leftovers, open_sweeper

M_MMAP_THRESHOLD = -3  # malloc.h of glibc
LARGE_BLOCK = 4_000_000
"""Bytes from which on malloc maps a block by itself, so that it goes back to the system when it is
freed. Left alone, glibc moves that bound up with each such block, and the pixels of large pictures
tear the heap to pieces."""

log = logging.getLogger(__name__)


def run_worker(settings: Settings, pipelines: Mapping[str, Pipeline]) -> None:
    """Take jobs until SIGTERM or SIGINT, then finish the running ones and return.

    Raises:
        SettingsError: Redis or the store can't be reached for lack of a usable setting.
        ModelMissingError: not one network could be loaded, so every job would be refused.
    """
    os.nice(settings.worker_nice)
    # A crash must not leave pictures in a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):  # other C libraries have no such bound
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
    detectors = load_detectors(
        sorted(frozenset[str]().union(*(pipeline.networks for pipeline in pipelines.values()))),
        inference(settings),
        missing=_warn,
    )
    if not detectors:
        raise ModelMissingError("no network could be loaded: run `blurline models pull`")
    store = open_store(settings)
    ask_bucket(settings)
    redis_url = settings.redis_url or DEFAULT_URL
    processor = Processor(
        store=store,
        originals=open_vault(settings, store),
        pipelines=pipelines,
        treatment=open_treatment(settings, detectors),
        limits=limits_of(settings),
        signing_key=load_signing_key(settings.signing_key, settings.data_dir),
    )
    redis = connect(redis_url)
    queues, outbox = Queues(redis, settings, pipelines), open_outbox(redis, settings)
    runner = JobRunner(processor, open_records(settings, store), queues, outbox)
    reconciler = open_reconciler(settings, queues, store, processor.originals)
    sweeper = open_sweeper(settings, store)
    precisions = {name: detector.engine.precision for name, detector in detectors.items()}
    leftovers = open_leftovers(settings, queues, store)
    crew = Crew(settings, redis_url, runner, precisions, sweeper, reconciler, leftovers)

    def stop(signum: int, frame: FrameType | None) -> None:
        crew.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if settings.worker_metrics_port:
        _serve_metrics(settings)
    crew.run()


def _serve_metrics(settings: Settings) -> None:
    metrics.REGISTRY.register(MachineCollector(folders_of(settings.data_dir)))
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    try:
        start_http_server(port, host)
    except OSError as error:
        raise SettingsError(
            f"WORKER_METRICS_PORT: can't listen on {host}:{port} ({error.strerror}); choose "
            "another one, or 0 for none"
        ) from error


def _warn(name: str, error: ModelError) -> None:
    log.error("network %s: %s; jobs that need it are refused", name, error)
