"""Putting a worker process together from the settings, and its life from start to signal."""

import ctypes
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from blurline import metrics
from blurline.certificate.signing import load_signing_key
from blurline.errors import ModelError, ModelMissingError, SettingsError
from blurline.imaging.header import limits_of
from blurline.jobs.processor import Processor
from blurline.machine import usable_cores
from blurline.models.inference import inference
from blurline.models.load import load_networks
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.stages.pipeline import Family, Pipeline
from blurline.storage.objects import open_store
from blurline.treatment.families import open_treatment
from blurline.worker.cleaning import ask_bucket
from blurline.worker.crew import Crew
from blurline.worker.endings import open_endings
from blurline.worker.runner import JobRunner
from blurline.worker.upkeep import (
    Upkeep,
    name_of_process,
    prepare_process,
    serve_metrics,
    stop_on_signals,
)

M_MMAP_THRESHOLD = -3  # malloc.h of glibc
LARGE_BLOCK = 4_000_000
"""Bytes from which on malloc maps a block by itself, so that it goes back to the system when it is
freed. Left alone, glibc moves that bound up with each such block, and the pixels of large pictures
tear the heap to pieces."""

CORES_EACH = 4
"""Cores for each job of a queue beside the first one, where nobody says how many run at a time."""

log = logging.getLogger(__name__)


def run_worker(settings: Settings, pipelines: Mapping[str, Pipeline]) -> None:
    """Take jobs until SIGTERM or SIGINT, then finish the running ones and return.

    Raises:
        SettingsError: Redis or the store can't be reached for lack of a usable setting, or a queue
            is to be served that no pipeline has.
        ModelMissingError: not one network could be loaded, so every job would be refused.
    """
    os.nice(settings.worker_nice)
    prepare_process()
    with suppress(OSError, AttributeError):  # other C libraries have no such bound
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
    redis_url = settings.redis_url or DEFAULT_URL
    redis = connect(redis_url)
    queues = Queues(redis, settings, pipelines)
    served = served_queues(settings, queues)
    for pipeline in pipelines.values():
        metrics.expect_jobs(pipeline.queue, pipeline.name)
    names = networks_of(served, pipelines.values())
    networks = load_networks(names, inference(settings), missing=_warn)
    if names and not networks:
        raise ModelMissingError("no network could be loaded: run `blurline models pull`")
    store = open_store(settings)
    ask_bucket(settings)
    endings = open_endings(settings, redis, store, queues)
    processor = Processor(
        store=store,
        originals=endings.originals,
        pipelines=pipelines,
        treatment=open_treatment(settings, networks),
        limits=limits_of(settings),
        signing_key=load_signing_key(settings.signing_key, settings.data_dir),
    )
    name = name_of_process()
    crew = Crew(
        name,
        settings,
        redis_url,
        served,
        JobRunner(processor, endings),
        networks.precisions,
        Upkeep(name, settings, redis_url, store, pipelines),
    )
    stop_on_signals(crew.stop)
    serve_metrics(settings)
    crew.run(queues)


def served_queues(settings: Settings, queues: Queues) -> dict[str, int]:
    """By name of each queue that this process serves how many of its jobs run at a time.

    Raises:
        SettingsError: `WORKER_QUEUES` names a queue that no pipeline has.
    """
    wanted = settings.served or dict.fromkeys(queues, 0)
    if unknown := sorted(wanted.keys() - queues.keys()):
        raise SettingsError(
            f"WORKER_QUEUES: there is no queue {unknown[0]}, but {', '.join(queues)}"
        )
    cores = usable_cores()
    usual = dict.fromkeys(queues, max(1, cores // CORES_EACH))
    usual[queues.first.name] = settings.worker_threads or 2 * cores
    return {name: count or usual[name] for name, count in wanted.items()}


def networks_of(served: Iterable[str], pipelines: Iterable[Pipeline]) -> list[str]:
    """Names of the networks that jobs of these queues may need.

    A chain waits in the queue of its last pipeline, and may begin with any that redacts.
    """
    known = list(pipelines)
    own = [pipeline for pipeline in known if pipeline.queue in served]
    if any(pipeline.family is not Family.REDACTION for pipeline in own):
        own += [pipeline for pipeline in known if pipeline.family is Family.REDACTION]
    return sorted(frozenset[str]().union(*(pipeline.networks for pipeline in own)))


def _warn(name: str, error: ModelError) -> None:
    log.error("network %s: %s; jobs that need it are refused", name, error)
