"""`python -m bench latency`: how long callers wait while images arrive at a fixed rate."""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import mean
from typing import Annotated, Any

import typer

from bench.bare import kernel_of
from bench.figures import percentiles, rounded
from bench.meter import Spent
from bench.openloop import Answer, OpenLoop, schedule
from bench.photos import SIZE_HELP, make_photos, one_size
from bench.report import RECIPE, console, progress, publish
from bench.service import StoreKind, running_service
from blurline.errors import BlurlineError
from blurline.queue.crew import usable_cores
from blurline.settings import load_settings

WARM_UP_SECONDS = 3


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
    settings, chosen = load_settings(), one_size(size)
    kernel, photos = kernel_of(settings), make_photos(chosen, settings)
    pool = threads or 2 * usable_cores()

    def limit() -> float:
        with console.status("kernel limit"):
            return kernel.images_per_second(photos, pool, kernel_seconds)

    with ExitStack() as stack:
        service = stack.enter_context(running_service(store, worker_threads=pool))
        limits = [limit()]
        per_second = rate or share * limits[0]
        load, client = OpenLoop(service.stack.url, photos), stack.enter_context(service.client())
        load.run(schedule(per_second, WARM_UP_SECONDS))
        client.wait_until_idle()
        due = schedule(per_second, seconds)
        before = service.meter.spent()
        with progress(f"{per_second:.1f} images/s", len(due)) as started:
            answers = load.run(due, started)
        accepted = [answer for answer in answers if answer.accepted]
        if not accepted:
            raise BlurlineError(f"no upload was taken: {refusals(answers)}")
        with console.status("what is left is done"):
            client.wait_until_idle()
            ends = client.ends(answer.job_id for answer in accepted)
        spent = service.meter.since(before)
        limits.append(limit())
    publish(
        "latency",
        {
            "images_per_second": round(per_second, 2),
            "share_of_kernel_limit": round(per_second / mean(limits), 3),
            "kernel_limit_images_per_second": round(mean(limits), 2),
            **of_answers(answers),
            "until_result_ms": percentiles(
                1000 * (ends[answer.job_id] - answer.due_at) for answer in accepted
            ),
            "cpu_ms_per_image": cpu_ms(spent, len(accepted)),
            RECIPE: {
                "size": [chosen.width, chosen.height],
                "seconds": seconds,
                "store": store.value,
                "threads": pool,
                "cores": usable_cores(),
                "kernel_runs": [round(value, 2) for value in limits],
            },
        },
    )


def of_answers(answers: Sequence[Answer]) -> dict[str, Any]:
    """Counts and latencies of uploads, and how well their schedule was kept."""
    return {
        "sent": len(answers),
        "accepted": sum(answer.accepted for answer in answers),
        "refused": refusals(answers),
        "until_answer_ms": percentiles(answer.latency_ms for answer in answers),
        "late_ms": percentiles(answer.late_ms for answer in answers),
    }


def refusals(answers: Sequence[Answer]) -> dict[str, int]:
    """How many uploads were not taken, by status, or by error where there was no answer."""
    found: dict[str, int] = {}
    for answer in answers:
        if not answer.accepted:
            why = answer.error or str(answer.status)
            found[why] = found.get(why, 0) + 1
    return found


def cpu_ms(spent: dict[str, Spent], images: int) -> dict[str, float]:
    """CPU milliseconds an image of each process."""
    return rounded({name: 1000 * used.cpu / images for name, used in spent.items()})
