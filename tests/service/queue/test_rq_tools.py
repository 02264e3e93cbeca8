"""rq's own commands beside a live service: what they show, and that what they change is no loss."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blurline.worker import reconciler
from tests.parts import eventually
from tests.rq_tools import QUEUE, Operated, operated

JSON = ("--serializer", "rq.serializers.JSONSerializer")


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[Operated]:
    with operated(redis_url, tmp_path) as service:
        yield service


def test_rq_info_shows_a_busy_service_which_loses_and_doubles_nothing(
    service: Operated, small_jpeg: bytes
) -> None:
    count, said = 4, set()
    jobs = service.batch(small_jpeg, count)
    assert f"queue {QUEUE} {count}, 0 executing" in service.rq("info", "--raw")
    with service.worker(pace=1.0):
        while service.totals()["completed"] < count:
            said |= set(service.rq("info", "--raw").splitlines())
        service.ended(jobs)
        said |= set(service.rq("info", "--raw").splitlines())
    assert any(f"queue {QUEUE} " in line and " 0 executing" not in line for line in said)
    assert any(line.startswith("worker ") and f" busy {QUEUE}." in line for line in said)
    assert any(f"queue {QUEUE} 0, 0 executing, {count} finished, 0 failed" in line for line in said)
    assert service.totals() == {"completed": count, "failed": 0}
    assert service.results() == sorted(f"{job_id}.jpg" for job_id in jobs)


@pytest.mark.parametrize("words", [JSON, ()], ids=["as JSON", "as pickle"])
def test_a_failed_job_that_is_requeued_stays_failed_and_its_callers(
    service: Operated, small_jpeg: bytes, words: tuple[str, ...]
) -> None:
    jobs = service.batch(small_jpeg[:-700], 1)
    with service.worker():
        service.ended(jobs, "failed")
        [path] = (service.settings.data_dir / "store/metadata").rglob(f"{jobs[0]}.json")
        record = path.read_bytes()
        service.quiet()
        assert "Requeueing 1 jobs" in service.rq("requeue", "--queue", QUEUE, "--all", *words)
        assert service.status(jobs[0], "bob") == "not_found"
        over = [f"rq:finished:{QUEUE}", f"rq:failed:{QUEUE}"]
        eventually(lambda: service.redis.exists(*over), "it has ended again")
    service.ended(jobs, "failed")
    assert path.read_bytes() == record
    assert service.totals() == {"completed": 0, "failed": 1}
    assert service.status(jobs[0], "bob") == "not_found"


def test_jobs_of_a_queue_that_was_emptied_come_back_from_their_orders(
    service: Operated, small_jpeg: bytes
) -> None:
    jobs = service.batch(small_jpeg, 3)
    assert "3 jobs removed" in service.rq("empty", QUEUE)
    assert service.redis.keys("rq:job:*") == []
    assert {service.status(job_id) for job_id in jobs} == {"submitted"}
    assert service.reconcile().requeued == 3
    assert service.reconcile().requeued == 0
    assert {service.status(job_id) for job_id in jobs} == {"submitted"}
    with service.worker():
        service.ended(jobs)
    assert service.totals() == {"completed": 3, "failed": 0}
    assert {service.status(job_id, "bob") for job_id in jobs} == {"not_found"}


def test_workers_that_are_suspended_take_nothing_until_they_are_resumed(
    service: Operated, small_jpeg: bytes
) -> None:
    service.rq("suspend")
    jobs = service.batch(small_jpeg, 3)
    with service.worker():
        eventually(lambda: " suspended " in service.rq("info", "--raw"), "the worker rests")
        assert service.redis.llen(f"rq:queue:{QUEUE}") == 3
        service.rq("resume")
        service.ended(jobs)
    assert service.totals() == {"completed": 3, "failed": 0}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tool of this test takes its time."""
    monkeypatch.setattr(reconciler, "STRAY_SECONDS", 0)


@pytest.mark.usefixtures("at_once")
def test_jobs_that_a_tool_lost_between_two_lists_come_back(
    service: Operated, small_jpeg: bytes
) -> None:
    jobs = service.batch(small_jpeg, 3)
    # What rq's `Queue.compact` begins with; it was stopped then.
    service.redis.rename(f"rq:queue:{QUEUE}", "rq:queue:_compact:0")
    assert service.reconcile().requeued == 3
    assert service.reconcile().lost == 0
    with service.worker():
        service.ended(jobs)
    assert service.totals() == {"completed": 3, "failed": 0}


@pytest.mark.usefixtures("at_once")
def test_jobs_that_wait_were_taken_run_or_are_to_be_tried_again_are_no_strays(
    service: Operated, small_jpeg: bytes
) -> None:
    waiting, taken, running, later, foreign = service.batch(small_jpeg, 5)
    queue = f"rq:queue:{QUEUE}"
    service.redis.delete(queue)
    service.redis.rpush(queue, waiting)
    service.redis.rpush(f"{queue}:intermediate", taken)
    service.redis.zadd(f"rq:wip:{QUEUE}", {f"{running}:0": 1})
    service.redis.zadd(f"rq:scheduled:{QUEUE}", {later: 1})
    service.redis.hset(f"rq:job:{foreign}", "origin", "of_somebody_else")
    assert service.reconcile().lost == 0


@pytest.mark.usefixtures("at_once")
def test_a_look_at_a_live_service_takes_no_job_for_a_stray(
    service: Operated, small_jpeg: bytes
) -> None:
    jobs = service.batch(small_jpeg, 24)
    lost = 0
    with service.worker():
        while service.totals()["completed"] < len(jobs):
            lost += service.reconcile().lost
        service.ended(jobs)
    assert lost == 0
    assert service.totals() == {"completed": len(jobs), "failed": 0}
