"""`make bench-gpu`: batches of one network, the batcher around it, and whole pictures beside it.

Three questions in turn: how much a batch gains, what of that is left when threads hand over one
picture each, and with how many threads and processes decoding and redaction keep up with it.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.batches import BatcherFigures, BatchFigures, batch_curve, batcher_run, open_network
from bench.photos import Size, make_photos
from bench.processes import PipelineFigures, PipelineTask, pipeline_run, pull_networks
from blurline.errors import BlurlineError, OptionError
from blurline.machine import usable_cores
from blurline.settings import load_settings

LATEST = Path(__file__).parent / "latest-gpu.json"


def main(
    network: Annotated[
        str, typer.Option(help="Network of the first two parts: a catalogue name or a file.")
    ] = "yolo11n",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt.")] = "auto",
    input_size: Annotated[str, typer.Option(help="Width x height of the inputs.")] = "640x384",
    photo_size: Annotated[str, typer.Option(help="Width x height of the photos.")] = "1280x720",
    batches: Annotated[str, typer.Option(help="Pictures at once.")] = "1,2,4,8,16,32",
    threads: Annotated[str, typer.Option(help="Threads in each process.")] = "8,16,32",
    processes: Annotated[str, typer.Option(help="Processes; 0 leaves this part out.")] = "1,2,4",
    seconds: Annotated[float, typer.Option(help="Seconds for each line.")] = 4,
    max_batch_size: Annotated[int | None, typer.Option(help="Default: the setting.")] = None,
    max_queue_delay: Annotated[float | None, typer.Option(help="Default: the setting.")] = None,
    output: Annotated[Path, typer.Option("--json", help="File for the figures.")] = LATEST,
) -> None:
    """Measure what batches gain, and choose threads and processes by measurement.

    On a CPU the first two parts run by ONNX Runtime or PyTorch, the third by OpenVINO as it does
    in service; that is for trying the program, not for figures.
    """
    settings = load_settings(
        device=device, max_batch_size=max_batch_size, max_queue_delay=max_queue_delay
    )
    batch_counts, thread_counts = _numbers(batches, 1), _numbers(threads, 1)
    process_counts = [count for count in _numbers(processes, 0) if count]
    (width, height), (photo_width, photo_height) = _size(input_size), _size(photo_size)
    opened, where = open_network(network, settings, max(*batch_counts, settings.max_batch_size))
    size = opened.fixed_size or (height, width)
    console = Console()
    result: dict[str, Any] = {
        "recipe": {
            "network": network,
            "device": where,
            "gpu": gpu_name(),
            "cores": usable_cores(),
            "input_size": [size[1], size[0]],
            "photo_size": [photo_width, photo_height],
            "max_batch_size": settings.max_batch_size,
            "max_queue_delay": settings.max_queue_delay,
        }
    }
    curve = batch_curve(opened, size, batch_counts, seconds)
    _show(console, result, "batches", curve)
    runs = [batcher_run(opened, size, count, settings, seconds) for count in thread_counts]
    _show(console, result, "batcher", runs)
    if process_counts:
        photos = make_photos(Size("photos", photo_width, photo_height), settings)
        pull_networks(settings)
        chosen = settings.model_dump(include={"device", "max_batch_size", "max_queue_delay"})
        lines = [
            pipeline_run(PipelineTask(chosen, photos, thread_count, seconds), process_count)
            for process_count in process_counts
            for thread_count in thread_counts
        ]
        _show(console, result, "pipeline", lines)
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"{where}; written to {output}")


def gpu_name() -> str | None:
    """The first GPU and its driver as `nvidia-smi` names them, if it is there."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 else None


def _numbers(text: str, least: int) -> list[int]:
    """Whole numbers with commas between them.

    Raises:
        OptionError: it is something else, or one is less than `least`.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"{text} is no list of numbers such as 1,2,4") from error
    if min(numbers) < least:
        raise OptionError(f"{text} holds a number below {least}")
    return numbers


def _size(text: str) -> tuple[int, int]:
    """Width and height out of `640x384`.

    Raises:
        OptionError: it is something else.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise OptionError(f"{text} is no size such as 640x384")
    return int(width), int(height)


def _show(
    console: Console,
    result: dict[str, Any],
    name: str,
    figures: Sequence[BatchFigures | BatcherFigures | PipelineFigures],
) -> None:
    """Print one part as a table and put it into the result."""
    rows = [asdict(line) for line in figures]
    result[name] = rows
    table = Table(*(key.replace("_", " ") for key in (rows[0] if rows else {})), title=name)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    return ", ".join(sorted(set(value.values()))) if isinstance(value, dict) else str(value)


if __name__ == "__main__":
    try:
        typer.run(main)
    except BlurlineError as error:
        raise SystemExit(f"bench: {error}") from error
