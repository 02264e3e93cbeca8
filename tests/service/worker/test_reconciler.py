"""A queue that was lost comes back out of the store, each job once."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from blurline.cli.main import app
from blurline.errors import StoreUnavailableError
from blurline.imaging.kind import Kind
from blurline.jobs.job import JobError, JobSpec, failed
from blurline.jobs.orders import find_order
from blurline.jobs.records import open_records
from blurline.queue.connection import connect
from blurline.queue.jobqueue import Submission
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.objects import open_store
from blurline.storage.vault import Originals, open_vault
from blurline.worker.reconciler import (
    DONE_PREFIX,
    OLDER_THAN,
    Reconciled,
    Reconciler,
    Recovery,
    open_reconciler,
)
from tests.parts import (
    ended,
    environment_of,
    eventually,
    files_below,
    image_worker,
    job_spec,
    runner,
    serving,
    settings_for,
    upload,
    worker,
)
from tests.service.intake.test_fingerprints import die_between_store_and_queue

NOW = timedelta(0)
BROKEN = JobError("corrupt_image", "the picture's data is damaged")


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return settings_for(redis_url, tmp_path)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def reconciler(settings: Settings) -> Reconciler:
    store = open_store(settings)
    redis = connect(settings.redis_url or "")
    return open_reconciler(
        settings, Queues(redis, settings, {}), store, open_vault(settings, store)
    )


def stored(settings: Settings, picture: bytes = b"a picture", **others: str) -> JobSpec:
    """A job whose picture is stored, and that nobody has queued."""
    spec = job_spec(pipeline="test", targets=(), **others)
    vault = open_vault(settings, open_store(settings))
    vault.put(spec.job_id, spec.kind, picture, spec.to_order())
    return spec


def waiting(redis: Redis) -> list[str]:
    return [one.decode() for one in redis.lrange("rq:queue:image_processing_queue", 0, -1)]


def aged(folder: Path, seconds: float) -> None:
    """As if every file had been written so long ago."""
    then = time.time() - seconds
    for path in files_below(folder):
        os.utime(path, (then, then))


@pytest.mark.parametrize("policy", Originals)
def test_lost_jobs_are_queued_again_as_they_were_handed_in(
    settings: Settings, redis: Redis, tmp_path: Path, policy: Originals
) -> None:
    settings = settings_for(settings.redis_url or "", tmp_path, originals=policy.value)
    first = stored(settings, owner="key-camera-7", callback_url="https://photos.example.org/x")
    second = replace(stored(settings), submitted_at=first.submitted_at)
    found = reconciler(settings).reconcile(older_than=NOW)
    assert found == Reconciled(kept=2, lost=2, requeued=2, unreadable=0)
    assert set(waiting(redis)) == {first.job_id, second.job_id}
    with image_worker(settings, runner(settings)) as hands:
        job, _ = hands.dequeue_job_and_maintain_ttl(None) or pytest.fail("nothing waits")
        other, _ = hands.dequeue_job_and_maintain_ttl(None) or pytest.fail("nothing waits")
    assert {job.id, other.id} == {first.job_id, second.job_id}
    originals = open_vault(settings, open_store(settings))
    assert find_order(originals, first.job_id) == first
    (state,) = Queues(redis, settings, {}).states([first.job_id])
    assert state is not None
    assert state.owner == "key-camera-7"


def test_jobs_that_wait_or_ended_or_were_deleted_are_left_alone(
    settings: Settings, redis: Redis
) -> None:
    queued, over, deleted = (stored(settings) for _ in range(3))
    Queues(redis, settings, {}).submit([queued])
    records = open_records(settings, open_store(settings))
    records.commit(failed(over, BROKEN, 0.0))
    records.delete(deleted.job_id)
    found = reconciler(settings).reconcile(older_than=NOW)
    assert found == Reconciled(kept=3)
    assert waiting(redis) == [queued.job_id]


def test_uploads_under_way_are_left_alone(settings: Settings, redis: Redis, tmp_path: Path) -> None:
    spec = stored(settings)
    assert reconciler(settings).reconcile() == Reconciled()
    aged(tmp_path / "store", OLDER_THAN.total_seconds() + 1)
    assert reconciler(settings).reconcile().requeued == 1
    assert waiting(redis) == [spec.job_id]


def test_jobs_whose_record_may_have_gone_by_its_time_are_not_run_again(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    stored(settings)
    aged(tmp_path / "store", 2 * 86400)
    brief = settings_for(settings.redis_url or "", tmp_path, keep_metadata_days=2)
    assert reconciler(brief).reconcile() == Reconciled()
    aged(tmp_path / "store", 8 * 86400)
    assert reconciler(settings).reconcile() == Reconciled()
    assert waiting(redis) == []


def test_a_dry_run_queues_nothing(settings: Settings, redis: Redis) -> None:
    stored(settings)
    found = reconciler(settings).reconcile(older_than=NOW, dry_run=True)
    assert found == Reconciled(kept=1, lost=1)
    assert waiting(redis) == []


def test_an_upload_that_was_refused_is_not_queued_by_others(
    settings: Settings, redis: Redis
) -> None:
    spec = stored(settings)
    queue = Queues(redis, settings, {})
    assert queue.give_up([spec.job_id]) == [spec.job_id]
    assert queue.submit([spec]) == [Submission.GONE]
    assert reconciler(settings).reconcile(older_than=NOW).requeued == 0
    assert waiting(redis) == []


def test_a_job_that_is_queued_can_not_be_given_up(settings: Settings, redis: Redis) -> None:
    spec, queue = job_spec(), Queues(redis, settings, {})
    assert queue.submit([spec, spec]) == [Submission.QUEUED, Submission.KNOWN]
    assert queue.give_up([spec.job_id]) == []
    assert waiting(redis) == [spec.job_id]


def test_accepted_jobs_find_a_place_in_a_full_queue(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    narrow = settings_for(settings.redis_url or "", tmp_path, max_queue_size=1)
    lost, other = stored(narrow), job_spec()
    assert Queues(redis, narrow, {}).submit([other, job_spec()]) == [
        Submission.QUEUED,
        Submission.FULL,
    ]
    assert reconciler(narrow).reconcile(older_than=NOW).requeued == 1
    assert waiting(redis) == [other.job_id, lost.job_id]


def test_many_reconcilers_at_once_queue_each_job_once(settings: Settings, redis: Redis) -> None:
    jobs = {stored(settings).job_id for _ in range(12)}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: reconciler(settings).reconcile(older_than=NOW), range(4)))
    assert sum(one.requeued for one in found) == len(jobs)
    assert sorted(waiting(redis)) == sorted(jobs)


def test_a_lost_job_without_its_original_fails_with_the_reason(
    settings: Settings, redis: Redis
) -> None:
    spec, store = stored(settings), open_store(settings)
    store.delete(keys.original(spec.job_id, Kind.JPEG))
    assert reconciler(settings).reconcile(older_than=NOW).requeued == 1
    with image_worker(settings, runner(settings)) as hands:
        hands.work(max_jobs=1, logging_level="WARNING")
    record = open_records(settings, store).find(spec.job_id)
    assert record is not None
    assert record.error is not None
    assert record.error.code == "original_missing"


def test_an_order_that_was_altered_is_told_and_keeps_no_other_from_coming_back(
    settings: Settings, redis: Redis
) -> None:
    broken, whole, store = stored(settings), stored(settings), open_store(settings)
    store.put(keys.data_key(broken.job_id), b"nonsense", "application/octet-stream")
    found = reconciler(settings).reconcile(older_than=NOW)
    assert found == Reconciled(kept=2, lost=2, requeued=1, unreadable=1)
    assert waiting(redis) == [whole.job_id]


def test_the_store_is_looked_through_when_redis_has_lost_its_memory(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    recovery = Recovery(redis, reconciler(settings), settings.queue_name)
    recovery.run()
    spec = stored(settings)
    aged(tmp_path / "store", OLDER_THAN.total_seconds() + 1)
    recovery.run()
    assert waiting(redis) == [], "it has been looked through just now"
    redis.flushall()
    recovery.run()
    assert waiting(redis) == [spec.job_id]


def test_what_was_too_young_when_redis_lost_its_memory_is_looked_at_as_soon_as_it_is_not(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    recovery = Recovery(redis, reconciler(settings), settings.queue_name)
    spec = stored(settings)
    recovery.run()
    assert waiting(redis) == [], "its upload may be under way"
    rest = f"{DONE_PREFIX}{settings.queue_name}"
    assert 0 < redis.ttl(rest) <= OLDER_THAN.total_seconds()
    aged(tmp_path / "store", OLDER_THAN.total_seconds() + 1)
    redis.delete(rest)
    recovery.run()
    assert waiting(redis) == [spec.job_id]
    assert redis.ttl(rest) > OLDER_THAN.total_seconds()


def test_a_look_that_failed_is_made_again(settings: Settings, redis: Redis, tmp_path: Path) -> None:
    spec = stored(settings)
    aged(tmp_path / "store", OLDER_THAN.total_seconds() + 1)
    recovery = Recovery(redis, reconciler(settings), settings.queue_name)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailableError):
        recovery.run()
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    recovery.run()
    assert waiting(redis) == [spec.job_id]


def test_jobs_are_known_and_done_after_redis_was_emptied(
    redis_url: str, tmp_path: Path, redis: Redis, small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path)
    with serving(settings) as client:
        done = stored(settings, small_jpeg)
        Queues(redis, settings, {}).submit([done])
        with image_worker(settings, runner(settings)) as hands:
            hands.work(max_jobs=1, logging_level="WARNING")
        with image_worker(settings, runner(settings)) as hands:
            running = stored(settings, small_jpeg)
            Queues(redis, settings, {}).submit([running])
            found = hands.dequeue_job_and_maintain_ttl(None)
            assert found is not None
            hands.prepare_job_execution(found[0])
            waits = stored(settings, small_jpeg)
            Queues(redis, settings, {}).submit([waits])

            redis.flushall()

            def status(spec: JobSpec) -> str:
                return str(client.get(f"/status/{spec.job_id}").json()["status"])

            assert [status(one) for one in (done, running, waits)] == [
                "completed",
                "submitted",
                "submitted",
            ]
            assert reconciler(settings).reconcile(older_than=NOW).requeued == 2
            hands.perform_job(*found)  # the one that ran goes on all the while
        with image_worker(settings, runner(settings)) as others:
            others.work(max_jobs=2, logging_level="WARNING")
        assert {status(one) for one in (done, running, waits)} == {"completed"}
        assert waiting(redis) == []


def test_the_command_says_what_is_lost_and_brings_it_back(
    settings: Settings, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", settings.redis_url or "")
    spec = stored(settings)
    arguments = ["reconcile", "--older-than", "0", "--data-dir", str(tmp_path)]
    dry = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert (dry.exit_code, waiting(redis)) == (1, [])
    assert "lost: 1, queued again: 0" in dry.output
    real = CliRunner().invoke(app, arguments)
    assert (real.exit_code, waiting(redis)) == (0, [spec.job_id])
    assert "lost: 1, queued again: 1" in real.output
    again = CliRunner().invoke(app, arguments)
    assert (again.exit_code, waiting(redis)) == (0, [spec.job_id])


@pytest.mark.long
def test_what_an_api_stored_before_it_died_is_done_by_the_workers_themselves(
    settings: Settings, redis: Redis, tmp_path: Path, zidane: bytes
) -> None:
    die_between_store_and_queue(settings, tmp_path, zidane)
    (original,) = files_below(tmp_path / "store/original")
    aged(tmp_path / "store", OLDER_THAN.total_seconds() + 1)
    with serving(settings) as client, worker(environment_of(settings)):
        assert ended(client, original.stem)["status"] == "completed"


@pytest.mark.long
def test_no_job_is_lost_when_redis_is_emptied_under_load(
    settings: Settings, redis: Redis, tmp_path: Path, zidane: bytes, large_jpeg: bytes
) -> None:
    with serving(settings) as client:
        jobs = [upload(client, large_jpeg) for _ in range(6)]
        with worker(environment_of(settings)):
            eventually(
                lambda: client.get("/queue-status").json()["processing"], "one job is running"
            )
            # Old enough for the search that workers make by themselves within half a minute.
            aged(tmp_path / "store", OLDER_THAN.total_seconds() + 1)
            redis.flushall()
            jobs.append(upload(client, zidane))
            assert {ended(client, job, 200)["status"] for job in jobs} == {"completed"}
