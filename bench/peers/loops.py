"""Command lines that work through a folder of pictures."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.peers.speed import LEAST, Lap, Run, steady
from blurline.errors import BlurlineError
from blurline.machine import usable_cores

WARM_UP = 2
"""Pictures of each process that do not count: a network's first runs cost more than later ones."""

NEXT_PICTURE = "Input:"
"""How a line begins that is printed before each picture."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A command that is given a folder, in one process on all cores or in one on each.

    Attributes:
        command: the program and what stands before the folder.
        processes: 1, or as many as there are cores; then each keeps to a core of its own.
    """

    command: tuple[str, ...]
    photos: Sequence[bytes]
    processes: int

    @property
    def trial(self) -> int:
        """See `Runner.trial`; each run starts anew and warms up by itself."""
        return LEAST

    def run(self, images: int) -> Run:
        """See `Runner.run`. Each process gets its share of the images, and some to warm up."""
        share = -(-images // self.processes) + WARM_UP + 1
        with ExitStack() as cleanup:
            started = [
                cleanup.enter_context(self._started(number, share))
                for number in range(self.processes)
            ]
            for work in started:
                work.wait()
        return steady([work.laps for work in started], WARM_UP)

    @contextmanager
    def _started(self, number: int, images: int) -> Iterator["_Work"]:
        with tempfile.TemporaryDirectory(prefix="blurline-peers-") as scratch:
            folder = Path(scratch, "pictures")
            folder.mkdir()
            for index in range(images):
                photo = self.photos[index % len(self.photos)]
                (folder / f"{index:05}.jpg").write_bytes(photo)
            threads = max(1, usable_cores() // self.processes)
            environment = {
                **os.environ,
                # Ultralytics asks for one thread unless somebody has said.
                "OMP_NUM_THREADS": str(threads),
                "PYTHONUNBUFFERED": "1",
            }
            with Path(scratch, "errors").open("w+", encoding="utf-8") as errors:
                process = subprocess.Popen(
                    [*self.command, str(folder)],
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                )
                try:
                    if self.processes > 1:
                        cores = sorted(os.sched_getaffinity(0))
                        psutil.Process(process.pid).cpu_affinity([cores[number % len(cores)]])
                    yield _Work(process, Path(errors.name))
                finally:
                    process.kill()
                    process.wait()


class _Work:
    """A process, and a thread that notes when it turns to each of its pictures."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.laps: list[Lap] = []
        self._process = process
        self._errors = errors
        self._watch = threading.Thread(target=self._listen)
        self._watch.start()

    def wait(self) -> None:
        """Return when the process has done all its pictures.

        Raises:
            BlurlineError: it failed.
        """
        self._watch.join()
        if self._process.wait() != 0:
            said = self._errors.read_text("utf-8").strip().splitlines() or ["no reason given"]
            raise BlurlineError(f"{Path(self._process.args[0]).name} failed: {said[-1]}")  # type: ignore[index, arg-type]

    def _listen(self) -> None:
        process = psutil.Process(self._process.pid)
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with self._process.stdout as lines:
            for line in lines:
                if line.startswith(NEXT_PICTURE):
                    times = process.cpu_times()
                    self.laps.append(Lap(time.perf_counter(), times.user + times.system))
