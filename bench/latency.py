"""`python -m bench latency`: how long callers wait while images arrive at a fixed rate."""

from typing import Annotated

import typer

from bench.arrivals import Plan, arrive
from bench.photos import SIZE_HELP, one_size
from bench.report import publish
from bench.service import StoreKind
from blurline.machine import usable_cores


def latency(
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    rate: Annotated[
        float, typer.Option(min=0, help="Images a second; 0: --share of the kernel limit.")
    ] = 0,
    share: Annotated[
        float, typer.Option(min=0.01, help="Rate as a share of the kernel limit, without --rate.")
    ] = 0.6,
    seconds: Annotated[float, typer.Option(min=1, help="How long images are sent.")] = 30,
    store: Annotated[StoreKind, typer.Option(help="Where pictures are kept.")] = StoreKind.FOLDER,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of worker and kernel limit; 0: two a core.")
    ] = 0,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 4,
) -> None:
    """Latency in an open loop: images arrive by the clock, whatever the service answers.

    Two latencies: until the upload is answered, and until the result can be fetched. Both are
    counted from the moment at which an upload was due, so that none which had to wait is
    forgotten. `late` is by how much the load generator was behind its own schedule; where that is
    more than a few milliseconds, the machine has no CPU left for it.
    """
    plan = Plan(one_size(size), seconds, store, threads or 2 * usable_cores(), kernel_seconds)
    arrivals = arrive(plan, lambda limit: rate or share * limit)
    publish(
        "latency",
        {
            "images_per_second": round(arrivals.rate, 2),
            "share_of_kernel_limit": round(arrivals.rate / arrivals.kernel_limit, 3),
            **arrivals.figures(),
            **arrivals.recipe(plan),
        },
    )
