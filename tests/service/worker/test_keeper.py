"""Who is taken for lost, whatever clocks say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rq.job import Job

from blurline.jobs.job import JobStatus
from blurline.queue.jobqueue import JobQueue
from blurline.queue.queuedjob import RETRY_SECONDS
from tests.parts import image_worker
from tests.plays import Flow, begin, nothing


@contextmanager
def clock_off_by(seconds: float) -> Iterator[None]:
    """Lets rq and us read a clock that is wrong."""
    apart, right = timedelta(seconds=seconds), time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: right() + seconds)
        for module in ("rq.utils", "rq.registry", "rq.scheduler", "rq.executions", "rq.job"):
            patch.setattr(f"{module}.now", lambda: datetime.now(UTC) + apart, raising=False)
        yield


AN_HOUR_OFF = pytest.mark.parametrize("apart", [3600, -3600], ids=["ahead", "behind"])


@AN_HOUR_OFF
def test_no_job_is_taken_from_a_worker_whose_clock_is_another(
    playing: Any, small_jpeg: bytes, apart: int
) -> None:
    play = playing(flow := Flow())
    spec = play.submit(small_jpeg)

    def beat_and_be_watched() -> None:
        for _ in range(10):
            play.now += play.settings.abandoned_after / 4
            with clock_off_by(play.now):
                hands.beat()
            with clock_off_by(play.now + apart):
                play.keeper.keep()

    flow.acts.append(beat_and_be_watched)
    with image_worker(play.settings, play.runner) as hands:
        hands.work(max_jobs=1, logging_level="WARNING")
    assert play.state(spec) is JobStatus.COMPLETED
    assert play.waits() == []
    assert Job.fetch(spec.job_id, play.redis).retries_left == len(RETRY_SECONDS)


@AN_HOUR_OFF
def test_a_lost_worker_is_missed_whatever_its_clock_said(
    playing: Any, small_jpeg: bytes, apart: int
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    with clock_off_by(apart):
        play.lose_a_worker(begin)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_no_job_is_taken_from_a_worker_because_the_keeper_was_away_itself(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    running, taken = play.submit(small_jpeg), play.submit(small_jpeg)
    play.lose_a_worker(begin)
    play.lose_a_worker(nothing)
    for _ in range(3):
        play.keeper.keep()
        play.now += 100 * play.settings.abandoned_after
    play.keeper.keep()
    assert play.state(running) is JobStatus.PROCESSING
    assert play.queues.first.depth() == 0, f"{taken.job_id} was given back"


def test_a_try_is_not_put_off_by_an_hour_because_a_clock_was_put_back(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing(Flow(ValueError("may pass")))
    spec = play.submit(small_jpeg)
    play.work()
    key = JobQueue(play.redis, play.settings).rq.scheduled_job_registry.key
    play.redis.zadd(key, {spec.job_id: time.time() + 3600})
    play.keeper.keep()
    assert play.waits() == [pytest.approx(RETRY_SECONDS[-1], abs=2)]
