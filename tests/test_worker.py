"""How jobs end whatever becomes of their workers: one works in this very thread, and its death is
played without waiting for it. `test_worker_processes` has the real ones."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis
from rq.job import Job

from blurline.errors import QueueUnavailableError
from blurline.imaging.trial import check_harmless
from blurline.jobs import processor
from blurline.jobs.job import JobRecord, JobSpec, JobStatus
from blurline.jobs.records import Batch, Records
from blurline.queue.connection import connect
from blurline.queue.jobqueue import RETRY_SECONDS, TASK, JobQueue, rq_queue
from blurline.queue.keeper import Keeper
from blurline.queue.stats import Stats, Totals
from blurline.queue.task import JobRunner
from blurline.queue.worker import ImageWorker
from blurline.settings import Settings
from blurline.storage.objects import ObstoreStore, open_store
from blurline.storage.vault import open_vault
from tests.parts import (
    image_worker,
    job_spec,
    runner,
    serving,
    settings_for,
)


class Scene:
    """A queue, its keeper, and one worker in this thread whose jobs need no network."""

    def __init__(self, settings: Settings, *stages: Any) -> None:
        self.settings = settings
        self.redis: Redis = connect(settings.redis_url or "")
        self.queue = JobQueue(self.redis, settings)
        self.store = open_store(settings)
        self.records = Records(self.store)
        self.runner: JobRunner = runner(settings, *stages)
        self.now = 0.0
        self.keeper = Keeper(
            rq_queue(self.redis, settings),
            self.runner,
            settings.abandoned_after,
            clock=lambda: self.now,
        )

    def submit(self, picture: bytes | None) -> JobSpec:
        spec = job_spec(pipeline="test", targets=())
        if picture is not None:
            open_vault(self.settings, self.store).put(spec.job_id, spec.kind, picture)
        self.queue.submit([spec])
        return spec

    def work(self, jobs: int = 1) -> None:
        """Let a worker run so many tries."""
        with image_worker(self.settings, self.runner) as hands:
            hands.work(max_jobs=jobs, logging_level="WARNING")

    def lose_a_worker(self, after: Callable[[ImageWorker, Job], None]) -> None:
        """A worker takes the next job and is not heard of again after what it did with it."""
        with image_worker(self.settings, self.runner) as hands:
            found = hands.dequeue_job_and_maintain_ttl(None)
            assert found is not None
            after(hands, found[0])

    def state(self, spec: JobSpec) -> JobStatus:
        (state,) = self.queue.states([spec.job_id])
        assert state is not None
        return state.status

    def record(self, spec: JobSpec) -> JobRecord:
        record = self.records.find(spec.job_id)
        assert record is not None
        return record

    def totals(self) -> Totals:
        return Stats(self.redis).totals()

    def waits(self) -> list[float]:
        """Seconds until the next try of each job that waits for one, which then is due at once."""
        key = rq_queue(self.redis, self.settings).scheduled_job_registry.key
        found = self.redis.zrange(key, 0, -1, withscores=True)
        for job_id, _ in found:
            self.redis.zadd(key, {job_id: 0})
        return [due - time.time() for _, due in found]

    def next_try(self) -> None:
        """Let the waiting of all jobs be over."""
        self.waits()
        self.keeper.keep()

    def miss_the_lost(self) -> None:
        """Let so much time pass that whoever has given no sign is taken for dead."""
        for _ in range(6):
            self.keeper.keep()
            self.now += self.settings.abandoned_after / 4
        self.keeper.keep()


@pytest.fixture
def scene(redis_url: str, tmp_path: Path) -> Callable[..., Scene]:
    """A scene of the given stages and settings."""
    return lambda *stages, **settings: Scene(settings_for(redis_url, tmp_path, **settings), *stages)


def nothing(hands: ImageWorker, job: Job) -> None:
    """Die before the job is begun."""


def half(hands: ImageWorker, job: Job) -> None:
    """Die when the job is known to be run, but is still on the list of those just taken."""
    hands.prepare_execution(job)


def begin(hands: ImageWorker, job: Job) -> None:
    """Die in the midst of the job."""
    hands.prepare_execution(job)
    hands.prepare_job_execution(job, remove_from_intermediate_queue=True)


def finish(hands: ImageWorker, job: Job) -> None:
    """Die when the job is done, before Redis hears of it."""
    begin(hands, job)
    job.perform()


class Flow:
    """A stage that treats one picture after the other as told: an error, a wait, or a call."""

    name = "flow"
    targets: ClassVar[dict[str, Any]] = {}
    models = required_models = frozenset[str]()

    def __init__(self, *acts: Exception | float | Callable[[], object]) -> None:
        self.acts = list(acts)

    def run(self, frame: Any, options: Any, detectors: Any) -> Any:
        act = self.acts.pop(0) if self.acts else 0.0
        if isinstance(act, Exception):
            raise act
        if callable(act):
            act()
            return frame
        end = time.monotonic() + act
        while time.monotonic() < end:
            time.sleep(0.01)
        return frame


def test_a_job_of_a_lost_worker_is_run_again(scene: Any, small_jpeg: bytes) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(begin)
    assert play.state(spec) is JobStatus.PROCESSING
    play.miss_the_lost()
    assert play.state(spec) is JobStatus.SUBMITTED
    play.next_try()
    play.work()
    assert play.state(spec) is play.record(spec).status is JobStatus.COMPLETED
    assert play.totals().completed == 1


def test_a_job_that_loses_every_worker_ends_failed(scene: Any, small_jpeg: bytes) -> None:
    play = scene()
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
    scene: Any, small_jpeg: bytes, large_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process that tries it has no memory for so many pixels, and dies.
    monkeypatch.setattr(processor, "check_harmless", partial(check_harmless, memory=50 << 20))
    play = scene()
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
    scene: Any, small_jpeg: bytes, tmp_path: Path
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(finish)
    record = play.record(spec)
    # Whoever runs it again has no picture to do so.
    play.store.delete(spec.original)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED
    assert play.record(spec) == record
    assert (play.totals().completed, play.totals().failed) == (1, 0)


def told(play: Scene, spec: JobSpec) -> set[str]:
    """The job's status by each route that tells it."""
    with serving(play.settings) as client:
        status = client.get(f"/status/{spec.job_id}").json()["status"]
        (job,) = client.get(f"/batch/{spec.job_id}").json()["jobs"]
    return {status, job["status"]}


def test_a_job_that_was_done_in_its_last_try_is_not_called_failed(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    play.records.write_batch(spec.job_id, Batch([spec.job_id]), time.time())
    for death in (*[begin] * len(RETRY_SECONDS), finish):
        play.next_try()
        play.lose_a_worker(death)
        play.miss_the_lost()
    assert (play.totals().completed, play.totals().failed) == (1, 0)
    assert told(play, spec) == {"completed"}


def test_a_job_that_was_given_up_stays_so_when_its_worker_comes_back(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene(flow := Flow())
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


def test_a_job_that_was_taken_and_never_begun_is_run_again(scene: Any, small_jpeg: bytes) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(nothing)
    assert play.queue.depth() == 0
    play.miss_the_lost()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_a_job_that_was_just_taken_for_its_second_try_is_not_given_back(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)

    def be_slow_to_begin(hands: ImageWorker, job: Job) -> None:
        play.keeper.keep()
        begin(hands, job)

    play.lose_a_worker(be_slow_to_begin)
    play.miss_the_lost()
    play.next_try()
    play.lose_a_worker(lambda hands, job: play.keeper.keep())
    assert play.queue.depth() == 0, f"{spec.job_id} waits although a worker has it"


def test_a_done_job_is_not_queued_again_for_a_worker_that_was_lost_on_the_way(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(half)
    play.miss_the_lost()
    play.next_try()
    play.work()
    play.miss_the_lost()
    assert play.state(spec) is JobStatus.COMPLETED
    assert play.queue.depth() == 0


def test_a_job_that_redis_has_forgotten_is_not_given_back_for_ever(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    play.lose_a_worker(nothing)
    play.redis.delete(Job.key_for(spec.job_id))
    play.miss_the_lost()
    assert play.queue.depth() == 0
    assert not play.redis.llen(rq_queue(play.redis, play.settings).intermediate_queue_key)


def test_a_job_that_nobody_can_read_does_not_keep_others_from_being_run_again(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene()
    message = {**job_spec().to_message(), "of_tomorrow": 1}
    rq_queue(play.redis, play.settings).enqueue_call(TASK, kwargs=message, job_id="unreadable")
    play.lose_a_worker(begin)
    spec = play.submit(small_jpeg)
    play.lose_a_worker(begin)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("picture", "code"), [(None, "original_missing"), (b"\xff\xd8\xff", "not_an_image")]
)
def test_a_bad_picture_fails_at_once(scene: Any, picture: bytes | None, code: str) -> None:
    play = scene()
    spec = play.submit(picture)
    play.work()
    assert play.state(spec) is JobStatus.FAILED
    assert play.waits() == []
    error = play.record(spec).error
    assert error is not None
    assert error.code == code
    assert play.totals().failed == 1


def test_an_error_that_may_pass_is_tried_again_after_growing_waits(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene(Flow(*[ValueError("may pass")] * 6))
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
    scene: Any, small_jpeg: bytes, tmp_path: Path
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    play.work()
    assert play.state(spec) is JobStatus.SUBMITTED
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_a_job_that_takes_too_long_is_stopped_and_its_worker_goes_on(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene(Flow(30.0), job_timeout=1)
    slow, next_ = play.submit(small_jpeg), play.submit(small_jpeg)
    play.work(jobs=2)
    assert play.state(slow) is JobStatus.SUBMITTED
    assert len(play.waits()) == 1
    assert play.state(next_) is JobStatus.COMPLETED


def test_an_errors_words_come_neither_into_redis_nor_into_the_log(
    scene: Any, small_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    play = scene(Flow(ValueError("face of mister x")))
    spec = play.submit(small_jpeg)
    play.redis.hset(Job.key_for(spec.job_id), "retries_left", 0)
    play.work()
    result = Job.fetch(spec.job_id, play.redis).latest_result()
    assert result is not None
    told = f"{result.exc_string} {caplog.text}"
    assert "ValueError" in told
    assert __file__ in told
    assert "mister x" not in told


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
    scene: Any, small_jpeg: bytes, apart: int
) -> None:
    play = scene(flow := Flow())
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
    scene: Any, small_jpeg: bytes, apart: int
) -> None:
    play = scene()
    spec = play.submit(small_jpeg)
    with clock_off_by(apart):
        play.lose_a_worker(begin)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED


def test_no_job_is_taken_from_a_worker_because_the_keeper_was_away_itself(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene()
    running, taken = play.submit(small_jpeg), play.submit(small_jpeg)
    play.lose_a_worker(begin)
    play.lose_a_worker(nothing)
    for _ in range(3):
        play.keeper.keep()
        play.now += 100 * play.settings.abandoned_after
    play.keeper.keep()
    assert play.state(running) is JobStatus.PROCESSING
    assert play.queue.depth() == 0, f"{taken.job_id} was given back"


def test_a_try_is_not_put_off_by_an_hour_because_a_clock_was_put_back(
    scene: Any, small_jpeg: bytes
) -> None:
    play = scene(Flow(ValueError("may pass")))
    spec = play.submit(small_jpeg)
    play.work()
    key = rq_queue(play.redis, play.settings).scheduled_job_registry.key
    play.redis.zadd(key, {spec.job_id: time.time() + 3600})
    play.keeper.keep()
    assert play.waits() == [pytest.approx(RETRY_SECONDS[-1], abs=2)]


def test_a_job_whose_end_could_not_be_counted_is_counted_by_its_next_try(
    scene: Any, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = scene()
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
        rq_queue(play.redis, play.settings).enqueue_job(Job.fetch(spec.job_id, play.redis))
    assert play.state(spec) is JobStatus.SUBMITTED


def test_a_record_whose_write_was_not_answered_is_the_jobs_end_all_the_same(
    scene: Any, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = scene(originals="delete")
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
    assert play.store.get(spec.original) is None
