"""Several queues: each job goes where its pipeline's jobs wait, and comes back there when lost."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Worker
from rq.job import Job

from blurline.errors import SettingsError
from blurline.jobs.job import JobStatus
from blurline.pipeline_architecture import pipelines as real_pipelines
from blurline.queue.queues import Queues
from blurline.settings import Settings, load_settings
from blurline.stages.pipeline import Family, Pipeline
from blurline.storage.objects import open_store
from blurline.worker.reconciler import OLDER_THAN, open_reconciler
from blurline.worker.service import networks_of, served_queues
from tests.parts import QUEUE, ROOT, Unseeing, eventually, files_below, job_spec
from tests.queue_parts import SECOND, THIRD, Town, pipelines, town

NAMES = {QUEUE: "one", SECOND: "two", THIRD: "three"}
"""A pipeline of each queue."""


@pytest.fixture
def here(redis_url: str, tmp_path: Path) -> Town:
    return town(redis_url, tmp_path)


# Where a job waits, and by which terms


def test_a_job_waits_in_the_queue_of_its_pipeline(here: Town) -> None:
    specs = [job_spec(pipeline=name) for name in ("three", "one", "two", "one")]
    here.queues.submit(specs)
    assert here.waiting() == {
        QUEUE: [specs[1].job_id, specs[3].job_id],
        SECOND: [specs[2].job_id],
        THIRD: [specs[0].job_id],
    }
    assert {state.status for state in here.queues.states(s.job_id for s in specs) if state} == {
        JobStatus.SUBMITTED
    }


def test_a_job_of_a_pipeline_that_is_gone_waits_in_the_first_queue(here: Town) -> None:
    spec = job_spec(pipeline="removed")
    here.queues.submit([spec])
    assert here.waiting() == {QUEUE: [spec.job_id]}


def test_a_job_may_take_as_long_as_the_slowest_pipeline_of_its_queue(here: Town) -> None:
    known = pipelines(here.settings)
    slow = Queues(here.redis, here.settings, {**known, "slow": replace(known["two"], patience=300)})
    specs = [job_spec(pipeline=name) for name in NAMES.values()]
    slow.submit(specs)
    timeouts = [Job.fetch(spec.job_id, here.redis).timeout for spec in specs]
    assert timeouts == [here.settings.job_timeout, 300, 901]


def test_a_queue_that_is_full_leaves_room_in_the_others(redis_url: str, tmp_path: Path) -> None:
    here = town(redis_url, tmp_path, max_queue_size=2)
    many = [job_spec(pipeline="two") for _ in range(3)] + [job_spec(pipeline="one")]
    assert [place.value for place in here.queues.submit(many)] == [
        "queued",
        "queued",
        "full",
        "queued",
    ]


def test_a_job_is_forgotten_wherever_it_waits(here: Town) -> None:
    specs = [job_spec(pipeline=name, owner="key-a") for name in NAMES.values()]
    here.queues.submit(specs, shared=99)
    for spec in specs:
        assert here.queues.forget(spec.job_id)
    assert here.waiting() == {}
    assert not here.redis.keys("blurline:places:*")
    assert here.queues.known(spec.job_id for spec in specs) == [False] * 3


# Who serves which


def test_a_process_serves_all_queues_unless_it_is_told(here: Town) -> None:
    served = served_queues(here.settings, here.queues)
    assert list(served) == list(here.queues) == [QUEUE, SECOND, THIRD]
    assert served[QUEUE] == here.settings.worker_threads
    assert min(served.values()) >= 1
    told = here.settings.model_copy(update={"worker_queues": f" {THIRD}:3 , {QUEUE}"})
    assert served_queues(told, here.queues) == {THIRD: 3, QUEUE: here.settings.worker_threads}


@pytest.mark.parametrize("text", ["a:0", "a:x", "a:", ":3", "a,a:2", "a:-1", "a:1.5"])
def test_words_that_name_no_queues_and_numbers_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="WORKER_QUEUES"):
        load_settings(worker_queues=text)


def test_a_worker_of_a_queue_that_there_is_not_does_not_start(here: Town) -> None:
    told = here.settings.model_copy(update={"worker_queues": "anothr_queue"})
    with pytest.raises(SettingsError, match="no queue anothr_queue"):
        served_queues(told, here.queues)


def test_a_worker_takes_jobs_of_the_queues_that_it_serves_alone(
    here: Town, small_jpeg: bytes
) -> None:
    specs = {name: here.submit(name, small_jpeg) for name in NAMES.values()}
    with here.process("worker", WORKER_QUEUES=f"{SECOND}:1,{THIRD}:2"):
        for name in ("two", "three"):
            eventually(lambda name=name: here.completed(specs[name]), f"{name} is done")
        workers = [sorted(worker.queue_names()) for worker in Worker.all(here.redis)]
    assert here.waiting() == {QUEUE: [specs["one"].job_id]}
    # rq moves a job from one queue; from several it pops it, and loses it if it dies then.
    assert sorted(workers) == [[SECOND], [THIRD], [THIRD]]


class Enlarging(Unseeing):
    """A stage that has a network."""

    networks = frozenset({"enlarger"})


def test_a_worker_needs_the_networks_of_its_queues_alone() -> None:
    """A chain waits in the queue of its last pipeline, and may begin with any that redacts."""
    settings = load_settings()
    privacy = list(real_pipelines(settings).values())[:2]
    other = Pipeline("up", "", Family.TRANSFORM, (Enlarging(),), settings.transform_queue, 600)
    redacting = set(privacy[0].networks)
    known = [*privacy, other]
    assert set(networks_of([settings.queue_name], known)) == redacting
    assert set(networks_of([settings.transform_queue], known)) == redacting | {"enlarger"}
    assert networks_of(["another_queue"], known) == []


# What is lost comes back


@pytest.mark.parametrize("served", [(QUEUE, SECOND), (QUEUE, SECOND, THIRD)], ids=["two", "three"])
def test_a_worker_that_is_killed_between_taking_and_beginning_loses_nothing(
    here: Town, tmp_path: Path, small_jpeg: bytes, served: tuple[str, ...]
) -> None:
    queues = ",".join(f"{name}:1" for name in served)
    last = NAMES[served[-1]]
    trap = {"FAULT": "taken:die", "FAULT_ONCE": str(tmp_path / "once"), "WORKER_QUEUES": queues}
    with here.process("worker", **trap) as dying:
        spec = here.submit(last, small_jpeg)
        assert dying.wait(60) < 0
    assert not here.waiting()
    assert here.queues.known([spec.job_id]) == [True]
    others = [here.submit(NAMES[name], small_jpeg) for name in served]
    with here.process("worker", WORKER_QUEUES=queues):
        for one in (spec, *others):
            eventually(lambda one=one: here.completed(one), "it is done all the same")


def test_what_a_dead_worker_of_another_queue_had_taken_is_given_back(
    here: Town, small_jpeg: bytes
) -> None:
    """By whoever lives, whichever queues it serves."""
    spec = here.submit("three", small_jpeg)
    queue = here.queues[THIRD].rq
    here.redis.lmove(queue.key, queue.intermediate_queue_key)
    with here.process("worker", WORKER_QUEUES=QUEUE):
        eventually(lambda: here.waiting() == {THIRD: [spec.job_id]}, "it waits again")


def test_without_a_worker_an_upkeep_brings_back_what_waits_for_its_next_try_or_is_lost(
    here: Town, tmp_path: Path, small_jpeg: bytes
) -> None:
    taken, due, lost = (
        {queue: here.submit(name, small_jpeg).job_id for queue, name in NAMES.items()}
        for _ in range(3)
    )
    for name, queue in here.queues.items():
        rq = queue.rq
        here.redis.lrem(queue.key, 1, due[name])
        here.redis.zadd(rq.scheduled_job_registry.key, {due[name]: time.time() - 1})
        here.redis.lmove(queue.key, rq.intermediate_queue_key)  # a worker has died with `taken`
        here.queues.forget(lost[name])
    long_ago = time.time() - 2 * OLDER_THAN.total_seconds()
    for path in files_below(tmp_path / "store" / "keys"):
        os.utime(path, (long_ago, long_ago))
    wanted = {name: {taken[name], due[name], lost[name]} for name in NAMES}
    with here.process("upkeep"):
        eventually(
            lambda: {name: set(ids) for name, ids in here.waiting().items()} == wanted,
            "all of it waits again, each in its queue",
        )


def test_an_upkeep_imports_no_engine_and_no_pixels() -> None:
    heavy = ["openvino", "onnxruntime", "torch", "cv2", "numpy"]
    code = (
        "import sys, blurline.cli.upkeep, blurline.entry.upkeep;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "[]"


class Counting:
    """A store that counts how often it is listed."""

    def __init__(self, settings: Settings) -> None:
        self._store, self.lists = open_store(settings), 0

    def __getattr__(self, name: str) -> Any:
        self.lists += name == "older"
        return getattr(self._store, name)


def test_jobs_that_redis_forgot_come_back_each_into_its_own_queue_by_one_look(
    here: Town, small_jpeg: bytes
) -> None:
    specs = {queue: here.submit(name, small_jpeg) for queue, name in NAMES.items()}
    here.redis.flushall()
    store = Counting(here.settings)
    found = open_reconciler(here.settings, here.queues, store, here.originals).reconcile(  # type: ignore[arg-type]
        older_than=timedelta(0)
    )
    assert found.requeued == len(specs)
    assert here.waiting() == {queue: [spec.job_id] for queue, spec in specs.items()}
    one = Counting(here.settings)
    alone = Queues(here.redis, here.settings, {})
    open_reconciler(here.settings, alone, one, here.originals).reconcile(older_than=timedelta(0))  # type: ignore[arg-type]
    assert store.lists == one.lists
