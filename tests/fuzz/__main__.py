"""`make fuzz`: the service that `blurline up` starts, tried with what nobody means to send.

What is sent follows from the seed alone. Whatever is wrong is written to a file under `build/fuzz`,
which `make fuzz REPLAY=file` sends again. Everything stays on this machine's own address, and
nothing is ever posted to a callback: those go with what is no picture.
"""

import base64
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console

from blurline.access.admission import SETTINGS as ACCESS_SETTINGS
from blurline.cli.start import treat_stop_as_interrupt
from blurline.configfile import CONFIG_VARIABLE
from blurline.errors import BlurlineError
from blurline.settings import load_settings
from blurline.stack.stack import Stack, running_stack
from tests.fuzz.attempt import Attempt
from tests.fuzz.findings import Finding, read_attempts
from tests.fuzz.run import Bounds, House, Run
from tests.fuzz.targets import TARGETS, attempt_of

FOLDER = Path("build/fuzz")
LINE_SECONDS = 10
OUTSIDE = ("redis_url", "s3_bucket", "store_url", CONFIG_VARIABLE, "rate_limit", *ACCESS_SETTINGS)
"""Settings that might lead out of this machine or into a service that is in use."""

SETTINGS = {
    **{name.upper(): "" for name in OUTSIDE},
    # What is tried is not the networks: one pipeline with the small one will do.
    "DEFAULT_PIPELINE": "blur",
    "DEFAULT_TARGETS": "face",
    # An hour of jobs would fill Redis otherwise.
    "RESULT_TTL": "60",
    "FAILURE_TTL": "60",
    "IDEMPOTENCY_TTL": "60",
    # Well below what counts as slow.
    "BLUR_WAIT": "20",
    "LOG_LEVEL": "error",
}


def main(
    seconds: Annotated[float, typer.Option(min=0, help="How long to send.")] = 3600,
    seed: Annotated[str, typer.Option(help="Of what is sent. Default: one by chance.")] = "",
    targets: Annotated[
        str, typer.Option(help=f"What to try, comma-separated. Default: {', '.join(TARGETS)}.")
    ] = "",
    replay: Annotated[Path | None, typer.Option(help="File of a finding to send again.")] = None,
    patience: Annotated[
        float,
        typer.Option(min=1, help="How many times longer all may take than on a quiet machine."),
    ] = 1,
) -> None:
    """Send what nobody means to send, and say what is wrong with what comes back."""
    names = [name.strip() for name in targets.split(",") if name.strip()] or list(TARGETS)
    if not set(names) <= set(TARGETS):
        raise typer.BadParameter(f"targets are {', '.join(TARGETS)}")
    seed = seed or secrets.token_hex(4)
    attempts = iter(read_attempts(replay)) if replay else endless(seed, names, seconds)
    console = _own_console(FOLDER / f"{seed}.log")
    what = f"{replay} again" if replay else f"seed {seed}: {', '.join(names)}"
    console.print(f"{what}; the service's log is in {FOLDER}", soft_wrap=True, highlight=False)
    treat_stop_as_interrupt()
    try:
        findings = _run(attempts, seed, patience, console)
    except BlurlineError as error:
        console.print(error.message, style="red", soft_wrap=True, markup=False)
        raise typer.Exit(2) from error
    for path, finding in findings.items():
        line = f"{finding.what}: {finding.said}; make fuzz REPLAY={path}"
        console.print(line, style="red", soft_wrap=True)
    raise typer.Exit(1 if findings else 0)


def _run(
    attempts: Iterator[Attempt], seed: str, patience: float, console: Console
) -> dict[Path, Finding]:
    """Send the attempts to a service of our own; what is wrong, by its file.

    Raises:
        BlurlineError: the service did not start.
    """
    with tempfile.TemporaryDirectory(prefix="blurline-fuzz-") as folder:
        settings = load_settings(port=0, host="127.0.0.1", data_dir=Path(folder), redis_url=None)
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        with running_stack(settings, {**SETTINGS, "WEBHOOK_SECRET": secret}) as stack:
            bounds = Bounds().times(patience)
            with Run(house_of(stack), attempts, bounds, seed, FOLDER) as run:
                _watch(stack, run, console)
    return run.findings


def _own_console(log: Path) -> Console:
    """Standard error for us alone; what the service says of so many refusals goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    ours = os.fdopen(os.dup(2), "w")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    return Console(file=ours)


def endless(seed: str, targets: Sequence[str], seconds: float) -> Iterator[Attempt]:
    """Attempts of the targets in turns, until the time is over."""
    due = monotonic() + seconds
    for number in count():
        for target in targets:
            if monotonic() > due:
                return
            yield attempt_of(seed, target, number)


def house_of(stack: Stack) -> House:
    """The service with its processes."""
    children = [stack.api, *stack.workers, *([stack.queue] if stack.queue else [])]
    return House(stack.url, lambda: {child.program.name: child.pid for child in children})


def _watch(stack: Stack, run: Run, console: Console) -> None:
    """Keep the processes alive until the run is over, and say how it goes."""
    started = said = monotonic()

    def is_over() -> bool:
        nonlocal said
        over = run.is_over()
        if over or monotonic() - said > LINE_SECONDS:
            said = monotonic()
            console.print(f"{said - started:.0f} s: {run}", soft_wrap=True, highlight=False)
        return over

    stack.supervisor.watch(is_over)


if __name__ == "__main__":
    sys.exit(typer.run(main))
