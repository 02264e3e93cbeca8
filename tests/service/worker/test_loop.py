"""How jobs end whatever becomes of their workers: one works in this very thread, and its death is
played without waiting for it. `test_worker_processes` has the real ones."""

import inspect
import json
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rq.job import Job

from blurline.errors import QueueUnavailableError
from blurline.imaging.trial import check_harmless
from blurline.jobs import processor
from blurline.jobs.job import JobRecord, JobSpec, JobStatus
from blurline.jobs.records import Batch
from blurline.queue.jobqueue import JobQueue
from blurline.queue.queuedjob import RETRY_SECONDS, TASK, VERSION
from blurline.queue.stats import Stats
from blurline.storage import keys
from blurline.storage.objects import ObstoreStore
from blurline.worker.keeper import LOST
from blurline.worker.loop import ImageWorker
from tests.parts import serving
from tests.plays import Flow, Play, begin, finish, half, nothing


def test_a_job_of_a_lost_worker_is_run_again(playing: Any, small_jpeg: bytes) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(begin)
    assert play.state(spec) is JobStatus.PROCESSING
    play.miss_the_lost()
    assert play.state(spec) is JobStatus.SUBMITTED
    play.next_try()
    play.work()
    assert play.state(spec) is play.record(spec).status is JobStatus.COMPLETED
    assert play.totals().completed == 1


def test_a_job_that_loses_every_worker_ends_failed(playing: Any, small_jpeg: bytes) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    for _ in range(1 + len(RETRY_SECONDS)):
        play.next_try()
        play.lose_a_worker(begin)
        play.miss_the_lost()
    assert play.state(spec) is JobStatus.FAILED
    error = play.record(spec).error
    assert error is not None
    assert error.code == "worker_lost"
    assert (play.totals().completed, play.totals().failed) == (0, 1)


def test_a_picture_that_ends_its_reader_is_not_given_to_another_worker(
    playing: Any, small_jpeg: bytes, large_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process that tries it has no memory for so many pixels, and dies.
    monkeypatch.setattr(processor, "check_harmless", partial(check_harmless, memory=20 << 20))
    play = playing()
    harmful, other = play.submit(large_jpeg), play.submit(small_jpeg)
    play.lose_a_worker(begin)
    play.miss_the_lost()
    play.next_try()
    play.work()
    play.work()
    error = play.record(harmful).error
    assert error is not None
    assert error.code == "corrupt_image"
    assert play.state(harmful) is JobStatus.FAILED
    assert play.state(other) is JobStatus.COMPLETED


def test_a_done_job_is_not_run_again_when_its_end_was_not_heard_of(
    playing: Any, small_jpeg: bytes, tmp_path: Path
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(finish)
    record = play.record(spec)
    # Whoever runs it again has no picture to do so.
    play.store.delete(spec.input.key)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED
    assert play.record(spec) == record
    assert (play.totals().completed, play.totals().failed) == (1, 0)


def told(play: Play, spec: JobSpec) -> set[str]:
    """The job's status by each route that tells it."""
    with serving(play.settings) as client:
        status = client.get(f"/status/{spec.job_id}").json()["status"]
        (job,) = client.get(f"/batch/{spec.job_id}").json()["jobs"]
    return {status, job["status"]}


def test_a_job_that_was_done_in_its_last_try_is_not_called_failed(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    play.records.write_batch(spec.job_id, Batch([spec.job_id]), time.time())
    for death in (*[begin] * len(RETRY_SECONDS), finish):
        play.next_try()
        play.lose_a_worker(death)
        play.miss_the_lost()
    assert (play.totals().completed, play.totals().failed) == (1, 0)
    assert told(play, spec) == {"completed"}


def test_a_job_that_was_given_up_stays_so_when_its_worker_comes_back(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing(flow := Flow())
    spec = play.submit(small_jpeg)
    play.records.write_batch(spec.job_id, Batch([spec.job_id]), time.time())
    for _ in RETRY_SECONDS:
        play.next_try()
        play.lose_a_worker(begin)
        play.miss_the_lost()
    play.next_try()

    # While it is at work, the others take it for dead.
    flow.acts.append(play.miss_the_lost)
    play.work()
    assert (play.totals().completed, play.totals().failed) == (0, 1)
    assert told(play, spec) == {"failed"}


def test_a_job_that_was_taken_and_never_begun_is_run_again(playing: Any, small_jpeg: bytes) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(nothing)
    assert play.queues.first.depth() == 0
    play.miss_the_lost()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_a_job_that_was_just_taken_for_its_second_try_is_not_given_back(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)

    def be_slow_to_begin(hands: ImageWorker, job: Job) -> None:
        play.keeper.keep()
        begin(hands, job)

    play.lose_a_worker(be_slow_to_begin)
    play.miss_the_lost()
    play.next_try()
    play.lose_a_worker(lambda hands, job: play.keeper.keep())
    assert play.queues.first.depth() == 0, f"{spec.job_id} waits although a worker has it"


def test_a_done_job_is_not_queued_again_for_a_worker_that_was_lost_on_the_way(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(half)
    play.miss_the_lost()
    play.next_try()
    play.work()
    play.miss_the_lost()
    assert play.state(spec) is JobStatus.COMPLETED
    assert play.queues.first.depth() == 0


def test_a_job_that_redis_has_forgotten_is_not_given_back_for_ever(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(nothing)
    play.redis.delete(Job.key_for(spec.job_id))
    play.miss_the_lost()
    assert play.queues.first.depth() == 0
    assert not play.redis.llen(JobQueue(play.redis, play.settings).rq.intermediate_queue_key)


def test_a_job_that_nobody_can_read_does_not_keep_others_from_being_run_again(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    JobQueue(play.redis, play.settings).rq.enqueue_call(TASK, job_id="unreadable")
    play.lose_a_worker(begin)
    spec = play.submit(small_jpeg)
    play.lose_a_worker(begin)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_of_a_job_that_is_given_up_no_result_of_an_earlier_try_stays(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    for name in (keys.processed(spec.job_id, spec.kind), keys.certificate(spec.job_id)):
        play.store.put(name, b"of a worker that died behind its put", "x/x")
    play.runner.endings.give_up(spec.job_id, LOST)
    assert play.record(spec).error == LOST
    assert play.store.get(keys.processed(spec.job_id, spec.kind)) is None
    assert play.store.get(keys.certificate(spec.job_id)) is None


@pytest.mark.parametrize(
    ("picture", "code"), [(None, "original_missing"), (b"\xff\xd8\xff", "not_an_image")]
)
def test_a_bad_picture_fails_at_once(playing: Any, picture: bytes | None, code: str) -> None:
    play = playing()
    spec = play.submit(picture)
    play.work()
    assert play.state(spec) is JobStatus.FAILED
    assert play.waits() == []
    error = play.record(spec).error
    assert error is not None
    assert error.code == code
    assert play.totals().failed == 1


def test_an_error_that_may_pass_is_tried_again_after_growing_waits(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing(Flow(*[ValueError("may pass")] * 6))
    spec = play.submit(small_jpeg)
    waits = []
    for _ in RETRY_SECONDS:
        play.work()
        assert play.records.find(spec.job_id) is None
        waits += play.waits()
        play.keeper.keep()
    assert waits == [pytest.approx(seconds, abs=1.5) for seconds in RETRY_SECONDS]
    play.work()
    assert play.state(spec) is JobStatus.FAILED
    error = play.record(spec).error
    assert error is not None
    assert error.code == "processing_failed"
    assert play.totals().failed == 1


def test_a_job_whose_store_is_away_waits_for_its_return(
    playing: Any, small_jpeg: bytes, tmp_path: Path
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    play.work()
    assert play.state(spec) is JobStatus.SUBMITTED
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_a_job_that_takes_too_long_is_stopped_and_its_worker_goes_on(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing(Flow(30.0), job_timeout=1)
    slow, next_ = play.submit(small_jpeg), play.submit(small_jpeg)
    play.work(jobs=2)
    assert play.state(slow) is JobStatus.SUBMITTED
    assert len(play.waits()) == 1
    assert play.state(next_) is JobStatus.COMPLETED


def test_an_errors_words_come_neither_into_redis_nor_into_the_log(
    playing: Any, small_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    play = playing(Flow(ValueError("face of mister x")))
    spec = play.submit(small_jpeg)
    play.redis.hset(Job.key_for(spec.job_id), "retries_left", 0)
    play.work()
    result = Job.fetch(spec.job_id, play.redis).latest_result()
    assert result is not None
    told = f"{result.exc_string} {caplog.text}"
    assert "ValueError" in told
    assert inspect.getfile(Flow) in told
    assert "mister x" not in told


def test_a_job_whose_end_could_not_be_counted_is_counted_by_its_next_try(
    playing: Any, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)

    def be_away(stats: Stats, record: JobRecord) -> None:
        raise QueueUnavailableError("Redis does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Stats, "record", be_away)
        play.work()
    assert play.record(spec).status is JobStatus.COMPLETED
    assert play.totals().completed == 0
    for _ in range(2):
        play.next_try()
        play.work()
        assert play.totals().completed == 1
        JobQueue(play.redis, play.settings).rq.enqueue_job(Job.fetch(spec.job_id, play.redis))
    assert play.state(spec) is JobStatus.SUBMITTED


def test_a_record_whose_write_was_not_answered_is_the_jobs_end_all_the_same(
    playing: Any, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = playing(originals="delete")
    spec = play.submit(small_jpeg)
    create = ObstoreStore.create

    def lose_the_answer(store: ObstoreStore, key: str, data: bytes, kind: str) -> bool:
        # What the client of the store does then: it asks again.
        create(store, key, data, kind)
        return create(store, key, data, kind)

    with monkeypatch.context() as patch:
        patch.setattr(ObstoreStore, "create", lose_the_answer)
        play.work()
    assert play.state(spec) is JobStatus.COMPLETED
    assert play.totals().completed == 1
    assert play.store.get(spec.input.key) is None


def rewrite(play: Play, spec: JobSpec, *message: Any) -> None:
    """Have the job's message in Redis be another one."""
    data = zlib.compress(json.dumps(message).encode())
    play.redis.hset(Job.key_for(spec.job_id), "data", data)


@pytest.mark.parametrize(
    "rest", [([], {}), ([["face"], "mosaic"], {}), ([], {"version": 1})], ids=["2", "1", "named"]
)
def test_a_message_of_an_earlier_version_is_believed(
    playing: Any, small_jpeg: bytes, rest: tuple[Any, ...]
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    rewrite(play, spec, TASK, None, *rest)
    play.work()
    assert play.record(spec).status is JobStatus.COMPLETED


def test_a_message_of_a_later_version_waits_for_a_worker_that_knows_it(
    playing: Any, small_jpeg: bytes
) -> None:
    play = playing()
    spec = play.submit(small_jpeg)
    rewrite(play, spec, TASK, None, [], {"version": VERSION + 1})
    play.work()
    assert play.state(spec) is JobStatus.SUBMITTED
    assert play.records.find(spec.job_id) is None
    assert len(play.waits()) == 1
