"""`make bench`: images a second, latency, CPU and memory of the service, and the kernel limit."""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from bench.kernel import Kernel
from bench.load import Load, Sent, ended, percentiles
from bench.photos import make_photos
from blurline.errors import BlurlineError
from blurline.imaging.header import limits_of
from blurline.models.catalogue import find
from blurline.models.load import load_detectors
from blurline.queue.crew import usable_cores
from blurline.queue.service import inference
from blurline.settings import Settings, load_settings
from blurline.stack.stack import Stack, running_stack
from blurline.stages.options import OptionText, default_text, options_of
from pipeline_architecture import pipelines

LATEST = Path(__file__).parent / "latest.json"
WARM_UP = 40
STEP_ROUNDS = 48


@dataclass(frozen=True, slots=True)
class Round:
    """One run of the service: what was sent, and seconds until all of it was done."""

    sent: list[Sent]
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of the round."""
        return len(self.sent) / self.seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """Rounds of the service, each between two kernel runs; figures of all rounds together."""

    rounds: list[Round]
    kernel_runs: list[float]
    latency_ms: dict[str, float]
    cpu_ms: dict[str, float]
    peak_memory_mb: dict[str, float]

    @property
    def images_per_second(self) -> float:
        """Throughput of all rounds."""
        return sum(len(r.sent) for r in self.rounds) / sum(r.seconds for r in self.rounds)

    @property
    def ratios(self) -> list[float]:
        """Each round against the mean of the kernel runs before and after it."""
        around = zip(self.kernel_runs, self.kernel_runs[1:], strict=False)
        limits = [(before + after) / 2 for before, after in around]
        return [r.images_per_second / limit for r, limit in zip(self.rounds, limits, strict=True)]


def main(
    images: Annotated[int, typer.Option(min=1, help="Images to send.")] = 800,
    width: Annotated[int, typer.Option(min=32, help="Width of the images.")] = 1280,
    height: Annotated[int, typer.Option(min=32, help="Height of the images.")] = 720,
    in_flight: Annotated[int, typer.Option(min=1, help="Images under way at a time.")] = 24,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the worker and of the kernel limit.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Parts that the images are sent in.")] = 3,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 4,
) -> None:
    """Measure the service over HTTP, load generator included, and the bare work in the same run.

    The kernel limit is the same decode, networks, blur and encode in threads, without a service.
    Machines differ and drift, so the service runs in rounds with a kernel run before and after
    each, and the median of the rounds' ratios is what to compare.
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
        with console.status(f"{rounds} rounds of kernel limit and service: {images} images"):
            measured = _measure(
                settings,
                photos,
                images_a_round=-(-images // rounds),
                rounds=rounds,
                in_flight=in_flight,
                limit=lambda: kernel.images_per_second(photos, size, kernel_seconds),
            )
    result = {
        "images_per_second": round(measured.images_per_second, 2),
        "kernel_limit_images_per_second": round(mean(measured.kernel_runs), 2),
        "ratio": round(median(measured.ratios), 3),
        "latency_ms": measured.latency_ms,
        "cpu_ms_per_image": {
            **{f"kernel {name}": round(value, 2) for name, value in steps.items()},
            **{f"service {name}": value for name, value in measured.cpu_ms.items()},
        },
        "peak_memory_mb": measured.peak_memory_mb,
        "recipe": {
            "images": sum(len(r.sent) for r in measured.rounds),
            "size": [width, height],
            "in_flight": in_flight,
            "threads": size,
            "cores": usable_cores(),
            "kernel_runs": [round(value, 2) for value in measured.kernel_runs],
            "service_runs": [round(r.images_per_second, 2) for r in measured.rounds],
            "ratios": [round(value, 3) for value in measured.ratios],
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
    defaults = default_text(settings, pipeline.targets)
    options = options_of(OptionText(), defaults, pipeline.targets)
    names = sorted(pipeline.needed_models(options))
    for name in names:
        find(name).source.pull(settings.model_dir)
    return Kernel(
        pipeline=pipeline,
        options=options,
        detectors=load_detectors(names, inference(settings)),
        limits=limits_of(settings),
        quality=settings.jpeg_quality,
    )


def _measure(
    settings: Settings,
    photos: list[bytes],
    *,
    images_a_round: int,
    rounds: int,
    in_flight: int,
    limit: Callable[[], float],
) -> Measured:
    """Run the service in rounds, after a warm-up that does not count.

    Raises:
        BlurlineError: an image was lost or failed, so no figure would mean anything.
    """
    environment = {"WORKER_THREADS": str(settings.worker_threads), "LOG_LEVEL": "warning"}
    done: list[Round] = []
    ends: dict[str, float] = {}
    spent: Counter[str] = Counter()
    with running_stack(settings, environment) as stack:
        load = Load(stack.url, photos, in_flight)
        load.run(WARM_UP)
        processes = _processes(stack)
        kernel_runs = [limit()]
        for _ in range(rounds):
            before = {name: _cpu_seconds(process) for name, process in processes.items()}
            started_at = time.time()
            sent = load.run(images_a_round)
            for name, process in processes.items():
                spent[name] += _cpu_seconds(process) - before[name]  # type: ignore[assignment]
            of_round = ended(load.statuses(sent))
            ends |= of_round
            done.append(Round(sent, max(of_round.values()) - started_at))
            kernel_runs.append(limit())
        memory = {name: _peak_mb(process.pid) for name, process in processes.items()}
    sent = [upload for part in done for upload in part.sent]
    return Measured(
        rounds=done,
        kernel_runs=kernel_runs,
        latency_ms=percentiles([1000 * (ends[u.job_id] - u.started_at) for u in sent]),
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
