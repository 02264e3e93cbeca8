"""When the queue takes no more: by its length, and by how long its work takes."""

import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.stats import Stats
from tests.parts import QUEUE, Start, done, files_below, job_spec, refusal, upload


def works(redis_url: str, seconds_each: float, threads: int = 2, ago: float = 0.0) -> None:
    """As if workers were there and had taken so long for each of their last pictures."""
    with Redis.from_url(redis_url) as redis:
        models = ("centerface", "platenet", "yolo11n")
        report = WorkerReport("w1", threads, threads, models, 100.0, 10**8, time.time() + 60)
        Presence(redis, QUEUE).report(report)
        Stats(redis).record(done(job_spec(), time.time() - ago, seconds=seconds_each))


def send(client: httpx.Client, picture: bytes, path: str = "/upload") -> httpx.Response:
    return client.post(path, files={"files" if "batch" in path else "file": ("a.jpg", picture)})


def outcomes(client: httpx.Client) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        sample.labels["outcome"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "blurline_uploads_total" and sample.labels["queue"] == QUEUE
    }


@pytest.mark.parametrize("path", ["/upload", "/batch-upload"])
def test_an_upload_is_answered_429_when_the_work_ahead_takes_too_long(
    idle_client: Start, redis_url: str, tmp_path: Path, small_jpeg: bytes, path: str
) -> None:
    client = idle_client(max_queue_seconds=30)
    for _ in range(4):
        upload(client, small_jpeg)
    works(redis_url, 20.0)
    before, files = outcomes(client).get("late", 0), files_below(tmp_path / "store")
    time.sleep(1.1)  # a prediction is good for a second

    answer = send(client, small_jpeg, path)

    assert client.get("/queue-status").json()["estimated_seconds"] == 40
    assert refusal(answer) == (429, "queue_full")
    assert answer.headers["Retry-After"] == "10"
    assert files_below(tmp_path / "store") == files
    assert outcomes(client)["late"] == before + 1


@pytest.mark.parametrize("limit", [0, 50])
def test_an_upload_is_taken_while_the_work_ahead_is_within_the_limit(
    idle_client: Start, redis_url: str, small_jpeg: bytes, limit: float
) -> None:
    client = idle_client(max_queue_seconds=limit)
    for _ in range(4):
        upload(client, small_jpeg)
    works(redis_url, 20.0)
    time.sleep(1.1)
    assert send(client, small_jpeg).status_code == 202


def test_without_a_known_pace_only_the_number_counts(
    idle_client: Start, redis_url: str, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_seconds=0.001, max_queue_size=2)
    assert client.get("/queue-status").json()["estimated_seconds"] is None
    for _ in range(2):
        upload(client, small_jpeg)
    assert refusal(send(client, small_jpeg)) == (429, "queue_full")


@pytest.mark.parametrize("ago", [0, 70, 400, 2000])
def test_a_time_without_jobs_does_not_make_workers_look_slow(redis_url: str, ago: float) -> None:
    works(redis_url, 0.5, ago=ago)
    with Redis.from_url(redis_url) as redis:
        assert Stats(redis).pace() == 0.5


def test_the_pace_is_of_the_last_minute_if_anything_was_done_then(redis_url: str) -> None:
    works(redis_url, 9.0, ago=100)
    works(redis_url, 1.0)
    with Redis.from_url(redis_url) as redis:
        assert Stats(redis).pace() == 1.0


def test_nobody_knows_the_pace_of_those_who_have_done_nothing(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        assert Stats(redis).pace() is None
