"""A run: attempts sent a few at a time, while the service's processes are watched."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import httpx
import psutil

from tests.fuzz.attempt import Attempt
from tests.fuzz.exchange import exchanged, faults
from tests.fuzz.findings import Finding
from tests.fuzz.jobs import Jobs, jobs_of

SUSPECTS = 12
"""Attempts, the last ones, that a finding names which none of them need have caused."""

PROBE_SECONDS = 0.25
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class House:
    """The service that is tried.

    Attributes:
        url: where it answers.
        processes: the process ids by name, now; another id under a name means that one died.
        has_worker: jobs end.
    """

    url: str
    processes: Callable[[], Mapping[str, int]] = dict
    has_worker: bool = True

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = httpx.URL(self.url)
        return url.host, url.port or 80


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is too much.

    Attributes:
        slow_seconds: for an answer.
        stall_seconds: for the answer of `/health`, which is asked all the time.
        job_seconds: for a job, from its upload to its end.
        growth: bytes by which a process may grow, by the beginning of its name.
        senders: connections at a time.
        waiting: jobs that may wait before nothing more is sent.
    """

    slow_seconds: float = 30.0
    stall_seconds: float = 5.0
    job_seconds: float = 240.0
    growth: Mapping[str, int] = field(
        default_factory=lambda: {"api": 600_000_000, "worker": 3_000_000_000, "valkey": 300_000_000}
    )
    senders: int = 4
    waiting: int = 40

    def times(self, patience: float) -> "Bounds":
        """The same, with so many times the seconds."""
        seconds = (self.slow_seconds, self.stall_seconds, self.job_seconds)
        slow, stall, job = (patience * one for one in seconds)
        return replace(self, slow_seconds=slow, stall_seconds=stall, job_seconds=job)


@dataclass
class Figures:
    """What was seen, for whoever looks on."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_answer: float = 0.0
    slowest_health: float = 0.0
    most_memory: dict[str, int] = field(default_factory=dict)


class Run:
    """Sends all attempts, from when it is entered; `is_over` has to be asked until it is so."""

    def __init__(
        self, house: House, attempts: Iterator[Attempt], bounds: Bounds, seed: str, folder: Path
    ) -> None:
        self.figures = Figures()
        self.findings: dict[Path, Finding] = {}
        self._house, self._bounds, self._seed, self._folder = house, bounds, seed, folder
        self._attempts = attempts
        self._lock = threading.Lock()
        self._recent: deque[Attempt] = deque(maxlen=SUSPECTS)
        self._stopped = threading.Event()
        self._pids: Mapping[str, int] = {}
        self._memory: dict[str, int] = {}
        self._cleanup = ExitStack()
        client = httpx.Client(base_url=house.url, timeout=bounds.slow_seconds)
        self._jobs = Jobs(self._cleanup.enter_context(client), bounds.job_seconds)
        self._senders: list[Future[None]] = []
        self._helpers: list[Future[None]] = []

    def __enter__(self) -> Self:
        pool = ThreadPoolExecutor(self._bounds.senders + 2)
        self._cleanup.callback(pool.shutdown)
        self._cleanup.callback(self._stopped.set)
        self._senders = [pool.submit(self._send) for _ in range(self._bounds.senders)]
        self._helpers = [pool.submit(self._probe), pool.submit(self._follow)]
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    def __str__(self) -> str:
        """How it goes, in one line."""
        figures, ends = self.figures, self._jobs.ends
        memory = (f"{name} {size >> 20} MB" for name, size in figures.most_memory.items())
        statuses = (f"{status}: {n}" for status, n in sorted(figures.statuses.items()))
        parts = [
            f"{figures.sent.total()} sent ({', '.join(statuses)})",
            f"{ends.total()} jobs ended, {ends['completed']} completed",
            f"slowest answer {figures.slowest_answer:.1f} s, health {figures.slowest_health:.2f} s",
            *memory,
            f"{len(self.findings)} findings",
        ]
        return "; ".join(parts)

    def is_over(self) -> bool:
        """Whether all was sent and every job has ended; looks at the processes each time.

        Raises:
            Exception: whatever went wrong in a thread of ours.
        """
        self._watch()
        for future in (*self._senders, *self._helpers):
            if future.done():
                future.result()
        return all(sender.done() for sender in self._senders) and not self._jobs.attempts

    def _send(self) -> None:
        while not self._stopped.is_set():
            if len(self._jobs.attempts) > self._bounds.waiting:
                sleep(LOOK_SECONDS)
                continue
            with self._lock:
                attempt = next(self._attempts, None)
                if attempt is None:
                    return
                self._recent.append(attempt)
                self.figures.sent[attempt.target] += 1
            self._try(attempt)

    def _try(self, attempt: Attempt) -> None:
        try:
            exchange = exchanged(self._house.address, attempt)
        except OSError as error:
            self._note("no connection", type(error).__name__, [attempt])
            sleep(1)  # the supervisor needs its time
            return
        with self._lock:
            self.figures.statuses.update(answer.status for answer in exchange.answers)
            self.figures.slowest_answer = max(self.figures.slowest_answer, exchange.seconds)
        for what, said in faults(attempt, exchange, self._bounds.slow_seconds):
            self._note(what, said, [attempt])
        if self._house.has_worker:
            for answer in exchange.answers:
                for job_id in jobs_of(answer):
                    self._jobs.add(job_id, attempt)

    def _probe(self) -> None:
        """Ask after the service's health all the time: it answers while others are served."""
        with httpx.Client(base_url=self._house.url, timeout=self._bounds.slow_seconds) as client:
            while not self._stopped.wait(PROBE_SECONDS):
                started = monotonic()
                try:
                    client.get("/health")
                except httpx.HTTPError as error:
                    self._note("no health", type(error).__name__, self._suspects())
                seconds = monotonic() - started
                self.figures.slowest_health = max(self.figures.slowest_health, seconds)
                if seconds > self._bounds.stall_seconds:
                    said = f"/health took more than {self._bounds.stall_seconds:g} s"
                    self._note("stall", said, self._suspects())

    def _follow(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                for attempt, what, said in self._jobs.look():
                    self._note(what, said, [attempt])
            except httpx.HTTPError as error:
                self._note("no status", type(error).__name__, self._suspects())

    def _watch(self) -> None:
        """Whether every process is still the same, and has not grown beyond its bound."""
        pids = self._house.processes()
        for name, pid in pids.items():
            if self._pids.get(name, pid) != pid:
                made = self._jobs.attempts if name.startswith("worker") else []
                self._note("death", f"{name} died", [*made, *self._suspects()])
                self._memory.pop(name, None)
            try:
                size = psutil.Process(pid).memory_info().rss
            except psutil.NoSuchProcess:
                continue
            most = self.figures.most_memory
            most[name] = max(most.get(name, 0), size)
            bound = next((b for n, b in self._bounds.growth.items() if name.startswith(n)), None)
            if bound is not None and size > self._memory.setdefault(name, size) + bound:
                self._note("memory", f"{name} grew by more than {bound} bytes", self._suspects())
        self._pids = dict(pids)

    def _suspects(self) -> list[Attempt]:
        with self._lock:
            return list(self._recent)

    def _note(self, what: str, said: str, attempts: Sequence[Attempt]) -> None:
        """Keep a finding, unless there is one like it."""
        finding = Finding(what, said, self._seed, tuple(attempts))
        with self._lock:
            if finding.likeness not in {known.likeness for known in self.findings.values()}:
                self.findings[finding.write(self._folder)] = finding
