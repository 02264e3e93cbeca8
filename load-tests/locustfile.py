"""Uploads photos at the rates of `scenarios.json` and follows some jobs; see load-tests/README.md.

Each scenario has a class of users of its own. One user uploads about once in `EVERY` seconds, and
there are as many users as the rate asks for; the shape lets one class after the other work.
"""

import itertools
import json
import math
import os
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import gevent
from gevent.pool import Pool
from locust import HttpUser, LoadTestShape, events, task
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import StatsEntry
from pictures import form, photos
from plan import Scenario, planned

PLAN = planned()
EVERY = 2.0
PAUSE = 5.0
POLL_SHARE = float(os.environ.get("POLL_SHARE") or 0.1)
POLL_SECONDS = 0.5
API_KEY = os.environ.get("API_KEY", "")
ANSWER_DEADLINE = 60.0
JOB_DEADLINE = 120.0
LONGEST_WAIT = 10.0
SPAWN_RATE = 100
LEAST_SENT = 0.9
UNENDED = ("submitted", "processing")

turns = {name: itertools.count() for name in PLAN}
starts: dict[str, float] = {}
followers = Pool()
followed: set[str] = set()
"""Scenarios of which a job was followed: the first one always is."""


class Uploader(HttpUser):
    """A client that uploads one picture after another and does as a full queue tells it."""

    abstract = True
    scenario: ClassVar[str]

    @property
    def every(self) -> float:
        """Seconds between two uploads of one user, so that all together keep the rate."""
        return users_of(PLAN[self.scenario]) / PLAN[self.scenario].rate

    def on_start(self) -> None:
        self.told_to_wait = 0.0
        if API_KEY:
            self.client.headers["Authorization"] = f"Bearer {API_KEY}"
        # From their first upload on, users take turns, evenly spaced.
        now = time.perf_counter()
        first = starts.setdefault(self.scenario, now)
        due = first + next(turns[self.scenario]) / PLAN[self.scenario].rate
        gevent.sleep(max(0.0, due - now))

    def wait_time(self) -> float:
        wait = max(self.began + self.every - time.perf_counter(), self.told_to_wait, 0.0)
        self.told_to_wait = 0.0
        return wait

    @task
    def upload(self) -> None:
        self.began = began = time.perf_counter()
        files = PLAN[self.scenario].files
        with self.client.post(
            "/batch-upload" if files > 1 else "/upload",
            files=form(files),
            headers={"Idempotency-Key": str(uuid.uuid4())},
            name=f"{self.scenario} upload",
            timeout=ANSWER_DEADLINE,
            catch_response=True,
        ) as answer:
            wait = retry_after(answer)
            if wait is not None:
                # Back-pressure is the service working as it should: a line of its own.
                answer.request_meta["name"] = f"{self.scenario} upload refused"
                answer.success()
                self.told_to_wait = min(wait, LONGEST_WAIT)
                return
            job_ids = jobs_of(answer, files)
            if job_ids is None:
                answer.failure(f"status {answer.status_code}")
                return
        note(self.scenario, job_ids)
        if job_ids and (self.scenario not in followed or random.random() < POLL_SHARE):
            followed.add(self.scenario)
            # Beside the user, who uploads on meanwhile.
            followers.spawn(self.follow, job_ids[-1], began)

    def follow(self, job_id: str, began: float) -> None:
        """Polls the job until it ends and reports the time since its upload as a line of JOB."""
        status = UNENDED[0]
        while status in UNENDED:
            if time.perf_counter() - began > JOB_DEADLINE:
                status = f"not ended after {JOB_DEADLINE:.0f} s"
                break
            gevent.sleep(POLL_SECONDS)
            answer = self.client.get(
                f"/status/{job_id}", name="/status/{job_id}", timeout=ANSWER_DEADLINE
            )
            status = answer.json()["status"] if answer.ok else f"status {answer.status_code}"
        self.environment.events.request.fire(
            request_type="JOB",
            name=f"{self.scenario} job",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=None if status == "completed" else RuntimeError(status),
            context={},
        )


def users_of(scenario: Scenario) -> int:
    """How many users a scenario has."""
    return max(1, math.ceil(scenario.rate * EVERY))


def retry_after(answer: Any) -> float | None:
    """Seconds after which a refused upload may come back; None where it was not refused so."""
    if answer.status_code not in (429, 503):
        return None
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return None


def jobs_of(answer: Any, files: int) -> list[str] | None:
    """The jobs of an answer, or None where it is none that a working service gives.

    Files of a batch for which the queue had no place any more are no error.
    """
    if answer.status_code != 202:
        return None
    content = answer.json()
    if files == 1:
        return [content["job_id"]]
    if any(not e["job_id"] and e["error"]["code"] != "queue_full" for e in content["jobs"]):
        return None
    return [entry["job_id"] for entry in content["jobs"] if entry["job_id"]]


def note(scenario: str, job_ids: Sequence[str]) -> None:
    """Append what was accepted to the file that ACCEPTED names, a line a job."""
    if place := os.environ.get("ACCEPTED"):
        with Path(place).open("a", encoding="utf-8") as file:
            file.writelines(f"accepted {scenario} {job_id}\n" for job_id in job_ids)


class Steady(Uploader):
    scenario = "steady"


class Batch(Uploader):
    scenario = "batch"


class Soak(Uploader):
    scenario = "soak"


class Spike(Uploader):
    scenario = "spike"


USERS = {user.scenario: user for user in (Steady, Batch, Soak, Spike)}


class Scenarios(LoadTestShape):
    """One scenario after the other, with pauses; in the end the followed jobs are waited for."""

    def tick(self) -> tuple[int, float, list[type[HttpUser]] | None] | None:
        now, begin = self.get_run_time(), 0.0
        for name, scenario in PLAN.items():
            if now < begin + scenario.seconds:
                return users_of(scenario), SPAWN_RATE, [USERS[name]]
            begin += scenario.seconds + PAUSE
            if now < begin:
                return 0, SPAWN_RATE, None
        waiting = len(followers) and now < begin + JOB_DEADLINE
        return (0, SPAWN_RATE, None) if waiting else None


def figures(environment: Environment, name: str) -> dict[str, float]:
    """What a scenario came to; the names are those of k6's summary."""

    def of(method: str, what: str) -> StatsEntry:
        return environment.stats.get(f"{name} {what}", method)

    sent, refused, job = of("POST", "upload"), of("POST", "upload refused"), of("JOB", "job")
    return {
        "rate": PLAN[name].rate,
        "seconds": PLAN[name].seconds,
        "uploads": sent.num_requests + refused.num_requests,
        "taken": sent.num_requests - sent.num_failures,
        "refused": refused.num_requests,
        "errors": sent.num_failures,
        "p50_ms": sent.get_response_time_percentile(0.5),
        "p95_ms": sent.get_response_time_percentile(0.95),
        "p99_ms": sent.get_response_time_percentile(0.99),
        "max_ms": sent.max_response_time,
        "followed": job.num_requests,
        "completed": job.num_requests - job.num_failures,
        "job_p95_ms": job.get_response_time_percentile(0.95),
    }


def missed(name: str, found: dict[str, float]) -> list[str]:
    """The thresholds of a scenario that were not kept."""
    wanted, uploads = PLAN[name], found["uploads"]
    due = wanted.rate * wanted.seconds
    kept = {
        f"{found['errors']} errors": not found["errors"],
        f"{found['followed'] - found['completed']} followed jobs not completed": (
            0 < found["followed"] == found["completed"]
        ),
        f"{found['taken']} of {uploads} uploads taken": (
            found["taken"] >= wanted.least_taken * uploads
        ),
        f"p95 of the answer {found['p95_ms']} ms": found["p95_ms"] < wanted.p95_ms,
        f"p99 of the answer {found['p99_ms']} ms": found["p99_ms"] < wanted.p99_ms,
        # Who was refused waits before the next try, and so sends less.
        f"{uploads} uploads sent of {due:.0f}": uploads >= LEAST_SENT * due or found["refused"] > 0,
    }
    return [f"{name}: {what}" for what, good in kept.items() if not good]


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Make the photos before the clock starts; a stopped user ends its upload first."""
    photos()
    environment.stop_timeout = ANSWER_DEADLINE


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Print and keep what came out; the exit status is not 0 where a threshold was missed."""
    if isinstance(environment.runner, WorkerRunner):
        return
    found = {name: figures(environment, name) for name in PLAN}
    wrong = [line for name in PLAN for line in missed(name, found[name])]
    summary = {"generator": "locust", "scenarios": found, "missed": wrong}
    if folder := os.environ.get("OUT"):
        text = json.dumps(summary, indent=1)
        Path(folder, "locust.json").write_text(text + "\n", encoding="utf-8")
    print("\n".join(wrong or ["every threshold was kept"]))
    environment.process_exit_code = int(bool(wrong))
