"""What the service tells of itself: stats, queue, health, metrics."""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from blurline import metrics
from blurline.pipeline_architecture import pipelines
from blurline.stack.stack import Stack
from tests.arithmetic import cpu_arithmetic
from tests.data_folder import DataFolder
from tests.parts import Start, ended, eventually, refusal, serving, settings_for, upload

QUEUE = {
    "depth",
    "capacity",
    "retrying",
    "processing",
    "failed",
    "oldest_age_seconds",
    "estimated_seconds",
    "queues",
}
FAMILIES = (
    {
        metric.name: metric.documentation
        for name in metrics.__all__
        if hasattr(collector := getattr(metrics, name), "collect") and name != "REGISTRY"
        for metric in collector.collect()
    }
    | metrics.SHARED
    | metrics.MACHINE
)
"""Name and meaning of each metric of our own."""

DONE = {"queue": "image_processing_queue", "outcome": "completed"}
"""Labels of pictures that were redacted."""

MARK = "unmistakable-name"


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of an API that finds no Redis."""
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        yield client


def scraped(client: httpx.Client) -> dict[str, Metric]:
    """The families of `/metrics` by name."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """The one sample of that name with those labels, 0 if there is none yet."""
    samples = [sample for family in families.values() for sample in family.samples]
    found = [s.value for s in samples if s.name == name and s.labels == labels]
    assert len(found) <= 1
    return found[0] if found else 0.0


def test_stats_add_up_what_was_done(client: httpx.Client, bus: bytes) -> None:
    before = client.get("/stats").json()

    done = [ended(client, upload(client, bus, targets="car")) for _ in range(2)]
    ended(client, upload(client, bus[: len(bus) // 2]))

    def counted() -> dict[str, Any] | None:
        stats: dict[str, Any] = client.get("/stats").json()
        return (
            stats if sum(stats["totals"].values()) >= sum(before["totals"].values()) + 3 else None
        )

    after = eventually(counted, "all three jobs are counted")
    assert after["totals"]["completed"] == before["totals"]["completed"] + 2
    assert after["totals"]["failed"] == before["totals"]["failed"] + 1
    ends = after["totals"]["completed"] + after["totals"]["failed"]
    assert after["success_rate"] == pytest.approx(after["totals"]["completed"] / ends, abs=0.001)
    assert after["redactions"]["car"] == before["redactions"].get("car", 0) + sum(
        status["results"]["blur_metadata"]["counts"]["car"] for status in done
    )
    people = [
        found["confidence"]
        for status in done
        for found in status["results"]["detection_metadata"]["objects"]
        if found["label"] == "person"
    ]
    earlier = before["detections"].get("person", {"count": 0, "mean_confidence": 0})
    seen = after["detections"]["person"]
    assert people
    assert seen["count"] == earlier["count"] + len(people)
    confidences = earlier["count"] * earlier["mean_confidence"] + sum(people)
    assert seen["mean_confidence"] == pytest.approx(confidences / seen["count"], abs=0.001)


def test_stats_have_all_figures(client: httpx.Client, stack: Stack, small_jpeg: bytes) -> None:
    ended(client, upload(client, small_jpeg))

    stats = client.get("/stats").json()

    assert set(stats) == {
        "throughput",
        "totals",
        "success_rate",
        "latency_seconds",
        "mean_processing_seconds",
        "queue",
        "queues",
        "workers",
        "redactions",
        "detections",
        "processes",
    }
    assert set(stats["throughput"]) == {"1m", "5m", "15m"}
    assert all(rate > 0 for rate in stats["throughput"].values())
    latency = stats["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert stats["mean_processing_seconds"] > 0
    assert set(stats["queue"]) == QUEUE
    assert stats["workers"]["processes"] == len(stack.workers)
    assert stats["queues"][DONE["queue"]]["workers"]["threads"] == 2 * len(stack.workers)
    assert 0 <= stats["workers"]["busy"] <= stats["workers"]["threads"]
    api, *workers = stats["processes"]
    assert api["name"] == "api"
    assert len(workers) == len(stack.workers)
    for process in stats["processes"]:
        assert set(process) == {"name", "cpu_percent", "memory_bytes"}
        assert 0 < process["memory_bytes"] < psutil.virtual_memory().total
        assert process["cpu_percent"] >= 0
    assert len({worker["name"] for worker in workers}) == len(workers)
    assert socket.gethostname() not in json.dumps(stats)
    assert all(re.fullmatch(r"worker [0-9a-f]{6}", worker["name"]) for worker in workers)


def test_stats_of_a_service_that_has_done_nothing_make_nothing_up(idle_client: Start) -> None:
    stats = idle_client().get("/stats").json()

    assert stats["totals"] == {"completed": 0, "failed": 0}
    assert stats["throughput"] == {"1m": 0, "5m": 0, "15m": 0}
    assert stats["latency_seconds"] == {"p50": None, "p95": None, "p99": None}
    assert stats["success_rate"] is None
    assert stats["detections"] == stats["redactions"] == {}


def test_the_queue_tells_what_waits(idle_client: Start, small_jpeg: bytes) -> None:
    client = idle_client(max_queue_size=7)
    empty = client.get("/queue-status").json()
    for _ in range(3):
        upload(client, small_jpeg)

    queue = client.get("/queue-status").json()

    assert set(empty) == set(queue) == QUEUE
    assert (empty["depth"], empty["oldest_age_seconds"]) == (0, 0)
    assert empty["capacity"] == 7 * len(empty["queues"])
    assert queue["depth"] == 3
    assert queue["oldest_age_seconds"] > 0
    assert (queue["processing"], queue["failed"], queue["retrying"]) == (0, 0, 0)
    assert queue["estimated_seconds"] is None, "nobody works, so nobody knows"


def test_the_queue_tells_how_long_its_work_takes(client: httpx.Client, small_jpeg: bytes) -> None:
    ended(client, upload(client, small_jpeg))

    eventually(
        lambda: client.get("/queue-status").json()["estimated_seconds"] == 0,
        "nothing is left to do",
    )


def test_the_queue_counts_failed_jobs(client: httpx.Client, bus: bytes) -> None:
    before = client.get("/queue-status").json()["failed"]

    ended(client, upload(client, bus[: len(bus) // 2]))

    eventually(
        lambda: client.get("/queue-status").json()["failed"] == before + 1, "the failure is counted"
    )


def test_a_healthy_service_names_each_dependency_and_target(client: httpx.Client) -> None:
    answer = client.get("/health")

    health = answer.json()
    assert answer.status_code == 200
    assert set(health) == {"status", "dependencies", "queues", "targets", "precision"}
    assert set(health["precision"]) >= {"centerface", "platenet", "yolo11n"}
    here = cpu_arithmetic()
    assert all(computed == [here] for computed in health["precision"].values())
    assert set(health["dependencies"]) == {"redis", "store", "workers"}
    assert {part["status"] for part in health["dependencies"].values()} == {"ok"}
    known = {
        name for p in pipelines(settings_for("redis://", Path())).values() for name in p.targets
    }
    assert set(health["targets"]) == known
    assert all(target["status"] == "ok" for target in health["targets"].values())


def test_health_says_that_no_worker_is_there(idle_client: Start) -> None:
    answer = idle_client().get("/health")

    health = answer.json()
    assert (answer.status_code, health["status"]) == (200, "degraded")
    assert health["dependencies"]["workers"]["status"] == "missing"
    assert health["targets"]["face"]["status"] == "unknown"


def test_health_says_that_redis_is_away(lonely: httpx.Client) -> None:
    answer = lonely.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    states = {name: part["status"] for name, part in answer.json()["dependencies"].items()}
    assert states == {"redis": "down", "store": "ok", "workers": "missing"}


def test_health_says_that_the_store_is_away(idle_client: Start, tmp_path: Path) -> None:
    client = idle_client()
    shutil.rmtree(tmp_path / "store")

    answer = client.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert answer.json()["dependencies"]["store"]["status"] == "down"
    assert answer.json()["dependencies"]["redis"]["status"] == "ok"


def test_health_names_no_address_and_no_folder(
    lonely: httpx.Client, client: httpx.Client, tmp_path: Path
) -> None:
    pages = lonely.get("/health").text + client.get("/health").text

    assert str(tmp_path) not in pages
    assert "unix:" not in pages


@pytest.mark.parametrize("path", ["/stats", "/queue-status"])
def test_figures_that_redis_keeps_are_answered_503_while_it_is_away(
    lonely: httpx.Client, path: str
) -> None:
    answer = lonely.get(path)

    assert refusal(answer) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_every_metric_is_in_the_list_with_its_meaning(client: httpx.Client) -> None:
    ours = {
        name: family.documentation
        for name, family in scraped(client).items()
        # The client's library adds the time of a counter's first count by itself.
        if name.startswith("blurline") and not name.endswith("_created")
    }

    assert ours == FAMILIES


def test_metrics_count_what_all_workers_did(
    client: httpx.Client, stack: Stack, small_jpeg: bytes
) -> None:
    before = scraped(client)
    ended(client, upload(client, small_jpeg))

    after = eventually(
        lambda: (
            value(families := scraped(client), "blurline_images_total", **DONE)
            > value(before, "blurline_images_total", **DONE)
            and families
        ),
        "the job is counted",
    )

    assert value(after, "blurline_worker_processes") == len(stack.workers)
    assert value(after, "blurline_queue_depth", queue=DONE["queue"]) == 0


def test_metrics_count_requests_by_route_and_status(client: httpx.Client) -> None:
    labels = {"method": "GET", "route": "/status/{job_id}", "status": "404"}
    before = value(scraped(client), "blurline_http_requests_total", **labels)

    for number in range(3):
        client.get(f"/status/{MARK}-{number}")

    after = scraped(client)
    assert value(after, "blurline_http_requests_total", **labels) == before + 3
    del labels["status"]
    assert value(after, "blurline_http_request_seconds_count", **labels) >= 3


def test_metrics_hold_neither_names_nor_ids_nor_paths(
    client: httpx.Client, stack: Stack, data_folder: DataFolder, small_jpeg: bytes
) -> None:
    status = ended(client, upload(client, small_jpeg, f"{MARK}.jpg"))
    for path in (f"/{MARK}", f"/status/{MARK}", f"/batch/{MARK}", f"/result/{status['job_id']}"):
        client.get(path)
        client.request("PROPFIND", path)

    page = client.get("/metrics").text

    assert MARK not in page
    assert status["job_id"] not in page
    assert str(data_folder.path) not in page
    routes = {
        sample.labels["route"]
        for name, family in scraped(client).items()
        if name.startswith("blurline_http")
        for sample in family.samples
    }
    templates = set(client.get("/openapi.json").json()["paths"])
    assert routes <= templates | {"unmatched"}


def test_metrics_are_served_while_redis_is_away(lonely: httpx.Client) -> None:
    families = scraped(lonely)

    assert "blurline_http_requests" in families
    assert "blurline_queue_depth" not in families, "what nobody knows is not called 0"
