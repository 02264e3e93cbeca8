"""Whether every upload that was accepted ended, and ended once."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from blurline.errors import BlurlineError

ASKERS = 4
"""Jobs that are asked for at a time."""

ASK_SECONDS = 0.5
UNENDED = ("submitted", "processing")
TRY_AGAIN = (429, 503)


@dataclass(frozen=True, slots=True)
class Totals:
    """Jobs that the service has ended, each counted once."""

    completed: int
    failed: int

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(self.completed - other.completed, self.failed - other.failed)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the jobs that the load generators were told to be accepted.

    Attributes:
        accepted: answers that named a job.
        twice: job ids that were in more than one answer.
        ends: how many jobs ended in which status.
        totals: what the service counted meanwhile; None where others use it too.
    """

    accepted: int
    twice: int
    ends: Mapping[str, int]
    totals: Totals | None

    def problems(self) -> list[str]:
        """Why not every accepted upload has ended exactly once as completed; empty if it has."""
        jobs = self.accepted - self.twice
        found = []
        if self.twice:
            found.append(f"{self.twice} uploads were answered with a job that was there before")
        found += [
            f"{count} of {jobs} jobs: {status}"
            for status, count in self.ends.items()
            if status != "completed"
        ]
        if self.totals is not None and self.totals != Totals(jobs, 0):
            found.append(
                f"the service counts {self.totals.completed} completed and {self.totals.failed} "
                f"failed jobs, where {jobs} were accepted"
            )
        return found


def account(
    accepted: Sequence[str], ends: Mapping[str, str], totals: Totals | None = None
) -> Account:
    """The account of these answers; `ends` has the last status of each job."""
    twice = len(accepted) - len(set(accepted))
    return Account(len(accepted), twice, dict(Counter(ends.values())), totals)


def totals_of(client: httpx.Client) -> Totals:
    """What the service counts by now.

    Raises:
        BlurlineError: it does not say.
    """
    try:
        found = client.get("/stats").raise_for_status().json()["totals"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise BlurlineError(f"the service does not say what it has done: {error}") from error
    return Totals(found["completed"], found["failed"])


def ends_of(client: httpx.Client, job_ids: Sequence[str], seconds: float) -> dict[str, str]:
    """The last status of every job; those that run are waited for, `seconds` at most in all.

    An answer that tells no status, such as 404, stands as `answered 404`.
    """
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(ASKERS) as pool:
        asked = dict.fromkeys(job_ids)
        return dict(
            zip(asked, pool.map(lambda one: _end(client, one, deadline), asked), strict=True)
        )


def _end(client: httpx.Client, job_id: str, deadline: float) -> str:
    """The last status of a job."""
    status = "never answered"
    for status in _statuses(client, job_id):
        if status not in UNENDED and not status.startswith("no answer"):
            return status
        if time.monotonic() > deadline:
            break
        time.sleep(ASK_SECONDS)
    return status


def _statuses(client: httpx.Client, job_id: str) -> Iterator[str]:
    """What is said about a job, again and again."""
    while True:
        try:
            answer = client.get(f"/status/{job_id}")
        except httpx.HTTPError as error:
            yield f"no answer ({type(error).__name__})"
            continue
        if answer.status_code in TRY_AGAIN:
            yield f"no answer (status {answer.status_code})"
        elif answer.status_code == httpx.codes.OK:
            yield str(answer.json()["status"])
        else:
            yield f"answered {answer.status_code}"
