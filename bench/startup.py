"""`python -m bench startup`: seconds until the API answers and until a worker takes jobs."""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from bench.client import Client
from bench.report import RECIPE, console, publish
from bench.s3server import free_port
from blurline.errors import BlurlineError
from blurline.machine import usable_cores
from blurline.models.catalogue import find
from blurline.pipeline_architecture import pipelines
from blurline.queue.connection import connect
from blurline.queue.presence import Presence
from blurline.settings import Settings, load_settings
from blurline.stack import valkey
from blurline.stack.supervisor import Program, Supervisor

PATIENCE = 120.0
LOOK_SECONDS = 0.005
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def startup(
    repeats: Annotated[int, typer.Option(min=1, help="Starts of each kind.")] = 3,
    cold: Annotated[
        bool, typer.Option(help="Also start with nothing cached, as after a reboot.")
    ] = True,
) -> None:
    """Seconds from the start of a process until it is ready, API and worker one after the other.

    The API is ready when it answers `/health`, a worker when it reports that it takes jobs. The
    networks' files are in the model cache. A cold start has an empty cache of Python's bytecode,
    and the kernel has been asked to drop the installed packages and the networks' files from its
    page cache; files that another process has mapped stay there. Medians of the repeats.
    """
    settings = load_settings()
    for name in sorted(pipelines(settings)[settings.default_pipeline].networks):
        find(name).source.pull(settings.model_dir)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blurline-bench-")))
        socket, supervisor = valkey.socket_path(folder), Supervisor()
        stack.callback(supervisor.stop)
        supervisor.start(Program("valkey", valkey.command(folder, socket)))
        url = f"unix://{socket}"
        valkey.wait_until_ready(url, PATIENCE)
        shared = {"REDIS_URL": url, "DATA_DIR": str(folder / "data"), "LOG_LEVEL": "warning"}
        api: dict[str, list[float]] = {"warm": [], "cold": []}
        worker: dict[str, list[float]] = {"warm": [], "cold": []}
        with console.status("starting"):
            # The first ones fill the caches.
            _start_api(shared)
            _start_worker(shared, url)
            for number in range(repeats):
                api["warm"].append(_start_api(shared))
                worker["warm"].append(_start_worker(shared, url))
                if cold:
                    bare = {"PYTHONPYCACHEPREFIX": str(folder / f"bytecode-{number}")}
                    for times, start in ((api, _start_api), (worker, _start_worker)):
                        _drop_caches(settings)
                        times["cold"].append(start({**shared, **bare}, url))
    publish(
        "startup",
        {
            "api_ready_seconds": _medians(api),
            "worker_ready_seconds": _medians(worker),
            RECIPE: {"repeats": repeats, "cores": usable_cores(), "api": api, "worker": worker},
        },
    )


def _medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: round(median(found), 2) for name, found in times.items() if found}


def _start_api(environment: Mapping[str, str], redis_url: str = "") -> float:
    """Seconds until the API answers for its health, whatever it says."""
    port = free_port()
    command = [
        "-m",
        "uvicorn",
        "blurline.entry.api:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]

    def ready() -> bool:
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                return "status" in client.get("/health")
        except BlurlineError:
            return False

    return _seconds_until(ready, command, environment)


def _start_worker(environment: Mapping[str, str], redis_url: str) -> float:
    """Seconds until a worker reports to Redis for the first time."""
    redis = connect(redis_url)
    presence = Presence(redis, load_settings().queue_name)
    try:
        return _seconds_until(
            lambda: bool(presence.alive()), ["-m", "blurline.entry.worker"], environment
        )
    finally:
        redis.close()


def _seconds_until(
    ready: Callable[[], bool], command: list[str], environment: Mapping[str, str]
) -> float:
    """Start Python with those arguments, wait until it is ready, stop it.

    Raises:
        BlurlineError: it ended before, or took too long.
    """
    # With it no start would be warm.
    kept = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], env={**kept, **environment})
    try:
        while not ready():
            if process.poll() is not None or time.perf_counter() - started > PATIENCE:
                raise BlurlineError(f"`python {' '.join(command)}` did not start")
            time.sleep(LOOK_SECONDS)
        return round(time.perf_counter() - started, 3)
    finally:
        process.terminate()
        process.wait()


def _drop_caches(settings: Settings) -> None:
    """Ask the kernel to forget the files that a start reads, see posix_fadvise(2)."""
    places = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    for place in (*places, settings.model_dir):
        for path in place.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
