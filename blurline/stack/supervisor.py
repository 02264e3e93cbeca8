"""Child processes: started in order, started again when they die, stopped in reverse order."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

RESTART_SECONDS = (0.5, 1, 2, 5, 10)
"""Waits before a dead child is started again; the last one repeats."""

STEADY_SECONDS = 30
"""A child that lived this long is started again at once."""

PR_SET_PDEATHSIG = 1
"""Of prctl(2). The library is loaded here, since little may be done between fork and exec."""

LIBC = ctypes.CDLL(None)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """A child's name, command, environment, inherited file descriptors and time to stop in."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    stop_seconds: float = 10


class Child:
    """A program that is kept alive."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process = self._spawn()
        self._deaths = 0
        self._restart_at = 0.0

    @property
    def pid(self) -> int:
        """Process id of the present incarnation."""
        return self._process.pid

    def look_after(self) -> None:
        """Start the program again if it has died, each time after a longer wait."""
        if (status := self._process.poll()) is None:
            return
        now = time.monotonic()
        if not self._restart_at:
            lived = now - self._started
            self._deaths = 0 if lived > STEADY_SECONDS else self._deaths + 1
            wait = (
                RESTART_SECONDS[min(self._deaths, len(RESTART_SECONDS)) - 1] if self._deaths else 0
            )
            self._restart_at = now + wait
            log.warning("%s died (%s); starting it again", self.program.name, _cause(status))
        if now >= self._restart_at:
            self._restart_at = 0.0
            self._process = self._spawn()

    def stop(self) -> None:
        """Ask the program to end and wait; kill it when its time is over."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(self.program.stop_seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop in time and is killed", self.program.name)
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        return subprocess.Popen(
            self.program.command,
            env={**os.environ, **self.program.environment},
            pass_fds=self.program.descriptors,
            stdin=subprocess.DEVNULL,
            # A group of its own: Ctrl+C is for the supervisor, which stops the children in order.
            process_group=0,
            preexec_fn=_die_with_parent,
        )


class Supervisor:
    """Children in the order of their start."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, program: Program) -> Child:
        """Start a program and keep it alive from now on."""
        child = Child(program)
        self._children.append(child)
        return child

    def watch(self, until: Callable[[], bool], interval: float = 0.2) -> None:
        """Keep the children alive until `until()` is true."""
        while not until():
            for child in self._children:
                child.look_after()
            time.sleep(interval)

    def stop(self) -> None:
        """Stop all children, the last one started first."""
        while self._children:
            self._children.pop().stop()


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM when the supervisor dies: its children must not outlive it."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _cause(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"
