"""One caller can't take all places of the queue, nor all requests by one batch."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from blurline.access.caller import Caller
from blurline.access.rate import RateLimit
from blurline.errors import RateLimitedError
from blurline.intake.backpressure import BackPressure
from blurline.jobs.job import JobSpec
from blurline.queue.connection import connect
from blurline.queue.jobqueue import JobQueue, Submission
from tests.callers import House, bearer, key_settings
from tests.parts import files_below, fresh, job_spec, refusal, serving, settings_for
from tests.plays import Play

QUEUED, SHARE, FULL = Submission.QUEUED, Submission.SHARE, Submission.FULL


@pytest.fixture
def queue(redis_url: str, tmp_path: Path) -> JobQueue:
    return JobQueue(connect(redis_url), settings_for(redis_url, tmp_path, max_queue_size=12))


def of(owner: str | None, count: int) -> list[JobSpec]:
    return [job_spec(owner=owner) for _ in range(count)]


def places(
    queue: JobQueue, owner: str | None, count: int, shared: int | None = 12
) -> list[Submission]:
    return queue.submit(of(owner, count), shared=shared)


def test_a_caller_gets_as_many_places_as_it_leaves_free(queue: JobQueue) -> None:
    assert places(queue, "key-a", 12) == [QUEUED] * 6 + [SHARE] * 6
    assert places(queue, "key-b", 12) == [QUEUED] * 3 + [SHARE] * 9
    assert places(queue, "key-c", 12) == [QUEUED] * 2 + [SHARE] * 10
    assert places(queue, "key-a", 1) == [SHARE]
    assert places(queue, "key-d", 2) == [QUEUED, FULL]


def test_a_caller_who_holds_nothing_gets_the_last_place(queue: JobQueue) -> None:
    for number in range(12):
        assert places(queue, f"key-{number}", 1) == [QUEUED]
    assert places(queue, "key-late", 1) == [FULL]


@pytest.mark.parametrize(("owner", "shared"), [("key-a", None), (None, 12), (None, None)])
def test_who_is_alone_or_not_asked_may_have_all_places(
    queue: JobQueue, owner: str | None, shared: int | None
) -> None:
    assert places(queue, owner, 13, shared) == [QUEUED] * 12 + [FULL]


def test_a_share_of_one_is_all(redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(redis_url, tmp_path, max_queue_size=4, max_queue_share=1)
    assert places(JobQueue(connect(redis_url), settings), "key-a", 5, 4) == [QUEUED] * 4 + [FULL]


def test_a_job_that_is_taken_or_deleted_holds_no_place_any_more(
    playing: Any, small_jpeg: bytes
) -> None:
    play: Play = playing(max_queue_size=4)
    own = of("key-a", 2)
    for spec in own:
        order = replace(spec, pipeline="test").to_order()
        play.runner._processor.originals.put(spec.job_id, spec.kind, small_jpeg, order)
    assert play.queues.submit([*own, *of("key-a", 1)], shared=4) == [QUEUED, QUEUED, SHARE]
    play.work()
    assert places(play.queues.first, "key-a", 2, 4) == [QUEUED, SHARE]
    play.queues.forget(own[1].job_id)
    assert places(play.queues.first, "key-a", 2, 4) == [QUEUED, SHARE]


def test_what_was_accepted_before_has_a_place_whoever_holds_how_many(queue: JobQueue) -> None:
    lost = of("key-a", 20)
    assert queue.submit(lost, accepted=True) == [QUEUED] * 20
    assert places(queue, "key-a", 1) == [FULL]
    assert queue.room("key-a", 100, 100) is QUEUED
    assert queue.room("key-a", 100, 30) is SHARE
    assert queue.room("key-b", 100, 30) is QUEUED


def test_redis_forgets_who_held_places(queue: JobQueue) -> None:
    places(queue, "key-a", 2)
    (name,) = queue.redis.keys("blurline:places:*")
    assert 0 < queue.redis.ttl(name) <= 86400


# By the API


@pytest.fixture
def crowded(redis_url: str, tmp_path: Path) -> Iterator[House]:
    """A service of two callers and four places."""
    granted, path = key_settings(tmp_path, {"greedy": "submit,read", "other": "submit,read"})
    settings = settings_for(redis_url, tmp_path, api_keys_file=path, max_queue_size=4)
    with serving(settings) as client:
        yield House(client, settings, granted)


def batch(house: House, who: str, picture: bytes, count: int) -> httpx.Response:
    files = [("files", (f"{number}.jpg", picture)) for number in range(count)]
    headers = {**bearer(house.keys[who]), **fresh()}
    return house.client.post("/batch-upload", files=files, headers=headers)


def test_one_batch_leaves_places_for_another_caller(crowded: House, small_jpeg: bytes) -> None:
    answer = batch(crowded, "greedy", small_jpeg, 6).json()
    assert (answer["submitted"], answer["rejected"]) == (2, 4)
    assert {job["error"]["code"] for job in answer["jobs"] if job["error"]} == {"queue_full"}
    before = files_below(crowded.settings.data_dir / "store")

    for path, field in (("/upload", "file"), ("/batch-upload", "files"), ("/blur/", "picture")):
        files = {field: ("a.jpg", small_jpeg)}
        refused = crowded.request("POST", path, "greedy", files=files)
        assert refusal(refused) == (429, "queue_full")
        assert "share" in refused.json()["error"]["message"]
        assert int(refused.headers["Retry-After"]) >= 1
    assert files_below(crowded.settings.data_dir / "store") == before, "nothing is stored in vain"
    crowded.upload(small_jpeg, "other")


def test_a_caller_whose_key_is_the_only_one_may_fill_the_queue(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    granted, path = key_settings(tmp_path, {"only": "submit", "reader": "read"})
    settings = settings_for(redis_url, tmp_path, api_keys_file=path, max_queue_size=4)
    with serving(settings) as client:
        answer = batch(House(client, settings, granted), "only", small_jpeg, 6).json()
    assert (answer["submitted"], answer["rejected"]) == (4, 2)


class Paced:
    """Vitals of workers that take so long for each job."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def seconds_each(self) -> float | None:
        return self.seconds


@pytest.mark.parametrize(("each", "shared"), [(None, 12), (0.5, 12), (10.0, 6), (100.0, 0)])
def test_callers_share_what_is_worked_off_in_time(
    queue: JobQueue, each: float | None, shared: int
) -> None:
    found = BackPressure(queue, Paced(each), 12, 60, several=lambda: True)  # type: ignore[arg-type]
    assert found.shared() == shared
    assert replace(found, several=lambda: False).shared() is None


# Requests and pictures


CALLER = Caller("key-a", frozenset())


def test_a_batch_counts_by_its_pictures(redis_url: str, tmp_path: Path, small_jpeg: bytes) -> None:
    granted, path = key_settings(tmp_path, {"one": "submit", "two": "submit"})
    settings = settings_for(redis_url, tmp_path, api_keys_file=path, rate_limit="5/hour")
    with serving(settings) as client:
        house = House(client, settings, granted)
        assert batch(house, "one", small_jpeg, 3).status_code == 202
        store = files_below(tmp_path / "store")
        refused = batch(house, "one", small_jpeg, 3)
        assert refusal(refused) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 3000
        assert files_below(tmp_path / "store") == store
        assert batch(house, "two", small_jpeg, 5).status_code == 202
        never = batch(house, "two", small_jpeg, 6)
        assert refusal(never) == (429, "rate_limited")


def test_a_batch_that_is_always_too_large_is_told_so(redis_url: str) -> None:
    limit = RateLimit(connect(redis_url), "5/hour")
    with pytest.raises(RateLimitedError, match="smaller batches"):
        limit.take(CALLER, 5)
        limit.take(CALLER, 5)


def test_what_one_of_several_limits_refuses_does_not_count_for_the_others(redis_url: str) -> None:
    limit = RateLimit(connect(redis_url), "10/day; 3/hour")
    for _ in range(20):
        with pytest.raises(RateLimitedError, match="3 requests"):
            limit.take(CALLER, 4)
    limit.take(CALLER, 3)
    with Redis.from_url(redis_url) as redis:
        assert sorted(redis.llen(key) for key in redis.scan_iter("*limits*")) == [3, 3]
