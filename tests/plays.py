"""A worker in this very thread, whose death is played without waiting for it."""

import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from rq.job import Job

from blurline.jobs.job import JobRecord, JobSpec, JobStatus
from blurline.jobs.records import open_records
from blurline.queue.connection import connect
from blurline.queue.jobqueue import JobQueue
from blurline.queue.queues import Queues
from blurline.queue.stats import Stats, Totals
from blurline.settings import Settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from blurline.worker.keeper import Keeper
from blurline.worker.loop import ImageWorker
from blurline.worker.runner import JobRunner
from tests.parts import Unseeing, image_worker, job_spec, runner


class Play:
    """A queue, its keeper, and one worker in this thread whose jobs need no network."""

    def __init__(self, settings: Settings, *stages: Any) -> None:
        self.settings = settings
        self.redis: Redis = connect(settings.redis_url or "")
        self.queues = Queues(self.redis, settings, {})
        self.store = open_store(settings)
        self.records = open_records(settings, self.store)
        self.runner: JobRunner = runner(settings, *stages)
        self.now = 0.0
        self.keeper = Keeper(
            self.queues,
            self.runner.endings,
            settings.abandoned_after,
            clock=lambda: self.now,
        )

    def submit(self, picture: bytes | None) -> JobSpec:
        spec = job_spec(pipeline="test", targets=())
        vault = open_vault(self.settings, self.store)
        vault.put(spec.job_id, spec.kind, picture or b"", spec.to_order())
        if picture is None:
            self.store.delete(spec.input.key)
        self.queues.submit([spec])
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
        (state,) = self.queues.states([spec.job_id])
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
        key = JobQueue(self.redis, self.settings).rq.scheduled_job_registry.key
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


class Flow(Unseeing):
    """A stage that treats one picture after the other as told: an error, a wait, or a call."""

    name = "flow"

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
