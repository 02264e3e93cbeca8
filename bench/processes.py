"""Whole pictures in several processes that share one device, as worker processes do."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.bare import kernel_of
from blurline.models.catalogue import find
from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings, load_settings

WARM_UP_SECONDS = 2.0
START_SECONDS = 900
"""Within these every process has to be ready; TensorRT may take minutes for each network."""


@dataclass(frozen=True, slots=True)
class PipelineFigures:
    """Whole pictures: decode, all networks, redaction and encode. `engines` is by network."""

    processes: int
    threads: int
    images_per_second: float
    cores_busy: float
    engines: dict[str, str]


@dataclass(frozen=True, slots=True)
class PipelineTask:
    """What each process of a pipeline run does."""

    settings: dict[str, Any]
    photos: list[bytes]
    threads: int
    seconds: float


def pipeline_run(task: PipelineTask, processes: int) -> PipelineFigures:
    """All processes at the same time, each with networks of its own, as workers are."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _meet, (barrier,)) as pool:
        parts = list(pool.map(_work, [task] * processes))
    return PipelineFigures(
        processes,
        task.threads,
        round(sum(rate for rate, _, _ in parts), 1),
        round(sum(cores for _, cores, _ in parts), 2),
        parts[0][2],
    )


_barrier: Barrier | None = None


def _meet(barrier: Barrier) -> None:
    """Keep what only a new process can be given."""
    global _barrier
    _barrier = barrier


def _work(task: PipelineTask) -> tuple[float, float, dict[str, str]]:
    """In a process of its own: images a second, cores busy, and the engines."""
    assert _barrier is not None  # noqa: S101 - the pool's initializer has set it
    try:
        kernel = kernel_of(load_settings(**task.settings))
        kernel.images_per_second(task.photos, task.threads, min(task.seconds, WARM_UP_SECONDS))
        _barrier.wait(START_SECONDS)
    except BaseException:
        _barrier.abort()
        raise
    cpu, began = time.process_time(), time.perf_counter()
    rate = kernel.images_per_second(task.photos, task.threads, task.seconds)
    cores = (time.process_time() - cpu) / (time.perf_counter() - began)
    engines = {name: type(one.engine).__name__ for name, one in kernel.detectors.items()}
    return rate, cores, engines


def pull_networks(settings: Settings) -> None:
    """Fetch the networks before several processes want them."""
    for name in pipelines(settings)[settings.default_pipeline].networks:
        find(name).source.pull(settings.model_dir)
