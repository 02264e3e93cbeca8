"""How fast somebody is: runs in turns, so that a machine that drifts drifts for all alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from blurline.errors import BlurlineError

Way = tuple[str, str]
"""A contender's name, and how it is run."""

LEAST = 8
"""Images of a run, however slow the contender is."""

DOUBLINGS = 4
"""How often a run that is too short to tell a speed is made again, each time with twice as many."""


class TooShortError(BlurlineError):
    """The processes of a run were hardly at work at the same time."""

    code = "too_short"


@dataclass(frozen=True, slots=True)
class Run:
    """Throughput of one run, and CPU milliseconds that all its threads took an image."""

    images_per_second: float
    cpu_ms: float


class Runner(Protocol):
    """Something that treats the benchmark's photos."""

    @property
    def trial(self) -> int:
        """Images that warm it up and tell its speed roughly."""

    def run(self, images: int) -> Run:
        """Treat so many.

        Raises:
            TooShortError: so many images tell no speed.
            BlurlineError: an image was lost or failed, so no figure would mean anything.
        """


@dataclass(frozen=True, slots=True)
class Speed:
    """The runs of one contender, and their medians.

    Attributes:
        against_first: median of the rounds' ratios to the first contender of the same round.
    """

    images_per_second: float
    cpu_ms: float
    against_first: float
    runs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lap:
    """A process before one of its pictures: seconds of some clock, CPU seconds so far."""

    at: float
    cpu: float


def steady(processes: Sequence[Sequence[Lap]], warm_up: int) -> Run:
    """The speed of all processes together while all of them were at work.

    Starting up and the first `warm_up` pictures of each do not count, nor what one did after
    another was done.

    Raises:
        TooShortError: they were hardly at work at the same time.
    """
    if any(len(laps) <= warm_up + 1 for laps in processes):
        raise TooShortError("too few pictures to tell a speed")
    start = max(laps[warm_up].at for laps in processes)
    end = min(laps[-1].at for laps in processes)
    rate, cpu, pictures = 0.0, 0.0, 0
    for laps in processes:
        inside = [lap for lap in laps if start <= lap.at <= end]
        if len(inside) < 2:
            raise TooShortError("too few pictures to tell a speed")
        first, last = inside[0], inside[-1]
        rate += (len(inside) - 1) / (last.at - first.at)
        cpu += last.cpu - first.cpu
        pictures += len(inside) - 1
    return Run(rate, 1000 * cpu / pictures)


def measure(runners: Mapping[Way, Runner], *, rounds: int, seconds: float) -> dict[Way, Speed]:
    """The speed of each way, after a trial that does not count.

    Each then gets as many images as it treats in about `seconds`, in each round.
    """
    images = {
        way: max(LEAST, round(seconds * _run(runner, runner.trial).images_per_second))
        for way, runner in runners.items()
    }
    runs: dict[Way, list[Run]] = {way: [] for way in runners}
    for _ in range(rounds):
        for way, runner in runners.items():
            runs[way].append(_run(runner, images[way]))
    first = [run.images_per_second for run in runs[next(iter(runs))]]
    return {way: _speed(found, first) for way, found in runs.items()}


def _run(runner: Runner, images: int) -> Run:
    """A run of so many images, or of more where they tell no speed."""
    for doubling in range(DOUBLINGS):
        try:
            return runner.run(images << doubling)
        except TooShortError:
            continue
    return runner.run(images << DOUBLINGS)


def best(speeds: Mapping[str, Speed]) -> str:
    """The name of the fastest."""
    return max(speeds, key=lambda name: speeds[name].images_per_second)


def _speed(runs: Sequence[Run], first: Sequence[float]) -> Speed:
    rates = [run.images_per_second for run in runs]
    ratios = [rate / other for rate, other in zip(rates, first, strict=True)]
    return Speed(
        images_per_second=round(median(rates), 2),
        cpu_ms=round(median(run.cpu_ms for run in runs), 1),
        against_first=round(median(ratios), 3),
        runs=tuple(round(rate, 2) for rate in rates),
    )
