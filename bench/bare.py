"""The bare work from closer by: CPU of each network and step, and the memory it asks for."""

import gc
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from statistics import mean
from typing import cast

from bench.kernel import Kernel
from bench.ledger import Charged, Ledger
from bench.meter import MEGABYTE
from blurline.imaging.header import limits_of
from blurline.inference.detector import Detector
from blurline.models.catalogue import find
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings
from blurline.stages.blur import Blur
from blurline.stages.defaults import default_texts
from blurline.stages.options import read_options, values_of

REDACTION = "redaction"
"""What is left of the stage that blurs once its networks have looked."""


def kernel_of(settings: Settings) -> Kernel:
    """The bare work of an upload that names no options, with networks loaded as a worker does."""
    pipeline = pipelines(settings)[settings.default_pipeline]
    options = read_options(pipeline.targets, {}, default_texts(settings))
    names = sorted(pipeline.models(values_of(options)))
    for name in names:
        find(name).source.pull(settings.model_dir)
    return Kernel(
        pipeline=pipeline,
        options=options,
        detectors=load_detectors(names, inference(settings)),
        limits=limits_of(settings),
        quality=settings.jpeg_quality,
    )


def cpu_ms_by_step(kernel: Kernel, photos: Sequence[bytes], images: int) -> dict[str, float]:
    """CPU milliseconds an image: decode, each network, redaction, each other step, encode.

    A step's own figure is without the networks that ran in it. Measured one picture at a time in
    an otherwise idle process, since all threads of the process are counted.
    """
    ledger = Ledger()
    charged = {
        name: cast("Detector", Charged(detector, f"network {name}", ledger))
        for name, detector in kernel.detectors.items()
    }
    timed = replace(kernel, detectors=charged)
    blurs = {stage.name for stage in kernel.pipeline.stages if isinstance(stage, Blur)}
    for photo in islice(cycle(photos), images):
        ledger.start()
        timed.run(photo, lambda name: ledger.lap(REDACTION if name in blurs else name))
    return ledger.ms_per(images)


def allocations(kernel: Kernel, photos: Sequence[bytes]) -> dict[str, float]:
    """Memory that Python's allocators hand out for a picture, numpy's arrays included.

    `peak_mb` is the most that a picture holds at a time, `peak_mb_STEP` the most during a step,
    `blocks` the most blocks after a step, `kept_blocks` those that a picture leaves behind: near
    zero, unless something leaks. What OpenVINO and libjpeg allocate by themselves is not seen.
    """
    tracemalloc.start()
    try:
        for photo in photos:
            kernel.run(photo)
        before = _kept()
        for photo in photos:
            kernel.run(photo)
        kept = (_kept() - before) / len(photos)
        traced = [_traced(kernel, photo) for photo in photos]
    finally:
        tracemalloc.stop()
    names = traced[0]
    means = {name: round(mean(one[name] for one in traced), 2) for name in names}
    return {**means, "kept_blocks": round(kept, 2)}


def _traced(kernel: Kernel, photo: bytes) -> dict[str, float]:
    """Peaks and blocks of one picture while its allocations are traced."""
    peaks: dict[str, float] = {}
    held: list[int] = []
    blocks, start = _blocks(), tracemalloc.get_traced_memory()[0]

    def lap(name: str) -> None:
        peaks[f"peak_mb_{name}"] = (tracemalloc.get_traced_memory()[1] - start) / MEGABYTE
        held.append(_blocks() - blocks)
        tracemalloc.reset_peak()

    tracemalloc.reset_peak()
    kernel.run(photo, lap)
    return {"peak_mb": max(peaks.values()), **peaks, "blocks": max(held)}


def _kept() -> int:
    """Blocks without those that wait for the collector of cycles."""
    gc.collect()
    return _blocks()


def _blocks() -> int:
    return len(tracemalloc.take_snapshot().traces)
