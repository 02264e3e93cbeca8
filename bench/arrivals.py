"""Images that arrive by the clock at a service of their own, until the last of them is done."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import mean
from typing import Any

from bench.bare import kernel_of
from bench.figures import percentiles, rounded
from bench.meter import Spent
from bench.openloop import Answer, OpenLoop, schedule
from bench.photos import Size, make_photos
from bench.report import RECIPE, console, progress
from bench.service import GENERATOR, StoreKind, running_service
from blurline.machine import usable_cores
from blurline.settings import load_settings

WARM_UP_SECONDS = 3
WARM_UP_SHARE = 0.5
"""Rate of the warm-up as a share of the kernel limit."""

ROOM = 100
"""Places in the queue beyond the images that are sent."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What arrives where. `threads` are those of the worker and of the kernel limit."""

    size: Size
    seconds: float
    store: StoreKind
    threads: int
    kernel_seconds: float


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What became of the images.

    Attributes:
        rate: images a second that were due.
        answers: one for each image.
        ends: when each accepted one was done, in seconds since the epoch, by its job.
        sent_by: when the last upload was answered, in the same seconds.
        waiting: jobs that were not done by then.
        spent: what the processes used until all was done.
        peak_mb: their largest resident sets.
        limits: kernel limit before and after, in images a second.
    """

    rate: float
    answers: Sequence[Answer]
    ends: dict[str, float]
    sent_by: float
    waiting: int
    spent: dict[str, Spent]
    peak_mb: dict[str, float]
    limits: Sequence[float]

    @property
    def kernel_limit(self) -> float:
        """Images a second of the bare work."""
        return mean(self.limits)

    def figures(self) -> dict[str, Any]:
        """Counts and latencies of the uploads, and what they cost."""
        images = max(1, len(self.ends))
        return {
            "kernel_limit_images_per_second": round(self.kernel_limit, 2),
            **of_answers(self.answers),
            "completed": len(self.ends),
            "until_result_ms": percentiles(
                1000 * (self.ends[answer.job_id] - answer.due_at)
                for answer in self.answers
                if answer.accepted
            ),
            "cpu_ms_per_image": rounded(
                {name: 1000 * used.cpu / images for name, used in self.spent.items()}
            ),
            "peak_memory_mb": {
                name: peak for name, peak in self.peak_mb.items() if name != GENERATOR
            },
        }

    def recipe(self, plan: Plan) -> dict[str, Any]:
        """How it was measured."""
        return {
            RECIPE: {
                "size": [plan.size.width, plan.size.height],
                "rate": self.rate,
                "seconds": plan.seconds,
                "store": plan.store.value,
                "threads": plan.threads,
                "cores": usable_cores(),
                "kernel_runs": [round(value, 2) for value in self.limits],
            }
        }


def arrive(plan: Plan, rate_of: Callable[[float], float]) -> Arrivals:
    """Send the images, wait until they are done, and ask for each of them.

    The queue has room for all of them.

    Args:
        rate_of: from the kernel limit to the images a second that are sent.

    Raises:
        BlurlineError: an accepted image was lost or failed.
    """
    settings = load_settings()
    kernel, photos = kernel_of(settings), make_photos(plan.size, settings)

    def limit() -> float:
        with console.status("kernel limit"):
            return kernel.images_per_second(photos, plan.threads, plan.kernel_seconds)

    limits = [limit()]
    rate = rate_of(limits[0])
    due = schedule(rate, plan.seconds)
    with ExitStack() as stack:
        service = stack.enter_context(
            running_service(
                plan.store,
                worker_threads=plan.threads,
                max_queue_size=len(due) + ROOM,
                max_queue_seconds=0,
            )
        )
        client = stack.enter_context(service.client())
        load = OpenLoop(service.stack.url, photos)
        load.run(schedule(min(rate, WARM_UP_SHARE * limits[0]), WARM_UP_SECONDS))
        client.wait_until_idle()
        before = service.meter.spent()
        with progress(f"{rate:.1f} images/s", len(due)) as started:
            answers = load.run(due, started)
        sent_by, waiting = time.time(), client.under_way()
        accepted = [answer.job_id for answer in answers if answer.accepted]
        with progress("done", len(accepted)) as done:
            client.wait_until_idle(lambda left: done(len(accepted) - left))
            done(len(accepted))
        spent, peaks = service.meter.since(before), service.meter.peak_mb()
        with console.status("every image is asked for"):
            ends = client.ends(accepted)
        limits.append(limit())
    return Arrivals(rate, answers, ends, sent_by, waiting, spent, peaks, limits)


def of_answers(answers: Sequence[Answer]) -> dict[str, Any]:
    """Counts and latencies of uploads, and how well their schedule was kept.

    What was not taken is counted by status, or by error where there was no answer.
    """
    refused: dict[str, int] = {}
    for answer in answers:
        if not answer.accepted:
            why = answer.error or str(answer.status)
            refused[why] = refused.get(why, 0) + 1
    return {
        "sent": len(answers),
        "accepted": sum(answer.accepted for answer in answers),
        "refused": refused,
        "until_answer_ms": percentiles(answer.latency_ms for answer in answers),
        "late_ms": percentiles(answer.late_ms for answer in answers),
    }
