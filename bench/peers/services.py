"""Services under load over HTTP."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.client import Client
from bench.load import Load
from bench.peers.speed import Run
from blurline.errors import BlurlineError
from blurline.settings import Settings
from blurline.stack.stack import running_stack

START_SECONDS = 60
STOP_SECONDS = 20
TRIAL = 40


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and the processes that it consists of."""

    url: str
    processes: tuple[psutil.Process, ...]
    load: Load

    @property
    def trial(self) -> int:
        """See `Runner.trial`; threads take up their work one by one."""
        return TRIAL

    def run(self, images: int) -> Run:
        """See `Runner.run`; until the last image is done, the load generator's CPU not counted."""
        before, started_at = self._cpu_seconds(), time.time()
        sent = self.load.run(images)
        spent = self._cpu_seconds() - before
        with Client(self.url) as client:
            last = max(client.ends(upload.job_id for upload in sent).values())
        return Run(images / (last - started_at), 1000 * spent / images)

    def _cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self.processes]
        return sum(one.user + one.system for one in times)


@contextmanager
def blurline_service(
    settings: Settings, photos: Sequence[bytes], in_flight: int
) -> Iterator[Service]:
    """The whole of blurline as `blurline up` runs it."""
    environment = {"WORKER_THREADS": str(settings.worker_threads), "LOG_LEVEL": "warning"}
    with running_stack(settings, environment) as stack:
        children = [stack.api, *stack.workers, *filter(None, [stack.queue])]
        processes = tuple(psutil.Process(child.pid) for child in children)
        yield Service(stack.url, processes, Load(stack.url, list(photos), in_flight))


@contextmanager
def plain_service(folder: Path, photos: Sequence[bytes], in_flight: int) -> Iterator[Service]:
    """The service of `plain_service.py`; its pictures go to the folder.

    Raises:
        BlurlineError: it did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # uvicorn takes a descriptor for a Unix socket; without this its answers are 40 ms late.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        descriptor = listener.fileno()
        command = [sys.executable, "-m", "bench.peers.plain_service", str(folder), str(descriptor)]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, pass_fds=(descriptor,), cwd=root)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        _wait_until_ready(url, process)
        load = Load(url, list(photos), in_flight)
        yield Service(url, (psutil.Process(process.pid),), load)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/queue-status", timeout=START_SECONDS).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise BlurlineError("the plain service did not start; the lines above may say why")
