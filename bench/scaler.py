"""What the autoscalers make of a load, simulated: `python -m bench.scaler`.

What a worker does in a second is an argument, and so is the time from the wish for a pod to its
first job.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.autoscaling import Manifest, read_manifest
from bench.cluster import START_SECONDS, WORKER_RATE, Course, Load, Worker, simulate

ROOT = Path(__file__).parent.parent
MANIFEST = ROOT / "kubernetes_deployment.yaml"
LOADS = (Load("spike", 100, 30), Load("steady", 30, 600))

COLUMNS = (
    "load",
    "images/s a worker",
    "pod starts in",
    "done",
    "refused",
    "most waiting",
    "most workers",
    "done within (p50, p99)",
    "drained after",
    "5 workers after",
)


def row(course: Course) -> tuple[str, ...]:
    """One line of the table, a cell for each of `COLUMNS`."""
    peak = max(course.moments, key=lambda moment: moment.waiting)
    return (
        f"{course.load.rate:g}/s for {course.load.seconds:g} s",
        f"{course.worker.rate:g}",
        f"{course.worker.start:g} s",
        f"{len(course.latencies):,}",
        f"{course.refused:,}",
        f"{peak.waiting:,}",
        f"{max(moment.working for moment in course.moments)}",
        f"{course.latency(0.5):.1f} s, {course.latency(0.99):.1f} s",
        f"{course.drained_after:.0f} s",
        f"{course.calm_after:.0f} s",
    )


def markdown(courses: list[Course]) -> str:
    """The table as docs/scaling.md has it."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row(course) for course in courses)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def courses(manifest: Manifest, workers: list[Worker]) -> Iterator[Course]:
    """Both loads with each kind of worker."""
    for load in LOADS:
        for worker in workers:
            yield simulate(manifest, load, worker)


def main(
    rate: Annotated[list[float] | None, typer.Option(help="images/s of a worker")] = None,
    start: Annotated[
        list[float] | None, typer.Option(help="seconds until a new pod takes a job")
    ] = None,
    manifest: Annotated[Path, typer.Option(help="where the numbers come from")] = MANIFEST,
    plot: Annotated[Path | None, typer.Option(help="write the first spike as .svg or .png")] = None,
    document: Annotated[bool, typer.Option(help="print the table as Markdown")] = False,
) -> None:
    """Simulate 100 images/s for 30 s and 30 images/s for 10 min; options may be repeated."""
    workers = [Worker(r, s) for r in rate or [WORKER_RATE] for s in start or [START_SECONDS]]
    found = list(courses(read_manifest(manifest), workers))
    if document:
        print(markdown(found))
    else:
        table = Table(*COLUMNS)
        for course in found:
            table.add_row(*row(course))
        Console().print(table)
    if plot:
        from bench.scaler_plot import draw  # matplotlib takes a second to import

        draw(found[0], plot)


if __name__ == "__main__":
    typer.run(main)
