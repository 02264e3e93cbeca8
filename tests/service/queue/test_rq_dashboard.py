"""rq-dashboard beside a live service: what it shows, and that none of its buttons is a loss."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.parts import ROOT, eventually, free_port
from tests.rq_tools import QUEUE, Operated, operated
from tools.install_validators import FOLDER

PROGRAM = FOLDER / "rqdashboard/bin/rq-dashboard"

pytestmark = pytest.mark.validator(name="rq-dashboard")


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[Operated]:
    with operated(redis_url, tmp_path) as service:
        yield service


@pytest.fixture
def dashboard(service: Operated) -> Iterator[httpx.Client]:
    """A client of the dashboard. Messages are JSON, which it has to be told."""
    if not PROGRAM.exists():
        pytest.skip("rq-dashboard is not there: make validators")
    port = str(free_port())
    words = ["--json", "--bind", "127.0.0.1", "--port", port]
    words += ["--extra-path", str(ROOT / "deploy"), "--config", "rqdashboard"]
    words += ["--redis-url", service.settings.redis_url or ""]
    process = subprocess.Popen([PROGRAM, *words], stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            eventually(lambda: answers(client), "the dashboard answers")
            yield client
    finally:
        process.terminate()
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.HTTPError:
        return False


def told(dashboard: httpx.Client, path: str) -> Any:
    """The JSON of a page."""
    answer = dashboard.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def press(dashboard: httpx.Client, path: str) -> None:
    """Press a button, which has to work."""
    answer = dashboard.post(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "OK"), answer.text


def test_the_dashboard_shows_a_busy_service_which_loses_and_doubles_nothing(
    service: Operated, dashboard: httpx.Client, zidane: bytes
) -> None:
    count, busy, running = 12, set(), 0
    jobs = service.batch(zidane, count)
    [queue] = told(dashboard, "/0/data/queues.json")["queues"]
    assert (queue["name"], queue["count"]) == (QUEUE, count)
    with service.worker():
        while service.totals()["completed"] < count:
            for path in ("/", "/0/view/workers", f"/0/view/jobs/{QUEUE}/queued/8/asc/1"):
                assert dashboard.get(path).status_code == 200
            workers = told(dashboard, "/0/data/workers.json")["workers"]
            busy |= {one["state"] for one in workers}
            page = told(dashboard, f"/0/data/jobs/{QUEUE}/started/8/asc/1.json")
            running += len(page["jobs"])
        service.ended(jobs)
        [queue] = told(dashboard, "/0/data/queues.json")["queues"]
    assert (queue["count"], queue["finished_job_registry_count"]) == (0, count)
    assert "busy" in busy
    assert running
    job = told(dashboard, f"/0/data/job/{jobs[0]}.json")
    assert (job["status"], job["origin"]) == ("finished", QUEUE)
    assert service.totals() == {"completed": count, "failed": 0}
    assert service.results() == sorted(f"{job_id}.jpg" for job_id in jobs)


@pytest.mark.parametrize("registry", ["one of queued", "queued", "scheduled"])
def test_what_is_deleted_before_its_end_comes_back_from_its_order(
    service: Operated, dashboard: httpx.Client, small_jpeg: bytes, registry: str
) -> None:
    jobs = service.batch(small_jpeg, 3)
    if registry == "scheduled":
        service.redis.delete(f"rq:queue:{QUEUE}")
        service.redis.zadd(f"rq:scheduled:{QUEUE}", dict.fromkeys(jobs, 4e9))
    if registry == "one of queued":
        press(dashboard, f"/job/{jobs[1]}/delete")
    else:
        press(dashboard, f"/queue/{QUEUE}/{registry}/empty")
    gone = 1 if registry == "one of queued" else 3
    assert len(service.redis.keys("rq:job:*")) == 3 - gone
    assert {service.status(job_id) for job_id in jobs} == {"submitted"}
    assert service.reconcile().requeued == gone
    with service.worker():
        service.ended(jobs)
    assert service.totals() == {"completed": 3, "failed": 0}


def test_what_is_deleted_while_it_runs_or_after_its_end_has_its_result_once(
    service: Operated, dashboard: httpx.Client, zidane: bytes
) -> None:
    jobs = service.batch(zidane, 4)
    with service.worker():
        eventually(lambda: service.redis.exists(f"rq:wip:{QUEUE}"), "one runs")
        press(dashboard, f"/queue/{QUEUE}/started/empty")
        service.ended(jobs)
        service.quiet()
        press(dashboard, f"/queue/{QUEUE}/finished/empty")
        assert service.reconcile().lost == 0
        service.ended(jobs)
    assert service.totals() == {"completed": 4, "failed": 0}
    assert service.results() == sorted(f"{job_id}.jpg" for job_id in jobs)


@pytest.mark.parametrize("button", ["job/{}/requeue", f"requeue/{QUEUE}", "job/{}/delete"])
def test_a_failed_job_stays_failed_and_its_callers_whatever_is_pressed(
    service: Operated, dashboard: httpx.Client, small_jpeg: bytes, button: str
) -> None:
    jobs = service.batch(small_jpeg[:-700], 1)
    with service.worker():
        service.ended(jobs, "failed")
        service.quiet()
        press(dashboard, f"/{button.format(jobs[0])}")
        service.quiet()
        assert service.reconcile().lost == 0
        service.ended(jobs, "failed")
    assert service.totals() == {"completed": 0, "failed": 1}
    assert service.status(jobs[0], "bob") == "not_found"


def test_a_queue_that_is_compacted_again_and_again_loses_and_doubles_nothing(
    service: Operated, dashboard: httpx.Client, small_jpeg: bytes
) -> None:
    jobs = service.batch(small_jpeg, 30)
    with service.worker():
        while service.redis.exists(f"rq:queue:{QUEUE}"):
            dashboard.post(f"/queue/{QUEUE}/compact")  # an empty queue is an error to it
        service.ended(jobs)
    assert service.totals() == {"completed": 30, "failed": 0}
