"""`python -m bench throughput`: images a second of the whole service beside the kernel limit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, median
from typing import Annotated, Any

import typer

from bench.bare import allocations, cpu_ms_by_step, kernel_of
from bench.figures import percentiles, ratios, rounded, split
from bench.handling import Handling, handling
from bench.kernel import Kernel
from bench.load import Load, Sent
from bench.meter import Spent
from bench.photos import SIZE_HELP, Size, make_photos, sizes
from bench.report import RECIPE, console, progress, publish
from bench.service import GENERATOR, Service, StoreKind, running_service
from blurline.machine import usable_cores
from blurline.settings import load_settings

WARM_UP = 24
STEP_IMAGES = 16
"""Pictures whose steps are timed, beside each run of the kernel limit."""

TRACED = 4
"""Pictures whose allocations are traced, which makes Python several times slower."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what is sent."""

    images: int
    in_flight: int
    batch: int
    rounds: int
    kernel_seconds: float
    threads: int


@dataclass(slots=True)
class Measured:
    """Rounds of the service, each between two runs of the bare work."""

    kernel_runs: list[float] = field(default_factory=list)
    step_runs: list[dict[str, float]] = field(default_factory=list)
    service_runs: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    spent: dict[str, Spent] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """Images of all rounds."""
        return len(self.latencies_ms)

    def add(self, sent: Sequence[Sent], ends: dict[str, float], spent: dict[str, Spent]) -> None:
        """Take a round into account: what was sent, when it was done, what it used."""
        seconds = max(ends.values()) - min(one.started_at for one in sent)
        self.service_runs.append(len(sent) / seconds)
        self.seconds += seconds
        self.latencies_ms += [1000 * (ends[one.job_id] - one.started_at) for one in sent]
        for name, used in spent.items():
            self.spent[name] = self.spent.get(name, Spent()) + used

    @property
    def steps_ms(self) -> dict[str, float]:
        """CPU milliseconds an image of each step of the bare work."""
        return {name: mean(run[name] for run in self.step_runs) for name in self.step_runs[0]}

    def cpu_ms(self, name: str) -> float:
        """CPU milliseconds an image of a process."""
        return 1000 * self.spent[name].cpu / self.images


def throughput(
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    images: Annotated[
        int, typer.Option(min=1, help="Images at 720p; of larger ones as many as have the pixels.")
    ] = 800,
    batch: Annotated[
        int, typer.Option(min=0, help="Files of one batch upload; 0: each file by itself.")
    ] = 0,
    store: Annotated[StoreKind, typer.Option(help="Where pictures are kept.")] = StoreKind.FOLDER,
    in_flight: Annotated[int, typer.Option(min=1, help="Images under way at a time.")] = 24,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of worker and kernel limit; 0: two a core.")
    ] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Parts that the images are sent in.")] = 3,
    kernel_seconds: Annotated[float, typer.Option(help="Seconds for each kernel run.")] = 4,
) -> None:
    """Images a second in a closed loop, and where the CPU goes. This is what runs by default.

    The kernel limit is the same decode, networks, blur and encode in threads, without a service.
    Machines differ and drift, so the service runs in rounds with a kernel run before and after
    each, and the median of the rounds' ratios is what to compare. The load generator runs on the
    same machine; its CPU is reported by itself.
    """
    results = {}
    for one in sizes(size):
        plan = Plan(
            images=one.share_of(images),
            in_flight=max(in_flight, 2 * batch),
            batch=batch,
            rounds=rounds,
            kernel_seconds=kernel_seconds,
            threads=threads or 2 * usable_cores(),
        )
        name = f"{one.name}, {f'batches of {batch}' if batch else 'single'}, {store.value}"
        results[name] = _of_size(one, plan, store)
    publish("throughput", results)


def _of_size(size: Size, plan: Plan, store: StoreKind) -> dict[str, Any]:
    settings = load_settings()
    kernel, photos = kernel_of(settings), make_photos(size, settings)
    kilobytes = sum(map(len, photos)) // len(photos) // 1000
    console.print(f"{size.name}: {len(photos)} photos, {kilobytes} kB each")
    with console.status("the memory of the bare work"):
        kernel.images_per_second(photos, plan.threads, 2)
        memory = allocations(kernel, photos[:TRACED])
    with running_service(store, worker_threads=plan.threads) as service:
        with console.status("what the service does around it, part by part"):
            parts = handling(service.settings, service.stack.redis_url, kernel, photos, plan.batch)
        measured = _measure(service, kernel, photos, plan)
        peaks = service.meter.peak_mb()
    cpu = {name: measured.cpu_ms(name) for name in measured.spent}
    return {
        "images_per_second": round(measured.images / measured.seconds, 2),
        "kernel_limit_images_per_second": round(mean(measured.kernel_runs), 2),
        "ratio": round(median(ratios(measured.service_runs, measured.kernel_runs)), 3),
        "latency_ms": percentiles(measured.latencies_ms),
        "cpu_ms_per_image": rounded(cpu)
        | {
            "api_parts": rounded(_api_parts(cpu["api"], parts)),
            "worker_parts": rounded(
                _worker_parts(cpu["worker"], parts, measured, service.settings.second_look)
            ),
        },
        "page_faults_per_image": {
            name: round(used.faults / measured.images, 1) for name, used in measured.spent.items()
        },
        "allocations_per_image": memory,
        "peak_memory_mb": {name: peak for name, peak in peaks.items() if name != GENERATOR},
        RECIPE: {
            **asdict(plan),
            "images": measured.images,
            "size": [size.width, size.height],
            "kilobytes": kilobytes,
            "store": store.value,
            "cores": usable_cores(),
            "kernel_runs": [round(value, 2) for value in measured.kernel_runs],
            "service_runs": [round(value, 2) for value in measured.service_runs],
            "targets": list(kernel.options.targets),
            "pipeline": kernel.pipeline.name,
        },
    }


def _measure(service: Service, kernel: Kernel, photos: list[bytes], plan: Plan) -> Measured:
    """Run service and bare work in turns, after a warm-up that does not count.

    Raises:
        BlurlineError: an image was lost or failed, so no figure would mean anything.
    """
    load = Load(service.stack.url, photos, plan.in_flight, plan.batch)
    measured, each = Measured(), -(-plan.images // plan.rounds)
    load.run(min(WARM_UP, plan.images))

    def limit() -> None:
        measured.kernel_runs.append(
            kernel.images_per_second(photos, plan.threads, plan.kernel_seconds)
        )
        measured.step_runs.append(cpu_ms_by_step(kernel, photos, STEP_IMAGES))

    with progress("images", each * plan.rounds) as done:
        limit()
        for number in range(plan.rounds):
            before, offset = service.meter.spent(), number * each
            sent = load.run(each, done=lambda count, offset=offset: done(offset + count))  # type: ignore[misc]
            spent = service.meter.since(before)
            with service.client() as client:
                ends = client.ends(one.job_id for one in sent)
            measured.add(sent, ends, spent)
            done(offset + each)
            limit()
    return measured


def _api_parts(total: float, parts: Handling) -> dict[str, float]:
    """Where the API's CPU goes; HTTP is what is left: connections, forms, checks, answers."""
    known = {"header": parts.header, "store": parts.keep, "queue": parts.submit}
    return split(total, known, "http")


def _worker_parts(
    total: float, parts: Handling, measured: Measured, second_looks: float
) -> dict[str, float]:
    """Where a worker's CPU goes.

    What is left is Python's overhead, and what the same work costs more or less when several
    threads do it at a time than when one does.
    """
    known = {
        "queue": parts.take,
        "store": parts.store,
        **measured.steps_ms,
        "certificate and record": parts.wrap,
        "second look": second_looks * parts.look,
    }
    return split(total, known, "python overhead")
