"""`python -m bench spike`: more images at once than can be done, none of them lost."""

from typing import Annotated

import typer

from bench.arrivals import Plan, arrive
from bench.photos import SIZE_HELP, one_size
from bench.report import publish
from bench.service import StoreKind
from blurline.machine import usable_cores


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
    drained beside the kernel limit (`drain ratio`). Worker, API and load generator compete for the
    same cores.
    """
    plan = Plan(one_size(size), seconds, store, 2 * usable_cores(), kernel_seconds)
    arrivals = arrive(plan, lambda limit: rate)
    drained = [end for end in arrivals.ends.values() if end > arrivals.sent_by]
    drain_seconds = max(drained, default=arrivals.sent_by) - arrivals.sent_by
    drain_rate = len(drained) / drain_seconds if drained else 0.0
    publish(
        "spike",
        {
            "images_per_second": rate,
            **arrivals.figures(),
            "waiting_after_the_spike": arrivals.waiting,
            "drain_seconds": round(drain_seconds, 1),
            "drained_images_per_second": round(drain_rate, 2),
            "drain_ratio": round(drain_rate / arrivals.kernel_limit, 3),
            **arrivals.recipe(plan),
        },
    )
