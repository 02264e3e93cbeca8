"""The bare work from closer by: CPU of each network and step, and the memory it asks for."""

import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from statistics import mean
from typing import cast

from bench.kernel import Kernel
from bench.ledger import Charged, Ledger
from bench.meter import MEGABYTE
from blurline.imaging.header import Limits
from blurline.inference.detector import Detector
from blurline.models.catalogue import find
from blurline.models.load import load_detectors
from blurline.queue.service import inference
from blurline.settings import Settings
from blurline.stages.blur import Blur
from blurline.stages.options import OptionText, default_text, options_of
from pipeline_architecture import pipelines

REDACTION = "redaction"
"""What is left of the stage that blurs once its networks have looked."""


def kernel_of(settings: Settings) -> Kernel:
    """The bare work of an upload that names no options, with networks loaded as a worker does."""
    pipeline = pipelines(settings)[settings.default_pipeline]
    defaults = default_text(settings, pipeline.targets)
    options = options_of(OptionText(), defaults, pipeline.targets)
    names = sorted(pipeline.needed_models(options))
    for name in names:
        find(name).source.pull(settings.model_dir)
    return Kernel(
        pipeline=pipeline,
        options=options,
        detectors=load_detectors(names, inference(settings)),
        limits=Limits(settings.max_image_bytes, settings.max_image_pixels),
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
    `blocks` the most blocks after a step, `kept_blocks` those that are still there afterwards: near
    zero, unless something leaks. What OpenVINO and libjpeg allocate by themselves is not seen.
    """
    kernel.run(photos[0])
    found: dict[str, list[float]] = defaultdict(list)
    tracemalloc.start()
    try:
        for photo in photos:
            start, blocks = tracemalloc.get_traced_memory()[0], _blocks()
            peaks: dict[str, float] = {}
            held: list[int] = []

            def lap(
                name: str,
                peaks: dict[str, float] = peaks,
                held: list[int] = held,
                start: int = start,
                blocks: int = blocks,
            ) -> None:
                peaks[name] = (tracemalloc.get_traced_memory()[1] - start) / MEGABYTE
                held.append(_blocks() - blocks)
                tracemalloc.reset_peak()

            tracemalloc.reset_peak()
            kernel.run(photo, lap)
            found["peak_mb"].append(max(peaks.values()))
            for name, peak in peaks.items():
                found[f"peak_mb_{name}"].append(peak)
            found["blocks"].append(max(held))
            found["kept_blocks"].append(_blocks() - blocks)
    finally:
        tracemalloc.stop()
    return {name: round(mean(values), 2) for name, values in found.items()}


def _blocks() -> int:
    return len(tracemalloc.take_snapshot().traces)
