"""A real Prometheus that scrapes a real run of the service: for tests, and for the picture."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from bench.client import Client, form
from bench.photos import Size, make_photos
from bench.s3server import free_port
from bench.service import Service, running_service
from blurline.errors import BlurlineError

FOLDER = Path(__file__).parent
PROGRAM = "prometheus"
READY_SECONDS = 30
WORKERS = 2
PAUSE_SECONDS = 0.6
"""Between uploads; a slow machine shall not be busy with them for long after the last one."""

Targets = Mapping[str, Sequence[str]]
"""Addresses to scrape, by the name of the job."""

Series = dict[str, Any]
"""`metric`, its labels, and `values`, pairs of seconds since the epoch and a number as text."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server that runs, by its URL."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer.

        Raises:
            BlurlineError: Prometheus does not take the question.
        """
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise BlurlineError(f"prometheus: {answer['error']}")
        return answer["data"]

    def over(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """What an expression was from `start` to `end`, in seconds since the epoch."""
        asked = {"query": expr, "start": str(start), "end": str(end), "step": str(step)}
        found: list[Series] = self.ask("query_range", **asked)["result"]
        return found


def own_config(targets: Targets, alertmanager: str | None = None) -> dict[str, Any]:
    """`monitoring/prometheus.yml` for these addresses, asking every second."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    config["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
        for job, addresses in targets.items()
    ]
    config["alerting"]["alertmanagers"] = (
        [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    )
    return config


@contextmanager
def prometheus(
    folder: Path, targets: Targets, alertmanager: str | None = None
) -> Iterator[Prometheus]:
    """Start a server that keeps its data in `folder`, and stop it in the end.

    Raises:
        BlurlineError: the program is not installed, or does not start.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise BlurlineError(f"{PROGRAM} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(own_config(targets, alertmanager)))
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={address}", "--log.level=error"]
    process = subprocess.Popen(command)
    try:
        wait_until_ready(f"http://{address}", PROGRAM)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(url: str, what: str) -> None:
    """Return once a server of Prometheus' family says that it is ready.

    Raises:
        BlurlineError: it does not.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/-/ready").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise BlurlineError(f"{what} was not ready within {READY_SECONDS} s")


@contextmanager
def watched_service(parent: Path) -> Iterator[tuple[Service, Targets]]:
    """A service of two workers, each of whose pictures is looked at again, and what to scrape."""
    port = free_port()
    with running_service(
        parent=parent,
        num_workers=WORKERS,
        worker_threads=1,
        second_look=1,
        worker_metrics_port=port,
    ) as service:
        workers = [f"127.0.0.1:{port + number}" for number in range(WORKERS)]
        api = urlsplit(service.stack.url).netloc
        yield service, {"blurline-api": [api], "blurline-worker": workers}


def drive(service: Service, seconds: float) -> None:
    """Hand in pictures one by one and in batches, ask how they go, and hand in a broken one."""
    photos = make_photos(Size("small", 640, 360), service.settings)
    broken = photos[0][: len(photos[0]) // 2]
    batch = form(photos[:12], batch=True)
    ends = time.monotonic() + seconds
    with service.client() as client:
        for number in range(1_000_000):
            if time.monotonic() > ends:
                break
            single = form([broken if number % 20 == 5 else photos[number % 16]], batch=False)
            (job_id,) = client.upload(single, batch=False)
            client.get(f"/status/{job_id}")
            if number % 30 == 10:
                client.upload(batch, batch=True)
            time.sleep(PAUSE_SECONDS)
        _settle(client)


def _settle(client: Client) -> None:
    client.wait_until_idle()
    # What ended last has to be scraped, too.
    time.sleep(3)


def filled(expr: str) -> str:
    """An expression of a dashboard, with values for what Grafana would fill in."""
    return expr.replace("$__rate_interval", "15s").replace("$__range", "5m")


def has_values(series: Sequence[Series]) -> bool:
    """Whether there is any number in them, `NaN` being none."""
    return any(True for one in series for _ in numbers(one))


def numbers(series: Series) -> Iterator[tuple[float, str]]:
    """The moments and values of a series, without those that are no number."""
    for moment, text in series["values"]:
        if text not in ("NaN", "+Inf", "-Inf"):
            yield float(moment), text
