"""`python -m bench spike`: more images at once than can be done, none of them lost."""

import time
from contextlib import ExitStack
from typing import Annotated

import typer

from bench.bare import kernel_of
from bench.latency import cpu_ms, of_answers
from bench.openloop import OpenLoop, schedule
from bench.photos import SIZE_HELP, make_photos, one_size
from bench.report import RECIPE, console, progress, publish
from bench.service import GENERATOR, StoreKind, running_service
from blurline.queue.crew import usable_cores
from blurline.settings import load_settings

ROOM = 100
"""Places in the queue beyond the images that are sent."""


def spike(
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    rate: Annotated[float, typer.Option(min=0.1, help="Images a second.")] = 100,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long they are sent.")] = 30,
    store: Annotated[StoreKind, typer.Option(help="Where pictures are kept.")] = StoreKind.FOLDER,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 4,
) -> None:
    """A spike in an open loop, then the queue is drained; the queue's limit is set to hold it all.

    Shows whether every upload is taken, how long callers wait for that while the workers are busy
    (`until answer`), whether every image is done in the end, and at which rate the queue is
    drained beside the kernel limit. The worker competes with the API for the same cores.
    """
    settings, chosen = load_settings(), one_size(size)
    kernel, photos = kernel_of(settings), make_photos(chosen, settings)
    pool, due = 2 * usable_cores(), schedule(rate, seconds)

    def limit() -> float:
        with console.status("kernel limit"):
            return kernel.images_per_second(photos, pool, kernel_seconds)

    with ExitStack() as stack:
        service = stack.enter_context(
            running_service(store, worker_threads=pool, max_queue_size=len(due) + ROOM)
        )
        limits = [limit()]
        load, client = OpenLoop(service.stack.url, photos), stack.enter_context(service.client())
        load.run(schedule(2, 2))
        client.wait_until_idle()
        before = service.meter.spent()
        with progress(f"{rate:g} images/s", len(due)) as started:
            answers = load.run(due, started)
        accepted = [answer for answer in answers if answer.accepted]
        sent_by, depth = time.time(), client.under_way()
        with progress("drained", len(accepted)) as done:
            client.wait_until_idle(lambda left: done(len(accepted) - left))
            done(len(accepted))
        with console.status("every image is asked for"):
            ends = client.ends(answer.job_id for answer in accepted)
        spent, peaks = service.meter.since(before), service.meter.peak_mb()
        limits.append(limit())
    drained = [end for end in ends.values() if end > sent_by]
    seconds_to_drain = max(ends.values(), default=sent_by) - sent_by
    drain_rate = len(drained) / seconds_to_drain if drained else 0.0
    publish(
        "spike",
        {
            **of_answers(answers),
            "completed": len(ends),
            "waiting_after_the_spike": depth,
            "seconds_to_drain": round(seconds_to_drain, 1),
            "drained_images_per_second": round(drain_rate, 2),
            "kernel_limit_images_per_second": round(sum(limits) / 2, 2),
            "ratio": round(2 * drain_rate / sum(limits), 3),
            "cpu_ms_per_image": cpu_ms(spent, max(1, len(accepted))),
            "peak_memory_mb": {name: peak for name, peak in peaks.items() if name != GENERATOR},
            RECIPE: {
                "size": [chosen.width, chosen.height],
                "rate": rate,
                "seconds": seconds,
                "store": store.value,
                "threads": pool,
                "cores": usable_cores(),
                "kernel_runs": [round(value, 2) for value in limits],
            },
        },
    )
