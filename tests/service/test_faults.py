"""What the service promises while its parts are away, and after they have come back."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blurline.queue.queues import Queues
from blurline.settings import Settings, load_settings
from blurline.stack.stack import Stack, running_stack
from blurline.storage.masterkeys import load_master_keys
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from tests.light import light_service, light_settings, light_worker
from tests.parts import (
    S3Server,
    ValkeyServer,
    ended,
    environment_of,
    eventually,
    image_worker,
    job_spec,
    refusal,
    runner,
    send,
    serving,
    settings_for,
    upload,
    worker,
)

SOME = 4


def submit(client: httpx.Client, picture: bytes, count: int = SOME) -> list[str]:
    return [upload(client, picture) for _ in range(count)]


def ends(client: httpx.Client, jobs: list[str]) -> set[str]:
    """How the jobs end, given time enough for those that were cut off."""
    return {ended(client, job, seconds=120)["status"] for job in jobs}


def processing(client: httpx.Client, jobs: list[str]) -> list[str]:
    """The jobs that run now, for all that Redis knows."""
    return [job for job in jobs if client.get(f"/status/{job}").json()["status"] == "processing"]


def test_no_accepted_job_is_lost_when_redis_is_killed(
    own_valkey: ValkeyServer, tmp_path: Path, zidane: bytes
) -> None:
    settings = light_settings(own_valkey.url, tmp_path, abandoned_after=5)
    with light_service(settings) as client:
        first = upload(client, zidane)
        jobs = submit(client, zidane, 3)
        with own_valkey.client() as redis:
            # What it is told is promised to be on the disk within a second.
            redis.set("mark", 1)
            redis.execute_command("WAITAOF", 1, 0, 0)
        with light_worker(settings, pace=6.0):
            assert ends(client, [first]) == {"completed"}
            eventually(lambda: processing(client, jobs), "jobs are running")
            own_valkey.kill()

            assert refusal(send(client, zidane)) == (503, "queue_unavailable")
            assert refusal(client.get("/queue-status")) == (503, "queue_unavailable")
            health = client.get("/health")
            assert health.status_code == 503
            assert health.json()["dependencies"]["redis"]["status"] == "down"
            assert client.get(f"/status/{first}").json()["status"] == "completed"
            assert client.get(f"/result/{first}").status_code == 200

            own_valkey.start()
            eventually(lambda: client.get("/health").status_code == 200, "the API recovers")
            assert processing(client, jobs), "no job was cut off, so there is nothing to see here"
            jobs.append(upload(client, zidane))
            assert ends(client, jobs) == {"completed"}


@dataclass
class Store:
    """A store that can go away: the settings for it, and its two moves."""

    settings: dict[str, Any]
    leave: Callable[[], Any]
    come_back: Callable[[], Any]


def on_s3(server: S3Server, keys: Path) -> dict[str, Any]:
    """The settings for the bucket, with a master key that all its users share."""
    load_master_keys(None, keys)
    return {
        "s3_bucket": server.BUCKET,
        "aws_endpoint_url": server.url,
        "aws_region": "us-east-1",
        "master_key_file": keys / "keys" / "master.key",
    }


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        here, there = tmp_path / "store", tmp_path / "elsewhere"
        return Store({}, lambda: here.rename(there), lambda: there.rename(here))
    server: S3Server = request.getfixturevalue("s3_server")
    return Store(on_s3(server, tmp_path / "shared"), server.stop, server.start)


def test_no_accepted_job_is_lost_when_the_store_goes_away(
    redis_url: str, tmp_path: Path, store: Store, zidane: bytes
) -> None:
    settings = light_settings(redis_url, tmp_path, **store.settings)
    with light_service(settings) as client, light_worker(settings) as process:
        eventually(lambda: client.get("/health").json()["status"] == "ok", "the worker is there")
        # Held still, it meets the fault with every job.
        process.send_signal(signal.SIGSTOP)
        jobs = submit(client, zidane)
        store.leave()
        process.send_signal(signal.SIGCONT)
        eventually(
            lambda: client.get("/queue-status").json()["retrying"] == SOME, "all wait for a try"
        )
        assert refusal(send(client, zidane)) == (503, "store_unavailable")
        health = client.get("/health")
        assert health.status_code == 503
        assert health.json()["dependencies"]["store"]["status"] == "down"

        store.come_back()
        eventually(lambda: client.get("/health").status_code == 200, "the API recovers")
        jobs.append(upload(client, zidane))
        assert ends(client, jobs) == {"completed"}


def test_a_done_job_is_not_unknown_while_the_store_is_away(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, spec = settings_for(redis_url, tmp_path), job_spec(pipeline="test", targets=())
    open_vault(settings, open_store(settings)).put(
        spec.job_id, spec.kind, small_jpeg, spec.to_order()
    )
    with serving(settings) as client, image_worker(settings, runner(settings)) as hands:
        Queues(hands.connection, settings, {}).submit([spec])
        hands.work(max_jobs=1, logging_level="WARNING")
        assert client.get(f"/status/{spec.job_id}").json()["status"] == "completed"
        (tmp_path / "store").rename(tmp_path / "elsewhere")
        for route in ("status", "result"):
            answer = client.get(f"/{route}/{spec.job_id}")
            assert refusal(answer) == (503, "store_unavailable")
        (tmp_path / "elsewhere").rename(tmp_path / "store")
        assert client.get(f"/result/{spec.job_id}").status_code == 200


def test_a_full_queue_takes_jobs_again_when_it_is_drained(
    redis_url: str, tmp_path: Path, zidane: bytes
) -> None:
    settings = light_settings(redis_url, tmp_path, max_queue_size=3)
    with light_service(settings) as client:
        jobs = submit(client, zidane, 3)
        full = send(client, zidane)
        assert refusal(full) == (429, "queue_full")
        assert int(full.headers["Retry-After"]) >= 1
        with light_worker(settings):
            taken = eventually(
                lambda: (answer := send(client, zidane)).status_code == 202 and answer,
                "the queue takes a job again",
            )
            assert ends(client, [*jobs, taken.json()["job_id"]]) == {"completed"}


def test_the_whole_way_works_on_a_real_s3_server(
    s3_server: S3Server, redis_url: str, tmp_path: Path, zidane: bytes, bus: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path, **on_s3(s3_server, tmp_path / "shared"))
    with serving(settings) as client, worker(environment_of(settings)):
        job = upload(client, zidane)
        files = [("files", ("bus.jpg", bus)), ("files", ("no.jpg", b"no picture"))]
        answer = client.post("/batch-upload", files=files).json()
        assert (answer["submitted"], answer["rejected"]) == (1, 1)

        status = ended(client, job)
        assert status["status"] == "completed"
        for place in ("original", "processed"):
            path = status["results"][f"{place}_image_path"]
            assert path == f"{place}/{job[:2]}/{job}.jpg"
        assert status["results"]["blur_metadata"]["counts"]["face"] >= 2
        result = client.get(f"/result/{job}")
        assert (result.status_code, result.headers["content-type"]) == (200, "image/jpeg")
        assert result.content not in (b"", zidane)

        batch = f"/batch/{answer['batch_id']}"
        eventually(lambda: client.get(batch).json()["done"], "the batch is done")
        assert client.get(batch).json()["completed"] == 1
        assert client.get("/health").json()["status"] == "ok"
    assert not (tmp_path / "store").exists()


@pytest.fixture
def watched_stack(tmp_path: Path) -> Iterator[Stack]:
    """The whole service on its own, with its supervisor at work."""
    settings: Settings = load_settings(port=0, data_dir=tmp_path)
    stop = threading.Event()
    with running_stack(settings, {"WORKER_THREADS": "2", "ABANDONED_AFTER": "5"}) as stack:
        watching = threading.Thread(target=stack.supervisor.watch, args=(stop.is_set,))
        watching.start()
        try:
            yield stack
        finally:
            stop.set()
            watching.join()


def test_the_supervisor_brings_back_what_dies_and_no_accepted_job_is_lost(
    watched_stack: Stack, zidane: bytes, large_jpeg: bytes
) -> None:
    stack = watched_stack
    assert stack.queue is not None
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        jobs = submit(client, large_jpeg, 3)
        eventually(lambda: client.get("/queue-status").json()["processing"], "jobs are running")
        for child in (stack.workers[0], stack.api, stack.queue):
            dead = child.pid
            os.kill(dead, signal.SIGKILL)
            eventually(lambda child=child, dead=dead: child.pid != dead, "it is started again")

        def healthy() -> bool:
            try:
                return bool(client.get("/health").json()["status"] == "ok")
            except (httpx.HTTPError, ValueError):
                return False

        eventually(healthy, "the service is whole again")
        jobs.append(upload(client, zidane))
        assert ends(client, jobs) == {"completed"}
