"""The jobs that attempts have made: each must end, and a picture that comes of it be readable."""

import threading
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from time import monotonic
from typing import Any

import httpx
from PIL import Image

from tests.fuzz.answers import Answer
from tests.fuzz.attempt import Attempt

ENDS = {
    "animation",
    "corrupt_image",
    "leak_suspected",
    "not_an_image",
    "not_written",
    "too_many_bytes",
    "too_many_pixels",
    "too_many_regions",
    "unsupported_kind",
}
"""How the job of a damaged picture may fail: for a reason that lies in the picture."""

Fault = tuple[Attempt, str, str]


def jobs_of(answer: Answer) -> list[str]:
    """The ids of the jobs that an answer tells of, one or those of a batch."""
    if answer.status != 202 or not isinstance(answer.content, dict):
        return []
    entries = answer.content.get("jobs", [answer.content])
    return [entry["job_id"] for entry in entries if entry.get("job_id")]


class Jobs:
    """The jobs that have not ended, each with what made it. Ended ones are deleted."""

    def __init__(self, client: httpx.Client, most_seconds: float) -> None:
        self._client = client
        self._most_seconds = most_seconds
        self._waiting: dict[str, tuple[Attempt, float]] = {}
        self._lock = threading.Lock()
        self.ends: Counter[str] = Counter()

    def add(self, job_id: str, attempt: Attempt) -> None:
        """Wait for the end of a job; the same picture may have made it before."""
        with self._lock:
            self._waiting.setdefault(job_id, (attempt, monotonic()))

    @property
    def attempts(self) -> list[Attempt]:
        """What made the jobs that have not ended."""
        with self._lock:
            return [attempt for attempt, _ in self._waiting.values()]

    def look(self) -> Iterator[Fault]:
        """Ask after the oldest ones, and say what is wrong with those that have ended.

        Raises:
            httpx.HTTPError: the service does not answer.
        """
        with self._lock:
            oldest = list(self._waiting.items())[:8]
        for job_id, (attempt, since) in oldest:
            status = self._client.get(f"/status/{job_id}")
            ended = status.status_code == 200 and status.json()["status"] in ("completed", "failed")
            if ended:
                yield from ((attempt, *fault) for fault in self._faults(job_id, status.json()))
            elif monotonic() - since > self._most_seconds:
                yield attempt, "endless job", f"a job has not ended in {self._most_seconds:g} s"
            else:
                continue
            with self._lock:
                del self._waiting[job_id]

    def _faults(self, job_id: str, status: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if status["status"] == "failed":
            code = str(status["error"]["code"])
            self.ends[code] += 1
            if code not in ENDS:
                yield "failed job", f"a job failed as {code}"
        else:
            self.ends["completed"] += 1
            result = self._client.get(f"/result/{job_id}")
            if result.status_code != 200:
                yield "no result", f"the result of a completed job is answered {result.status_code}"
            elif not _is_picture(result.content):
                yield "bad result", "the result of a completed job can't be read"
        if (deleted := self._client.delete(f"/jobs/{job_id}")).status_code != 200:
            yield "not deleted", f"the deletion of an ended job is answered {deleted.status_code}"


def _is_picture(content: bytes) -> bool:
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True
