"""`python -m bench fairness`: whether one pipeline's flood leaves the others' latency as it was."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import typer

from bench.arrivals import ROOM
from bench.bare import kernel_of
from bench.client import Client
from bench.figures import percentiles
from bench.openloop import OpenLoop, schedule
from bench.photos import SIZE_HELP, Size, make_photos, one_size
from bench.report import RECIPE, console, progress, publish
from bench.service import Service, running_service
from blurline.errors import BlurlineError
from blurline.machine import usable_cores
from blurline.queue.connection import connect
from blurline.queue.presence import Presence
from blurline.settings import load_settings

SMALL = Size("small", 160, 120)
"""The pictures of the flood; each takes as long as several that are blurred all the same."""

START_SECONDS = 60
STOP_SECONDS = 120


def fairness(
    flood: Annotated[int, typer.Option(min=1, help="Jobs of the other pipeline that wait.")] = 500,
    pipeline: Annotated[str, typer.Option(help="The other pipeline.")] = "upscale",
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    share: Annotated[
        float, typer.Option(min=0.01, help="Rate as a share of the kernel limit.")
    ] = 0.3,
    seconds: Annotated[float, typer.Option(min=1, help="How long images are sent.")] = 30,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 4,
) -> None:
    """Latency of pictures to blur, alone and while another pipeline's jobs flood the service.

    Each queue has a worker process of its own, as in compose and Kubernetes, and that of the flood
    gives way on the same cores. Latencies are from the moment an upload was due to its result.
    """
    settings = load_settings()
    kernel, photos = kernel_of(settings), make_photos(one_size(size), settings)
    small, threads = make_photos(SMALL, settings)[0], 2 * usable_cores()
    with console.status("kernel limit"):
        rate = share * kernel.images_per_second(photos, threads, kernel_seconds)
    due = schedule(rate, seconds)
    first = settings.queue_name
    with (
        running_service(
            worker_threads=threads,
            worker_queues=first,
            max_queue_size=max(len(due), flood) + ROOM,
            max_queue_seconds=0,
            worker_metrics_port=0,
        ) as service,
        worker_of(service, settings.transform_queue),
        service.client() as client,
    ):
        load = OpenLoop(service.stack.url, photos)
        load.run(schedule(rate, 3))
        client.wait_until_idle()
        alone = latencies(client, load, due, "alone")
        flooded(service, small, pipeline, flood)
        before = waiting(client, settings.transform_queue)
        beside = latencies(client, load, due, "beside the flood", first)
        after = waiting(client, settings.transform_queue)
    if not after:
        raise BlurlineError("the flood was over before the pictures were: use a larger --flood")
    publish(
        "fairness",
        {
            "images_per_second": round(rate, 2),
            "flood_waiting_at_start": before,
            "flood_waiting_at_end": after,
            "until_result_ms_alone": percentiles(alone),
            "until_result_ms_beside": percentiles(beside),
            "ratio_of_p95": round(_p95(beside) / _p95(alone), 3),
            RECIPE: {"cores": usable_cores(), "pipeline": pipeline, "share": share},
        },
    )


@contextmanager
def worker_of(service: Service, queue: str) -> Iterator[None]:
    """A worker process of that queue alone, which gives way to all others."""
    own = {"WORKER_QUEUES": f"{queue}:1", "WORKER_NICE": "19", "INFERENCE_THREADS": "1"}
    place = {
        "REDIS_URL": service.stack.redis_url,
        "DATA_DIR": str(service.settings.data_dir.resolve()),
    }
    presence = Presence(connect(service.stack.redis_url), service.settings.queue_name)
    there = len(presence.alive())
    process = subprocess.Popen(
        [sys.executable, "-m", "blurline.entry.worker"],
        env={**os.environ, **service.environment, **place, **own},
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while len(presence.alive()) <= there:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BlurlineError("the worker of the other queue did not start")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def flooded(service: Service, photo: bytes, pipeline: str, count: int) -> None:
    """Have so many jobs of the pipeline wait.

    Raises:
        BlurlineError: one was refused.
    """
    with httpx.Client(base_url=service.stack.url) as client, progress("flood", count) as sent:
        for number in range(count):
            answer = client.post(
                "/upload",
                files={"file": ("small.jpg", photo)},
                data={"pipeline": pipeline},
                headers={"Idempotency-Key": f"flood-{number}"},
            )
            if answer.status_code != httpx.codes.ACCEPTED:
                raise BlurlineError(f"the flood was refused: {answer.text}")
            sent(number + 1)


def latencies(
    client: Client, load: OpenLoop, due: Sequence[float], what: str, queue: str | None = None
) -> list[float]:
    """Milliseconds from when each picture was due until its result; of one queue's work alone."""
    with progress(what, len(due)) as started:
        answers = load.run(due, started)
    while _left(client, queue):
        time.sleep(0.25)
    ends = client.ends(answer.job_id for answer in answers if answer.accepted)
    if len(ends) < len(due):
        raise BlurlineError(f"{len(due) - len(ends)} pictures were refused")
    return [1000 * (ends[answer.job_id] - answer.due_at) for answer in answers]


def waiting(client: Client, queue: str) -> int:
    """Jobs that wait in that queue."""
    return int(client.get("/queue-status")["queues"][queue]["depth"])


def _left(client: Client, queue: str | None) -> int:
    if queue is None:
        return client.under_way()
    told: dict[str, Any] = client.get("/queue-status")["queues"][queue]
    return int(told["depth"] + told["processing"] + told["retrying"])


def _p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
