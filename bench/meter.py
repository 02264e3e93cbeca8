"""What processes use: CPU, memory, and pages that the kernel had to hand them."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

MEGABYTE = 1024 * 1024
FAULTS_FIELD = 9
"""Place of `minflt` in proc_pid_stat(5), counted from 0."""


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of a process, and its page faults that needed no disk.

    Such a fault is what memory costs that is given back and asked for again.
    """

    cpu: float = 0.0
    faults: int = 0

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.cpu - other.cpu, self.faults - other.faults)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.cpu + other.cpu, self.faults + other.faults)


@dataclass(frozen=True, slots=True)
class Meter:
    """Processes by name, all of this machine and of this user."""

    processes: Mapping[str, psutil.Process]

    def dead(self) -> list[str]:
        """Names of those that have ended."""
        return [
            name
            for name, process in self.processes.items()
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        ]

    def spent(self) -> dict[str, Spent]:
        """What each has used since its start."""
        return {name: _spent(process) for name, process in self.processes.items()}

    def since(self, before: Mapping[str, Spent]) -> dict[str, Spent]:
        """What each has used since `before` was taken by `spent`."""
        return {name: now - before[name] for name, now in self.spent().items()}

    def resident_mb(self) -> dict[str, float]:
        """The resident set of each, in megabytes."""
        return {
            name: round(process.memory_info().rss / MEGABYTE, 2)
            for name, process in self.processes.items()
        }

    def peak_mb(self) -> dict[str, float]:
        """The largest resident set of each so far, by `VmHWM` of proc_pid_status(5)."""
        return {name: _peak_mb(process.pid) for name, process in self.processes.items()}


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident sets in megabytes, and what was done by then."""

    done: float
    resident_mb: Mapping[str, float]


def series(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """What was done and the resident set of one process, sample by sample."""
    return [(sample.done, sample.resident_mb[name]) for sample in samples]


@contextmanager
def sampling(meter: Meter, done: Callable[[], float], seconds: float) -> Iterator[list[Sample]]:
    """Sample the resident sets every so many seconds, and once more in the end."""
    samples, over = list[Sample](), threading.Event()

    def sample() -> None:
        samples.append(Sample(done(), meter.resident_mb()))

    def watch() -> None:
        while not over.wait(seconds):
            sample()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
    sample()


def _spent(process: psutil.Process) -> Spent:
    times = process.cpu_times()
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The name, the second field, stands in brackets and may itself hold spaces and brackets.
    rest = stat.rpartition(")")[2].split()
    return Spent(times.user + times.system, int(rest[FAULTS_FIELD - 2]))


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024, 1)
