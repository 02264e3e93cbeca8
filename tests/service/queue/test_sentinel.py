"""Redis found through Sentinel, with real servers: what is accepted outlives its primary."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blurline.errors import QueueUnavailableError, SettingsError
from blurline.jobs.job import JobStatus
from blurline.queue.connection import SENTINEL_PORT, connect
from blurline.queue.jobqueue import Submission
from blurline.queue.queues import Queues
from tests.parts import (
    environment_of,
    eventually,
    free_port,
    job_spec,
    serving,
    settings_for,
    worker,
)
from tests.sentinels import HOST, SERVICE, SentinelGroup


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    group = SentinelGroup(tmp_path / "group")
    try:
        group.start()
        yield group
    finally:
        group.stop()


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a",
        "redis+sentinel:///service",
        "redis+sentinel://a,/service",
        "redis+sentinel://a:port/service",
        "redis+sentinel://a/service/database",
        "redis+sentinel://a/service?socket_timeout=9",
        "redis+sentinel://a/service?sentinel_password",
    ],
)
def test_a_url_that_names_sentinels_badly_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        connect(url)


def test_every_part_of_the_url_is_used() -> None:
    url = "rediss+sentinel://user:p%40ss@a:1,b,[::1]:3/{}/2?sentinel_username=watch&sentinel_password=w"
    pool = connect(url.format("blur%20line")).connection_pool
    assert pool.service_name == "blur line"  # type: ignore[attr-defined]
    chosen = pool.connection_kwargs
    assert (chosen["username"], chosen["password"], chosen["db"]) == ("user", "p@ss", 2)
    sentinels = [one.connection_pool for one in pool.sentinel_manager.sentinels]  # type: ignore[attr-defined]
    addresses = [(s.connection_kwargs["host"], s.connection_kwargs["port"]) for s in sentinels]
    assert addresses == [("a", 1), ("b", SENTINEL_PORT), ("::1", 3)]
    for of_sentinel in sentinels:
        assert of_sentinel.connection_kwargs["username"] == "watch"
        assert of_sentinel.connection_kwargs["password"] == "w"  # noqa: S105
        assert "SSL" in of_sentinel.connection_class.__name__
    assert "SSL" in pool.connection_class.__name__


def test_sentinels_that_are_away_and_a_service_they_do_not_know_are_a_queue_that_is_away(
    group: SentinelGroup, tmp_path: Path
) -> None:
    nobody = f"redis+sentinel://{HOST}:{free_port()}/{SERVICE}"
    stranger = group.url.replace(SERVICE, "stranger")
    for url in (nobody, stranger):
        with pytest.raises(QueueUnavailableError):
            Queues(connect(url), settings_for(url, tmp_path), {}).check()


def test_a_client_asks_the_next_sentinel_and_follows_the_primary(
    group: SentinelGroup, tmp_path: Path
) -> None:
    url = group.url.replace("://", f"://{HOST}:{free_port()},")
    queue = Queues(connect(url), settings_for(url, tmp_path), {})
    spec = job_spec()
    assert queue.submit([spec]) == [Submission.QUEUED]
    group.kill(group.ports[0])
    with pytest.raises(QueueUnavailableError):
        queue.check()

    def state() -> JobStatus | None:
        try:
            (found,) = queue.states([spec.job_id])
        except QueueUnavailableError:
            return None
        assert found is not None
        return found.status

    assert eventually(state, "the replica is the primary") is JobStatus.SUBMITTED
    assert group.primary() == group.ports[1]
    assert queue.submit([job_spec()]) == [Submission.QUEUED]
    assert queue.first.depth() == 2


def sent(client: httpx.Client, photo: bytes, name: str) -> str | None:
    """The job's id if the picture was accepted; None for a service that said it can't now."""
    answer = client.post("/upload", files={"file": (name, photo)})
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "queue_unavailable"
        return None
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


@pytest.mark.long
def test_the_service_goes_on_after_a_failover_and_no_accepted_job_is_lost(
    tmp_path: Path, small_jpeg: bytes
) -> None:
    group = SentinelGroup(tmp_path / "group", sentinels=3, down_after=1)
    accepted: list[str] = []
    refused = 0
    ending = threading.Event()
    try:
        group.start()
        settings = settings_for(group.url, tmp_path)
        with serving(settings) as client, worker(environment_of(settings)):

            def send() -> None:
                nonlocal refused
                while not ending.is_set():
                    job_id = sent(client, small_jpeg, f"{len(accepted)}.jpg")
                    if job_id is None:
                        refused += 1
                    else:
                        accepted.append(job_id)
                    time.sleep(0.05)

            sender = threading.Thread(target=send)
            sender.start()
            try:
                eventually(lambda: len(accepted) >= 40, "jobs are accepted")
                group.kill(group.ports[0])
                eventually(lambda: group.primary() == group.ports[1], "the replica is promoted")
                before = len(accepted)
                eventually(lambda: len(accepted) >= before + 40, "jobs are accepted again")
            finally:
                ending.set()
                sender.join()

            def done(job_id: str) -> bool:
                answer = client.get(f"/status/{job_id}")
                if answer.status_code == 503:
                    return False
                assert answer.status_code == 200, f"{job_id}: {answer.text}"
                assert answer.json()["status"] != "failed", answer.text
                return bool(answer.json()["status"] == "completed")

            for job_id in accepted:
                eventually(lambda job_id=job_id: done(job_id), f"{job_id} is done", 120)  # type: ignore[misc]
            assert refused, "the failover was not felt, so nothing was shown"
    finally:
        group.stop()
