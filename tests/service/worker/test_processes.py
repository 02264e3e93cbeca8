"""How jobs end when real worker processes come and go."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rq.job import Job

from blurline.jobs.job import JobSpec
from blurline.models.catalogue import find
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.settings import Settings, load_settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from tests.light import light_service, light_settings, light_worker
from tests.parts import (
    ROOT,
    ValkeyServer,
    ended,
    environment_of,
    eventually,
    files_below,
    free_port,
    fresh,
    job_spec,
    refusal,
    serving,
    settings_for,
    upload,
    worker,
)


def batch(client: httpx.Client, picture: bytes, count: int) -> str:
    """Hand in the picture many times; the batch's id."""
    files = [("files", ("a.jpg", picture))] * count
    answer = client.post("/batch-upload", files=files, headers=fresh())
    assert answer.json()["submitted"] == count
    return str(answer.json()["batch_id"])


def statuses(client: httpx.Client, batch_id: str) -> dict[str, str]:
    """The status of each job of the batch."""
    jobs = client.get(f"/batch/{batch_id}").json()["jobs"]
    return {job["job_id"]: job["status"] for job in jobs}


def done(client: httpx.Client, batch_id: str) -> bool:
    return bool(client.get(f"/batch/{batch_id}").json()["done"])


def workers(client: httpx.Client) -> int:
    """How many worker processes report to be alive."""
    return int(client.get("/stats").json()["workers"]["processes"])


def test_two_workers_share_the_jobs_and_do_each_once(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, count = light_settings(redis_url, tmp_path), 16
    with light_service(settings) as client:
        with light_worker(settings, pace=0.1), light_worker(settings, pace=0.1):
            eventually(lambda: workers(client) == 2, "both workers are there")
            batch_id = batch(client, small_jpeg, count)
            eventually(lambda: done(client, batch_id), "all jobs end")
        jobs = statuses(client, batch_id)
        assert set(jobs.values()) == {"completed"}
        assert client.get("/stats").json()["totals"] == {"completed": count, "failed": 0}
    assert len(files_below(tmp_path / "store" / "processed")) == count
    with connect(redis_url) as redis:
        names = [redis.hget(Job.key_for(job_id), "worker_name").decode() for job_id in jobs]
    # A name ends in the number of the process's thread and of its connection.
    assert len({name.rsplit("-", 2)[0] for name in names}) == 2


def test_a_worker_that_is_told_to_stop_finishes_what_it_does_and_takes_no_more(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, count = light_settings(redis_url, tmp_path), 5
    with light_service(settings) as client:
        batch_id = batch(client, small_jpeg, count)
        with light_worker(settings, pace=1.0) as process:

            def at_work() -> set[str]:
                now = statuses(client, batch_id)
                return {job for job, status in now.items() if status == "processing"}

            running = eventually(at_work, "jobs are running")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        left = statuses(client, batch_id)
        assert {left[job] for job in running} == {"completed"}
        assert set(left.values()) == {"completed", "submitted"}
        assert workers(client) == 0
        assert client.get("/queue-status").json()["retrying"] == 0
        with light_worker(settings):
            eventually(lambda: done(client, batch_id), "another worker does the others")
        assert client.get("/stats").json()["totals"] == {"completed": count, "failed": 0}


def test_a_worker_that_is_told_to_stop_leaves_even_when_redis_is_away(
    own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    settings = light_settings(own_valkey.url, tmp_path)
    with light_service(settings) as client, light_worker(settings) as process:
        eventually(lambda: workers(client) == 1, "the worker is there")
        own_valkey.kill()
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_jobs_of_a_killed_worker_are_run_again_and_counted_once(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, count = light_settings(redis_url, tmp_path, abandoned_after=5), 6
    with light_service(settings) as client, ExitStack() as others:
        batch_id = batch(client, small_jpeg, count)
        with light_worker(settings, pace=1.0) as process:
            eventually(
                lambda: {"completed", "processing"} <= set(statuses(client, batch_id).values()),
                "a job is done and another one runs",
            )
            process.kill()
            process.wait()
        cut_off = [job for job, now in statuses(client, batch_id).items() if now == "processing"]
        assert cut_off
        others.enter_context(light_worker(settings))
        eventually(lambda: done(client, batch_id), "all jobs end", seconds=120)
        assert set(statuses(client, batch_id).values()) == {"completed"}
        assert len(files_below(tmp_path / "store" / "processed")) == count
        assert client.get("/stats").json()["totals"] == {"completed": count, "failed": 0}


class Limping:
    """A service whose only worker has the network for faces, but not the one for all else."""

    def __init__(self, settings: Settings, client: httpx.Client, early: JobSpec) -> None:
        self.settings = settings
        self.client = client
        self.early = early

    def metrics(self) -> dict[str, int]:
        """The worker's own counts of ended tries, by outcome."""
        port = self.settings.worker_metrics_port
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        counts: Counter[str] = Counter()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == "blurline_jobs_total":
                    counts[sample.labels["outcome"]] += int(sample.value)
        return dict(counts)


@pytest.fixture(scope="module")
def limping(tmp_path_factory: pytest.TempPathFactory, zidane: bytes) -> Iterator[Limping]:
    folder = tmp_path_factory.mktemp("limping")
    source = find(load_settings().face_model).source
    (folder / "models").mkdir()
    shutil.copy(source.path_in(load_settings().model_dir), folder / "models")
    valkey = ValkeyServer(folder / "valkey")
    valkey.start()
    settings = settings_for(
        valkey.url, folder, model_dir=folder / "models", worker_metrics_port=free_port()
    )
    # While no worker says what it has, a job is taken that nobody will be able to do.
    early = job_spec(pipeline="blur", targets=("face", "car"))
    open_vault(settings, open_store(settings)).put(
        early.job_id, early.kind, zidane, early.to_order()
    )
    Queues(connect(valkey.url), settings, {}).submit([early])
    try:
        with serving(settings) as client, worker(environment_of(settings)):
            eventually(lambda: workers(client) == 1, "the worker is there")
            yield Limping(settings, client, early)
    finally:
        valkey.stop()


def test_the_metrics_of_a_worker_are_for_its_own_machine_unless_a_setting_says_otherwise(
    limping: Limping,
) -> None:
    port = limping.settings.worker_metrics_port
    listening = [
        found.laddr.ip
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr.port == port
    ]
    assert listening == ["127.0.0.1"]
    assert limping.metrics() is not None


def test_a_worker_without_a_network_does_what_does_not_need_it(
    limping: Limping, zidane: bytes
) -> None:
    job = upload(limping.client, zidane, targets="face", pipeline="blur")
    answer = ended(limping.client, job)
    assert answer["status"] == "completed"
    assert answer["results"]["blur_metadata"]["counts"]["face"] >= 2


def test_a_job_is_never_done_without_a_network_that_it_needs(limping: Limping) -> None:
    answer = ended(limping.client, limping.early.job_id)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "model_missing")
    result = limping.client.get(f"/result/{limping.early.job_id}")
    assert refusal(result) == (409, "job_failed")


def test_health_says_which_targets_lack_their_network(limping: Limping) -> None:
    answer = limping.client.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["status"] == "degraded"
    found = {name: target["status"] for name, target in health["targets"].items()}
    assert (found["face"], found["car"], found["person"]) == ("ok", "missing", "missing")


@pytest.mark.parametrize(
    "options",
    [
        {"targets": "car", "pipeline": "blur"},
        {"targets": "face,person", "pipeline": "blur"},
        {"targets": "face", "pipeline": "blur_detect"},
        {},
    ],
    ids=["target", "one of two targets", "stage", "defaults"],
)
def test_what_needs_a_missing_network_is_answered_422(
    limping: Limping, zidane: bytes, options: dict[str, str]
) -> None:
    answer = limping.client.post("/upload", files={"file": zidane}, data=options)
    assert refusal(answer) == (422, "model_missing")


def test_a_damaged_picture_is_tried_once_and_its_status_says_why(
    limping: Limping, zidane: bytes
) -> None:
    before = limping.metrics()
    job = upload(limping.client, zidane[:20_000], targets="face", pipeline="blur")
    answer = ended(limping.client, job)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "corrupt_image")
    assert answer["results"] is None
    assert limping.client.get("/queue-status").json()["retrying"] == 0
    after = limping.metrics()
    assert after["failed"] == before.get("failed", 0) + 1
    assert after.get("retried", 0) == before.get("retried", 0)


def test_a_worker_shows_its_own_metrics(limping: Limping, zidane: bytes) -> None:
    before = limping.metrics()
    ended(limping.client, upload(limping.client, zidane, targets="face", pipeline="blur"))
    assert limping.metrics()["completed"] == before.get("completed", 0) + 1


def test_a_worker_without_any_network_says_what_to_do_and_ends(
    redis_url: str, tmp_path: Path
) -> None:
    nowhere = tmp_path / "none"
    settings = settings_for(
        redis_url, tmp_path, model_dir=nowhere, plate_model=str(nowhere / "plates.onnx")
    )
    ending = subprocess.run(
        [sys.executable, str(ROOT / "worker.py")],
        env={**os.environ, **environment_of(settings)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ending.returncode == 1
    assert "blurline models pull" in ending.stderr
    assert "Traceback" not in ending.stderr
