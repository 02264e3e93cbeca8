"""The command `blurline` as tests run it, in this process or in one of its own, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.parts import PATIENCE, eventually

COMMAND = [sys.executable, "-m", "blurline.cli.main"]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it had said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output, which must be JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def line(self) -> str:
        """The one line that it said."""
        (line,) = (self.out + self.err).splitlines()
        return line


Cli = Callable[..., Ended]
"""Runs the command with these words."""


def check_refused(end: Ended, *said: str) -> None:
    """It ended with one clear line and without having done anything."""
    assert end.code == 2
    assert end.out == ""
    (line,) = end.err.splitlines()
    assert line.startswith("blurline: ")
    assert [words for words in said if words not in line] == []


def run_apart(*words: str, **environment: str) -> Ended:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(log: Path, *words: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A command that runs on, writing into the log; nothing of it is left in the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *words], env={**os.environ, **environment}, stdout=output, stderr=output
        )
    family = [psutil.Process(process.pid)]
    try:
        yield process
    finally:
        for member in family[0].children(recursive=True) if process.poll() is None else []:
            member.kill()
        process.kill()
        process.wait()


def said(log: Path, pattern: str) -> "re.Match[str]":
    """What a command that runs on writes into its log, sooner or later."""
    found: re.Match[str] = eventually(
        lambda: re.search(pattern, log.read_text("utf-8")), f"it says {pattern}"
    )
    return found


def end_of(process: "subprocess.Popen[bytes]", signum: signal.Signals) -> tuple[int, list[str]]:
    """Send the signal; the exit status, and the child processes that are still there."""
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signum)
    code = process.wait(PATIENCE)
    _, left = psutil.wait_procs(children, timeout=3)
    names = [" ".join(child.cmdline()[:4]) for child in left]
    for child in left:
        child.kill()
    return code, names
