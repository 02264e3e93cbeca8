"""`python -m bench growth`: what a second thread, process or machine of workers adds."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
import typer
from rq.suspension import resume, suspend

from bench.bare import kernel_of
from bench.client import form
from bench.figures import rounded, steady_rate
from bench.meter import Meter
from bench.photos import SIZE_HELP, make_photos, one_size
from bench.report import RECIPE, progress, publish
from bench.service import GENERATOR, Service, StoreKind, running_service
from blurline.errors import BlurlineError
from blurline.machine import usable_cores
from blurline.queue.connection import connect
from blurline.queue.presence import Presence
from blurline.settings import load_settings
from blurline.stack.supervisor import Program

SUSPENSION_SECONDS = 1.5
"""A suspended worker looks once a second whether it may go on."""

START_SECONDS = 60
WARM_UP = 4
"""Images for each job that can run, before anything counts: a process compiles its networks for a
size of pictures when it meets the first one."""

ONE: dict[str, Any] = {"worker_threads": 1, "inference_threads": 1}
SETUPS: dict[str, dict[str, Any]] = {
    "1 thread": ONE,
    "2 threads": {"worker_threads": 2, "inference_threads": 2},
    "2 processes": {**ONE, "num_workers": 2},
}
KERNEL = {"kernel, 1 thread": 1, "kernel, 2 threads": 2}
PAIRS = {
    "2 threads": "1 thread",
    "2 processes": "1 thread",
    "2 machines": "1 machine",
    "kernel, 2 threads": "kernel, 1 thread",
}
"""What is compared with what."""


@dataclass(slots=True)
class Rates:
    """Images a second and busy cores of each set-up, round by round."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    cores: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, drained: "Drained") -> None:
        """Take one drained queue into account."""
        self.rates.setdefault(name, []).append(round(drained.rate, 2))
        self.cores[name] = drained.busy_cores

    def growth(self, base: str, name: str) -> float:
        """The median of the rounds' ratios."""
        pairs = zip(self.rates[name], self.rates[base], strict=True)
        return median(more / less for more, less in pairs)


@dataclass(frozen=True, slots=True)
class Drained:
    """A queue that was filled and then worked off: images a second, and cores that were busy."""

    rate: float
    busy_cores: dict[str, float]


def growth(
    images: Annotated[int, typer.Option(min=16, help="Images in the queue each time.")] = 200,
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    rounds: Annotated[int, typer.Option(min=1, help="Times that everything is measured.")] = 2,
    machines: Annotated[bool, typer.Option(help="Also two machines at one Redis and S3.")] = True,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 4,
) -> None:
    """How throughput grows from one worker to two: threads, processes, machines.

    The queue is filled while the workers are suspended, and then drained, so that neither the API
    nor the load generator takes CPU from them. The second machine is a process group of its own
    with its own data folder, at the same Redis and S3 server. The bare work from one thread to two
    is the yardstick: caches, memory and clock of the machine set it. `busy cores` shows who else
    needed the CPU meanwhile.
    """
    settings, chosen = load_settings(), one_size(size)
    kernel, photos = kernel_of(settings), make_photos(chosen, settings)
    found, each = Rates(), len(SETUPS) + 2 * machines
    with progress("queues", rounds * each) as done:
        for number in range(rounds):
            for name, threads in KERNEL.items():
                limit = kernel.images_per_second(photos, threads, kernel_seconds)
                found.add(name, Drained(limit, {}))
            drains = _drains(photos, images, machines=machines)
            for count, (name, drained) in enumerate(drains, number * each + 1):
                found.add(name, drained)
                done(count)
    publish(
        "growth",
        {
            "factor": {
                more: round(found.growth(less, more), 3)
                for more, less in PAIRS.items()
                if more in found.rates
            },
            "images_per_second": {
                name: round(median(rates), 2) for name, rates in found.rates.items()
            },
            "busy_cores": {name: rounded(cores) for name, cores in found.cores.items() if cores},
            RECIPE: {
                "images": images,
                "size": [chosen.width, chosen.height],
                "rounds": rounds,
                "cores": usable_cores(),
                "runs": found.rates,
            },
        },
    )


def _drains(
    photos: Sequence[bytes], images: int, *, machines: bool
) -> Iterator[tuple[str, Drained]]:
    """Every set-up once, one after the other."""
    for name, overrides in SETUPS.items():
        with running_service(**overrides) as service:
            slots = overrides["worker_threads"] * overrides.get("num_workers", 1)
            yield name, drain(service, service.meter, photos, images, slots)
    if not machines:
        return
    with running_service(StoreKind.S3, **ONE) as service:
        yield "1 machine", drain(service, service.meter, photos, images, 1)
        with second_machine(service) as meter:
            yield "2 machines", drain(service, meter, photos, images, 2)


def drain(
    service: Service, meter: Meter, photos: Sequence[bytes], images: int, slots: int
) -> Drained:
    """Fill the queue while no worker takes from it, then let them, and see how fast they are.

    Args:
        slots: jobs that run at a time.

    Raises:
        BlurlineError: a job was lost or failed, or there were too few of them to tell.
    """
    bodies = cycle(form([photo], batch=False) for photo in photos)
    with service.client() as client, closing(connect(service.stack.redis_url)) as redis:

        def upload(count: int) -> list[str]:
            chosen = islice(bodies, count)
            return [job_id for body in chosen for job_id in client.upload(body, batch=False)]

        upload(WARM_UP * slots)
        client.wait_until_idle()
        suspend(redis)
        job_ids = upload(images)
        resume(redis)
        # By then all of them are at work.
        start, before = time.time() + SUSPENSION_SECONDS, meter.spent()
        client.wait_until_idle()
        seconds = time.time() - (start - SUSPENSION_SECONDS)
        busy = {name: used.cpu / seconds for name, used in meter.since(before).items()}
        ends = client.ends(job_ids)
    rate = steady_rate(ends.values(), start, slots)
    if not rate:
        raise BlurlineError(f"{images} images are done too soon to measure a rate: send more")
    return Drained(rate, {name: cores for name, cores in busy.items() if name != GENERATOR})


@contextmanager
def second_machine(service: Service) -> Iterator[Meter]:
    """Another worker at the service's Redis and S3, in a process group and folder of its own."""
    redis = connect(service.stack.redis_url)
    presence = Presence(redis, load_settings().queue_name)
    with TemporaryDirectory(prefix="blurline-bench-") as folder:
        environment = {
            **service.environment,
            "REDIS_URL": service.stack.redis_url,
            "DATA_DIR": str(Path(folder) / "data"),
        }
        command = [sys.executable, "-m", "blurline.entry.worker"]
        child = service.stack.supervisor.start(Program("second machine", command, environment))
        try:
            deadline = time.monotonic() + START_SECONDS
            while len(presence.alive()) < 2:
                if time.monotonic() > deadline:
                    raise BlurlineError("the second machine's worker did not start")
                time.sleep(0.1)
            process = psutil.Process(child.pid)
            yield Meter({**service.meter.processes, "second machine": process})
        finally:
            child.stop()
            redis.close()
