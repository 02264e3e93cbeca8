"""Real programs: a Prometheus that scrapes a real run, an Alertmanager that tells of an alert."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from bench.s3server import free_port
from blurline import metrics
from blurline.inference.batching import Batcher
from monitoring.watched import (
    FOLDER,
    Prometheus,
    drive,
    filled,
    has_values,
    prometheus,
    wait_until_ready,
    watched_service,
)
from tests.deployment.test_monitoring import alerts, panels, recorded
from tests.parts import eventually
from tests.receivers import Receiver, receiving
from tests.service.test_monitoring_metrics import Echo

pytestmark = pytest.mark.long

RUN_SECONDS = 40


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


@contextmanager
def offering(*collectors: Any) -> Iterator[str]:
    """The address of a page with these metrics of this process."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    port = free_port()
    server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Run:
    """A server that has watched a run, and from when to when, in seconds since the epoch."""

    server: Prometheus
    started: float
    ended: float


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    with (
        watched_service(folder) as (service, targets),
        # Networks run in batches on a GPU only; these are a real batcher's of another network.
        offering(metrics.BATCH_SIZE) as batches,
        prometheus(folder / "prometheus", {**targets, "gpu": [batches]}) as server,
    ):
        started = time.time()
        batcher = Batcher(Echo(), max_size=4, max_delay=0.001, name="echo")
        with ThreadPoolExecutor(1) as thread:
            driven = thread.submit(drive, service, RUN_SECONDS)
            while not driven.done():
                batcher.infer(np.zeros((8, 8, 3), np.uint8))
                time.sleep(1)
            driven.result()
        batcher.close()
        yield Run(server, started, time.time())


def test_all_processes_are_scraped(run: Run) -> None:
    found = run.server.ask("targets")["activeTargets"]
    health = {(one["labels"]["job"], one["health"]) for one in found}
    assert health == {("blurline-api", "up"), ("blurline-worker", "up"), ("gpu", "up")}
    assert len(found) == 4, "each worker has a port of its own"


def test_every_expression_of_every_dashboard_has_data(run: Run) -> None:
    empty = [
        (panel["title"], target["expr"])
        for panel in panels()
        for target in panel["targets"]
        if not has_values(run.server.over(filled(target["expr"]), run.started, run.ended, 1))
    ]
    assert empty == []


def test_every_legend_names_labels_that_its_series_have(run: Run) -> None:
    for panel in panels():
        for target in panel["targets"]:
            for one in run.server.over(filled(target["expr"]), run.started, run.ended, 1):
                left = target["legendFormat"]
                for label in one["metric"]:
                    left = left.replace(f"{{{{{label}}}}}", "")
                assert "{{" not in left, (panel["title"], target["legendFormat"])


def test_every_rule_is_evaluated_and_nothing_fires_while_all_is_well(run: Run) -> None:
    groups = run.server.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == recorded() | set(alerts())
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    found = run.server.ask("alerts")["alerts"]
    assert [one["labels"]["alertname"] for one in found if one["state"] == "firing"] == []


def test_everything_that_is_recorded_has_values(run: Run) -> None:
    for name in recorded():
        assert has_values(run.server.over(name, run.started, run.ended, 1)), name


def test_what_came_in_was_counted_and_ended(run: Run) -> None:
    def total(expr: str) -> float:
        (one,) = run.server.ask("query", query=expr, time=str(run.ended))["result"]
        return float(one["value"][1])

    submitted = total('sum(blurline_uploads_total{outcome="taken"})')
    assert submitted > 0
    assert total("sum(max by (outcome) (blurline_images_total))") == submitted
    assert total('sum(blurline_jobs_total{outcome=~"completed|failed"})') == submitted
    assert total("sum(blurline_job_seconds_count)") == submitted
    assert total('sum(blurline_job_failures_total{code="corrupt_image"})') > 0


# From an alert to whoever has to come


@contextmanager
def alertmanager(folder: Path, receiver: Receiver) -> Iterator[str]:
    """`monitoring/alertmanager.yml` with its webhooks led to the receiver; its address."""
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    for one in config["receivers"]:
        for hook in one["webhook_configs"]:
            hook["url"] = receiver.url.replace("/hook", f"/{one['name']}")
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-alertmanager", f"--config.file={path}", "--cluster.listen-address="]
    command += [f"--storage.path={folder / 'alerts'}", f"--web.listen-address={address}"]
    process = subprocess.Popen([*command, "--log.level=error"])
    try:
        wait_until_ready(f"http://{address}", command[0])
        yield address
    finally:
        process.terminate()
        process.wait()


def test_a_suspected_leak_is_told_to_whoever_has_to_come(tmp_path: Path) -> None:
    with (
        receiving() as receiver,
        alertmanager(tmp_path, receiver) as manager,
        offering(metrics.LEAKS) as worker,
        prometheus(tmp_path / "data", {"blurline-worker": [worker]}, manager) as server,
    ):
        eventually(
            lambda: server.ask("query", query="blurline_leaks_suspected_total")["result"],
            "the count is known from before",
        )
        time.sleep(2)
        metrics.LEAKS.inc()

        def told() -> list[dict[str, Any]]:
            messages = [(one.path, json.loads(one.body)) for one in receiver.received]
            return [
                {"path": path, **alert}
                for path, message in messages
                for alert in message["alerts"]
                if alert["labels"]["alertname"] == "BlurlineLeakSuspected"
            ]

        (alert, *_) = eventually(told, "the alert is told")
    assert alert["path"] == "/come"
    assert alert["status"] == "firing"
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["runbook"] == "docs/runbooks.md#blurlineleaksuspected"
