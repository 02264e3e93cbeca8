"""The service on one machine, by one call: queue server, API and workers, ready or not at all."""

import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from blurline.errors import BlurlineError, SettingsError
from blurline.files import private_folder
from blurline.queue.connection import connect
from blurline.queue.presence import Presence
from blurline.settings import Settings
from blurline.stack import valkey
from blurline.stack.supervisor import Child, Program, Supervisor

START_SECONDS = 60
DRAIN_SECONDS = 15
"""Beyond a job's own time-out, what a worker gets to finish what it is doing."""


class StackError(BlurlineError):
    """The service did not start."""

    code = "not_started"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service. `workers` and `queue` are for those who want to see it survive."""

    url: str
    redis_url: str
    supervisor: Supervisor
    api: Child
    workers: tuple[Child, ...]
    queue: Child | None


@contextmanager
def running_stack(settings: Settings, environment: dict[str, str]) -> Iterator[Stack]:
    """Start everything, wait until it serves, and stop it in the end.

    Args:
        settings: host, port, data folder, number of workers; Redis if there is one already.
        environment: settings for the child processes, by environment name.

    Raises:
        SettingsError: the port or the data folder is in use.
        StackError: a part did not come up.
    """
    supervisor = Supervisor()
    data_dir = settings.data_dir.resolve()
    private_folder(data_dir)
    with _locked(data_dir) as lock, _listening(settings.host, settings.port) as listener:
        try:
            queue, redis_url, folder = None, settings.redis_url, None
            if redis_url is None:
                path = valkey.socket_path(data_dir)
                folder = path.parent if path.parent != data_dir else None
                redis_url = f"unix://{path}"
                queue = _start_valkey(supervisor, data_dir, path, lock)
            # The API has to know its address, since other rules hold where others can reach it.
            own = {"REDIS_URL": redis_url, "DATA_DIR": str(data_dir), "HOST": settings.host}
            shared = {**environment, **own}
            api = supervisor.start(_api(listener, shared))
            workers = tuple(
                supervisor.start(_worker(number, settings, shared))
                for number in range(settings.num_workers)
            )
            host, port = listener.getsockname()[:2]
            host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
            stack = Stack(f"http://{host}:{port}", redis_url, supervisor, api, workers, queue)
            _wait_until_ready(stack, settings)
            yield stack
        finally:
            supervisor.stop()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _start_valkey(supervisor: Supervisor, data_dir: Path, path: Path, lock: int) -> Child:
    """The embedded queue server; it holds the lock too, so that no second one takes its data."""
    folder = data_dir / "valkey"
    folder.mkdir(exist_ok=True, mode=0o700)
    child = supervisor.start(
        Program("valkey", valkey.command(folder, path), descriptors=(lock,), stop_seconds=20)
    )
    valkey.wait_until_ready(f"unix://{path}", START_SECONDS)
    return child


def _api(listener: socket.socket, environment: dict[str, str]) -> Program:
    descriptor = listener.fileno()
    command = [sys.executable, "-m", "uvicorn", "blurline.entry.api:app", "--fd", str(descriptor)]
    command += ["--http", "blurline.api.protocol:GuardedProtocol"]
    command += ["--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "10"]
    return Program("api", command, environment, (descriptor,), stop_seconds=15)


def _worker(number: int, settings: Settings, environment: dict[str, str]) -> Program:
    stop_seconds = max(settings.job_timeout, settings.transform_timeout) + DRAIN_SECONDS
    command = [sys.executable, "-m", "blurline.entry.worker"]
    # All are on one machine, where each needs a port of its own.
    port = settings.worker_metrics_port
    own = {"WORKER_METRICS_PORT": str(port + number)} if port else {}
    return Program(
        f"worker {number + 1}", command, {**environment, **own}, stop_seconds=stop_seconds
    )


def _wait_until_ready(stack: Stack, settings: Settings) -> None:
    """Return when the API is healthy and as many workers as were started are alive."""
    deadline = time.monotonic() + START_SECONDS
    redis = connect(stack.redis_url)
    presence = Presence(redis, settings.queue_name)
    client = httpx.Client(base_url=stack.url, timeout=5)
    health: Any = None

    def ready() -> bool:
        nonlocal health
        if time.monotonic() > deadline:
            raise StackError(
                f"the service was not ready within {START_SECONDS} s; the lines above may say why"
                + (f"; /health says: {health}" if health else "")
            )
        try:
            health = client.get("/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        return health["status"] != "down" and len(presence.alive()) >= settings.num_workers

    try:
        stack.supervisor.watch(ready, interval=0.1)
    finally:
        client.close()
        redis.close()


@contextmanager
def _locked(data_dir: Path) -> Iterator[int]:
    """The data folder for us alone; the descriptor of its lock.

    Raises:
        SettingsError: another service uses the folder.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(
                f"DATA_DIR: {data_dir} is in use by another blurline; stop that one or name "
                "another folder"
            ) from error
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket on the address; who has it can't lose the port to someone else before the API is up.

    Raises:
        SettingsError: the port is taken or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"PORT: can't listen on {host}:{port} ({error.strerror}); "
                "choose another one, or 0 for a free one"
            ) from error
        yield listener
