"""Several queues: each job goes where its pipeline's jobs wait, and comes back there when lost."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rq import Worker
from rq.job import Job

from blurline.errors import SettingsError
from blurline.jobs.job import JobStatus
from blurline.pipeline_architecture import pipelines as real_pipelines
from blurline.queue.presence import Hands, Presence, WorkerReport
from blurline.queue.queues import Queues
from blurline.settings import Settings, load_settings
from blurline.stages.pipeline import Family, Pipeline
from blurline.storage.objects import open_store
from blurline.worker.reconciler import OLDER_THAN, open_reconciler
from blurline.worker.service import networks_of, served_queues
from tests.parts import (
    QUEUE,
    ROOT,
    Unseeing,
    done,
    eventually,
    files_below,
    fresh,
    job_spec,
    refusal,
    serving,
)
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


# What the API tells, and whom it refuses


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[tuple[Town, httpx.Client]]:
    here = town(redis_url, tmp_path, default_pipeline="one", max_queue_seconds=30)
    known = {  # without options, which are not what matters here
        name: replace(pipeline, family=Family.TRANSFORM, stages=(Unseeing(),))
        for name, pipeline in pipelines(here.settings).items()
    }
    known["blur"] = real_pipelines(here.settings)["blur"]
    with serving(here.settings, known) as client:
        yield here, client


def report(here: Town, name: str, networks: tuple[str, ...] | None = None, **threads: int) -> None:
    """As if a process were there that serves these queues, with the networks that blur."""
    if networks is None:
        networks = tuple(real_pipelines(here.settings)["blur"].networks)
    hands = {queue: Hands(count, 0) for queue, count in threads.items()}
    now = time.time() + 60
    told = WorkerReport(name, sum(threads.values()), 0, networks, 1.0, 10**8, now, queues=hands)
    Presence(here.redis, QUEUE).report(told)


def has_done(here: Town, pipeline: str, seconds: float, latency: float = 1.0) -> None:
    """As if a worker had just done a job of that pipeline."""
    now = time.time()
    spec = job_spec(pipeline=pipeline, submitted_at=now - latency)
    here.queues.of(pipeline).stats.record(done(spec, now, seconds=seconds))


def send(client: httpx.Client, picture: bytes, pipeline: str) -> httpx.Response:
    files, form = {"file": ("a.jpg", picture)}, {"pipeline": pipeline}
    return client.post("/upload", files=files, data=form, headers=fresh())


def test_a_queue_whose_work_takes_too_long_refuses_no_upload_of_another(
    api: tuple[Town, httpx.Client], small_jpeg: bytes
) -> None:
    here, client = api
    report(here, "w1", **{QUEUE: 2, SECOND: 1})
    has_done(here, "one", seconds=0.1)
    has_done(here, "two", seconds=100.0)
    here.submit("two", small_jpeg)
    assert refusal(send(client, small_jpeg, "two")) == (429, "queue_full")
    for _ in range(3):
        assert send(client, small_jpeg, "one").status_code == 202


def test_what_waits_is_told_by_queue_and_in_all(
    api: tuple[Town, httpx.Client], small_jpeg: bytes
) -> None:
    here, client = api
    report(here, "w1", **{QUEUE: 2, SECOND: 1})
    has_done(here, "one", seconds=0.5)
    has_done(here, "two", seconds=5.0)
    for pipeline in ("one", "two", "one"):
        send(client, small_jpeg, pipeline)
    told = client.get("/queue-status").json()
    assert {name: queue["depth"] for name, queue in told["queues"].items()} == {
        QUEUE: 2,
        SECOND: 1,
        THIRD: 0,
    }
    assert told["depth"] == 3
    assert told["capacity"] == 3 * here.settings.max_queue_size
    assert told["queues"][QUEUE]["estimated_seconds"] == 0.5
    assert told["queues"][THIRD]["estimated_seconds"] is None
    assert told["estimated_seconds"] == 5.0


def test_how_long_all_takes_is_not_known_while_nobody_works_on_what_waits(
    api: tuple[Town, httpx.Client], small_jpeg: bytes
) -> None:
    here, client = api
    report(here, "w1", **{QUEUE: 2})
    has_done(here, "one", seconds=0.5)
    assert client.get("/queue-status").json()["estimated_seconds"] == 0.0
    here.submit("two", small_jpeg)
    assert client.get("/queue-status").json()["estimated_seconds"] is None


def test_what_was_done_is_told_by_queue_and_in_all(api: tuple[Town, httpx.Client]) -> None:
    """Sums of releases that knew one queue are of the first one."""
    here, client = api
    report(here, "w1", **{QUEUE: 4})
    report(here, "w2", **{QUEUE: 2, SECOND: 1})
    here.redis.hset("blurline:stats:totals", mapping={"completed": 5, "failed": 2})
    has_done(here, "one", seconds=1.0)
    has_done(here, "two", seconds=3.0, latency=20.0)
    told = client.get("/stats").json()
    totals = {name: queue["totals"] for name, queue in told["queues"].items()}
    assert totals == {
        QUEUE: {"completed": 6, "failed": 2},
        SECOND: {"completed": 1, "failed": 0},
        THIRD: {"completed": 0, "failed": 0},
    }
    assert told["totals"] == {"completed": 7, "failed": 2}
    seconds = {name: queue["mean_processing_seconds"] for name, queue in told["queues"].items()}
    assert seconds == {QUEUE: 1.0, SECOND: 3.0, THIRD: None}
    assert told["mean_processing_seconds"] == 2.0
    assert told["queues"][SECOND]["latency_seconds"]["p50"] > 10
    assert told["queues"][QUEUE]["workers"] == {"processes": 2, "threads": 6, "busy": 0}
    assert told["workers"] == {"processes": 2, "threads": 7, "busy": 0}
    assert set(told["queue"]["queues"]) == set(NAMES)


def test_shared_metrics_are_told_by_queue(
    api: tuple[Town, httpx.Client], small_jpeg: bytes
) -> None:
    here, client = api
    report(here, "w1", **{QUEUE: 4})
    has_done(here, "two", seconds=3.0)
    send(client, small_jpeg, "two")
    found: dict[tuple[str, str], float] = {
        (sample.name, sample.labels["queue"]): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if "queue" in sample.labels and sample.labels.get("outcome", "completed") == "completed"
    }
    assert found["blurline_queue_depth", SECOND] == 1
    assert found["blurline_queue_depth", QUEUE] == 0
    assert found["blurline_images_total", SECOND] == 1
    assert found["blurline_queue_worker_processes", QUEUE] == 1
    assert found["blurline_queue_worker_processes", THIRD] == 0
    assert found["blurline_worker_threads", QUEUE] == 4
    assert ("blurline_queue_estimated_seconds", SECOND) not in found


def test_a_worker_of_another_queue_makes_no_target_missing(redis_url: str, tmp_path: Path) -> None:
    here = town(redis_url, tmp_path)
    known = real_pipelines(here.settings)
    blur = known["blur"]
    other = Pipeline("up", "", Family.TRANSFORM, (Enlarging(),), SECOND, 600)
    report(here, "w1", **{QUEUE: 2})
    report(here, "w2", ("enlarger",), **{SECOND: 1})
    with serving(
        here.settings, {"blur": blur, "blur_detect": known["blur_detect"], "up": other}
    ) as client:
        health = client.get("/health").json()
        assert {target["status"] for target in health["targets"].values()} == {"ok"}
        assert health["status"] == "ok"
        assert {queue["status"] for queue in health["queues"].values()} == {"ok"}
        report(here, "w3", (), **{QUEUE: 1})
        health = client.get("/health").json()
        assert {target["status"] for target in health["targets"].values()} == {"missing"}


def test_a_queue_that_nobody_serves_is_told(api: tuple[Town, httpx.Client]) -> None:
    here, client = api
    report(here, "w1", **{QUEUE: 2, SECOND: 1})
    health = client.get("/health").json()
    assert health["queues"][SECOND] == {"status": "ok", "detail": "1 at a time"}
    assert health["queues"][THIRD]["status"] == "idle"
    assert health["status"] == "ok", "where nothing waits, no worker is needed"
    here.queues.submit([job_spec(pipeline=NAMES[THIRD])])
    health = client.get("/health").json()
    assert health["queues"][THIRD]["status"] == "missing"
    assert "its jobs wait" in health["queues"][THIRD]["detail"]
    assert health["status"] == "degraded"
    report(here, "w2", **{THIRD: 1})
    assert client.get("/health").json()["status"] == "ok"
