"""The queue as its callers see it, the totals that workers add up, and who is alive."""

import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import ResponseError
from rq.job import Job

from blurline.errors import QueueUnavailableError, SettingsError
from blurline.jobs.job import JobError, JobRecord, JobSpec, JobStatus, failed
from blurline.queue.connection import connect, reason
from blurline.queue.jobqueue import RETRY_SECONDS, VERSION, JobQueue, QueueCounts
from blurline.queue.presence import ALIVE_SECONDS, Hands, Presence, WorkerReport
from blurline.queue.queues import Queues
from blurline.queue.stats import Stats
from blurline.settings import Settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from tests.parts import QUEUE, ValkeyServer, done, image_worker, job_spec, runner, settings_for

NOW = 1_800_000_000.0
BROKEN = JobError("corrupt_image", "the picture's data is damaged")
REPORT = WorkerReport("w1", 4, 1, ("yunet",), 12.5, 10**8, 0.0, queues={QUEUE: Hands(4, 1)})


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return settings_for(redis_url, tmp_path, result_ttl=100, failure_ttl=200)


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return connect(redis_url)


@pytest.fixture
def queue(redis: Redis, settings: Settings) -> Queues:
    return Queues(redis, settings, {})


@pytest.fixture
def stats(redis: Redis) -> Stats:
    return Stats(redis)


def ended(at: float, latency: float = 1.0, **others: Any) -> JobRecord:
    """The record of a job that was completed at that time."""
    return done(job_spec(submitted_at=at - latency), at, **{"seconds": 0.5, **others})


def trivial(settings: Settings, picture: bytes | None) -> JobSpec:
    """A job that needs no network; it fails for good if there is no picture."""
    spec = job_spec(pipeline="test", targets=())
    store = open_store(settings)
    open_vault(settings, store).put(spec.job_id, spec.kind, picture or b"", spec.to_order())
    if picture is None:
        store.delete(spec.input.key)
    return spec


def run(settings: Settings, queue: Queues, *specs: JobSpec) -> None:
    """Submit the jobs and run each of them once."""
    queue.submit(specs)
    with image_worker(settings, runner(settings)) as worker:
        worker.work(max_jobs=len(specs), logging_level="WARNING")


def test_a_submitted_job_waits(queue: Queues) -> None:
    before, spec = time.time(), job_spec()
    queue.submit([spec])
    (state,) = queue.states([spec.job_id])
    assert state is not None
    assert state.status is JobStatus.SUBMITTED
    assert before - 1 <= state.updated_at <= time.time() + 1
    assert queue.first.depth() == 1


def test_jobs_that_were_never_submitted_have_no_state(queue: Queues) -> None:
    known, unknown = job_spec(), job_spec()
    queue.submit([known])
    states = queue.states([unknown.job_id, known.job_id, unknown.job_id])
    assert [state and state.status for state in states] == [None, JobStatus.SUBMITTED, None]


def test_jobs_are_taken_in_the_order_of_their_submission(
    queue: Queues, redis: Redis, settings: Settings
) -> None:
    specs = [job_spec() for _ in range(5)]
    queue.submit(specs[:3])
    queue.submit(specs[3:])
    with image_worker(settings, runner(settings)) as worker:
        taken = [worker.dequeue_job_and_maintain_ttl(None) for _ in specs]
    assert [found and found[0].id for found in taken] == [spec.job_id for spec in specs]


def test_an_empty_queue_counts_nothing(queue: Queues) -> None:
    assert queue.first.counts() == QueueCounts(0, 0, 0, 0, 0.0)


def test_every_job_is_counted_where_it_is(
    queue: Queues, settings: Settings, tmp_path: Path, small_jpeg: bytes
) -> None:
    bad, fine = trivial(settings, None), trivial(settings, small_jpeg)
    run(settings, queue, bad, fine)
    retried, running, waiting = (trivial(settings, small_jpeg) for _ in range(3))
    queue.submit([retried, running, waiting])
    with image_worker(settings, runner(settings)) as worker:
        (tmp_path / "store" / "processed").rename(tmp_path / "elsewhere")
        (tmp_path / "store" / "processed").write_text("in the way")
        worker.work(max_jobs=1, logging_level="WARNING")
        found = worker.dequeue_job_and_maintain_ttl(None)
        assert found is not None
        worker.prepare_job_execution(found[0], remove_from_intermediate_queue=True)

    counts = queue.first.counts()
    assert replace(counts, oldest_age=0.0) == QueueCounts(1, 1, 1, 1, 0.0)
    assert 0 < counts.oldest_age < 60
    ids = [spec.job_id for spec in (bad, fine, retried, running, waiting)]
    assert [state and state.status.value for state in queue.states(ids)] == [
        "failed",
        "completed",
        "submitted",
        "processing",
        "submitted",
    ]


def test_messages_say_nothing_but_that_a_job_waits(queue: Queues, redis: Redis) -> None:
    spec = job_spec(filename="mister-x-at-home.jpg", callback_url="https://hook.example.org/t0ken")
    queue.submit([spec])
    values = redis.hgetall(f"rq:job:{spec.job_id}")
    message = json.loads(zlib.decompress(values[b"data"]))
    assert message == ["blurline.queue.task.process_image", None, [], {"version": VERSION}]
    said = b"".join(values.values())
    assert not [word for word in (b"mister-x", b"t0ken", b"mosaic") if word in said]


def test_a_jobs_description_does_not_repeat_its_file_name(queue: Queues, redis: Redis) -> None:
    spec = job_spec(filename="mister-x-at-home.jpg")
    queue.submit([spec])
    values = redis.hgetall(f"rq:job:{spec.job_id}")
    assert not [name for name, value in values.items() if b"mister-x" in value]


def test_a_job_has_a_time_limit_and_tries_with_growing_waits(
    queue: Queues, redis: Redis, settings: Settings
) -> None:
    spec = job_spec()
    queue.submit([spec])
    job = Job.fetch(spec.job_id, redis)
    assert job.timeout == settings.job_timeout
    assert job.retries_left == len(RETRY_SECONDS)
    assert job.retry_intervals == list(RETRY_SECONDS) == sorted(RETRY_SECONDS)


def left_of(redis: Redis, spec: JobSpec) -> dict[bytes, int]:
    """What Redis still holds of the job: each key with its seconds to live, -1 for ever."""
    return {key: redis.ttl(key) for key in redis.scan_iter(f"*{spec.job_id}*")}


@pytest.mark.parametrize(("good", "ttl"), [(True, 100), (False, 200)], ids=["done", "failed"])
def test_redis_forgets_an_ended_job_in_time(
    queue: Queues, redis: Redis, settings: Settings, small_jpeg: bytes, good: bool, ttl: int
) -> None:
    spec = trivial(settings, small_jpeg if good else None)
    run(settings, queue, spec)
    left = left_of(redis, spec)
    assert left
    assert all(0 < seconds <= ttl for seconds in left.values()), left


@pytest.mark.parametrize("good", [True, False], ids=["done", "failed"])
def test_redis_forgets_an_ended_job_at_once_if_told_so(
    redis_url: str, redis: Redis, tmp_path: Path, small_jpeg: bytes, good: bool
) -> None:
    settings = settings_for(redis_url, tmp_path, result_ttl=0, failure_ttl=0)
    queue, spec = Queues(redis, settings, {}), trivial(settings, small_jpeg if good else None)
    run(settings, queue, spec)
    assert queue.states([spec.job_id]) == [None]
    assert -1 not in left_of(redis, spec).values()


CALLS: dict[str, Callable[[Redis, Settings], object]] = {
    "submit": lambda redis, settings: Queues(redis, settings, {}).submit([job_spec()]),
    "depth": lambda redis, settings: JobQueue(redis, settings).depth(),
    "states": lambda redis, settings: Queues(redis, settings, {}).states([job_spec().job_id]),
    "counts": lambda redis, settings: JobQueue(redis, settings).counts(),
    "check": lambda redis, settings: Queues(redis, settings, {}).check(),
    "totals": lambda redis, settings: Stats(redis).totals(),
    "window": lambda redis, settings: Stats(redis).window(60),
    "record": lambda redis, settings: Stats(redis).record(ended(NOW)),
    "alive": lambda redis, settings: Presence(redis, QUEUE).alive(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_redis_that_is_away_is_said_to_be(
    tmp_path: Path, call: Callable[[Redis, Settings], object]
) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    with pytest.raises(QueueUnavailableError):
        call(connect(url), settings_for(url, tmp_path))


def test_a_redis_that_refuses_says_why(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    with own_valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-@all")
    queue = Queues(connect(own_valkey.url), settings_for(own_valkey.url, tmp_path), {})
    with pytest.raises(QueueUnavailableError, match="the queue refuses: NoPermissionError"):
        queue.check()


def test_the_reason_of_a_refusal_is_redis_code_and_quotes_nothing() -> None:
    assert reason(ResponseError("DENIED Redis is running in protected mode")) == "DENIED"
    assert reason(ResponseError("unknown command 'secret'")) == "ResponseError"
    assert reason(ResponseError("SECRETKEY")) == "ResponseError"


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:6379", "redis://127.0.0.1:port"])
def test_a_url_of_no_redis_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        connect(url)


def test_a_new_service_has_no_figures(stats: Stats) -> None:
    totals = stats.totals()
    assert (totals.completed, totals.failed) == (0, 0)
    assert totals.success_rate is None
    assert totals.mean_processing_seconds is None
    assert totals.latency_percentile(0.5) is None


def test_ended_jobs_are_added_up(stats: Stats) -> None:
    stats.record(ended(NOW, seconds=1.0))
    stats.record(ended(NOW, seconds=2.0, tally={"redacted:face": 2}))
    stats.record(ended(NOW, seconds=6.0, tally={"redacted:face": 3, "redacted:car": 1}))
    stats.record(failed(job_spec(), BROKEN, NOW))
    totals = stats.totals()
    assert (totals.completed, totals.failed) == (3, 1)
    assert totals.success_rate == 0.75
    assert totals.mean_processing_seconds == pytest.approx(3.0)
    assert totals.redactions == {"car": 1, "face": 5}


def test_objects_are_counted_with_their_mean_confidence(stats: Stats) -> None:
    for scores in ((0.5, 0.7), (0.9,), ()):
        objects = [{"label": "dog", "confidence": score} for score in scores]
        objects.append({"label": "traffic light", "confidence": 0.25})
        tally: Counter[str] = Counter()
        for found in objects:
            tally[f"seen:{found['label']}"] += 1
            tally[f"confidence:{found['label']}"] += found["confidence"]
        stats.record(ended(NOW, tally=tally))
    seen = stats.totals().detections
    assert {label: found.count for label, found in seen.items()} == {"dog": 3, "traffic light": 3}
    assert seen["dog"].mean_confidence == pytest.approx(0.7)
    assert seen["traffic light"].mean_confidence == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("age", "windows"),
    [
        (0, {60, 300, 900}),
        (45, {60, 300, 900}),
        (75, {300, 900}),
        (285, {300, 900}),
        (315, {900}),
        (885, {900}),
        (915, set()),
        (-15, set()),
    ],
)
def test_a_window_holds_the_jobs_that_ended_in_it(
    stats: Stats, age: int, windows: set[int]
) -> None:
    stats.record(ended(NOW - age))
    found = {seconds for seconds in (60, 300, 900) if stats.window(seconds, NOW).completed}
    assert found == windows


def test_figures_of_a_window_are_forgotten_when_no_window_shows_them(
    stats: Stats, redis: Redis
) -> None:
    stats.record(ended(time.time()))
    buckets = [key for key in redis.scan_iter("blurline:stats:*") if key[-1:].isdigit()]
    assert [900 < redis.ttl(key) <= 1000 for key in buckets] == [True]


SPREADS = {
    "all alike, 21 ms": [0.021] * 50,
    "all alike, 1 s": [1.0] * 50,
    "all alike, 7.7 s": [7.7] * 50,
    "one job": [0.3],
    "even": np.linspace(0.05, 5, 400).tolist(),
    "long tail": np.random.default_rng(1).lognormal(size=500).tolist(),
    "two humps": [0.1] * 300 + [30.0] * 100,
}


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("latencies", SPREADS.values(), ids=SPREADS)
def test_percentiles_are_right_to_within_15_percent(
    stats: Stats, latencies: list[float], share: float
) -> None:
    for latency in latencies:
        stats.record(ended(NOW, latency))
    exact = sorted(latencies)[math.ceil(share * len(latencies)) - 1]
    assert stats.window(60, NOW).latency_percentile(share) == pytest.approx(exact, rel=0.15)


def test_who_reports_is_alive_until_it_leaves(redis: Redis) -> None:
    presence = Presence(redis, QUEUE)
    first = replace(REPORT, reported_at=time.time())
    second = replace(first, name="w2", models=())
    presence.report(second)
    presence.report(first)
    assert presence.alive() == [first, second]
    presence.leave("w1")
    assert presence.alive() == [second]


def test_a_report_replaces_the_one_before(redis: Redis) -> None:
    presence = Presence(redis, QUEUE)
    report = replace(REPORT, reported_at=time.time())
    presence.report(report)
    presence.report(replace(report, busy=4))
    assert [worker.busy for worker in presence.alive()] == [4]


def test_reports_of_earlier_and_of_later_releases_are_read(redis: Redis) -> None:
    """Those of earlier ones are of workers that know the first queue alone."""
    now = replace(REPORT, reported_at=time.time(), precisions={"yunet": "bf16"})
    told = asdict(now)
    earlier = {name: told[name] for name in told if name not in ("precisions", "queues")}
    presence = Presence(redis, QUEUE)
    for report, precisions in ((earlier, {}), ({**told, "later": 1}, {"yunet": "bf16"})):
        redis.hset("blurline:workers", "w1", json.dumps(report))
        assert presence.alive() == [replace(now, precisions=precisions)]


def test_reports_of_the_dead_vanish(redis: Redis) -> None:
    presence = Presence(redis, QUEUE)
    presence.report(replace(REPORT, reported_at=time.time() - ALIVE_SECONDS - 1))
    assert presence.alive() == []
    assert redis.hlen("blurline:workers") == 0
