"""A client of the HTTP API that costs little itself."""

import http.client
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from blurline.errors import BlurlineError

BOUNDARY = "blurline-bench"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
KEY = "Idempotency-Key"
"""With a fresh one the same photo, sent again, is a job of its own."""

IDLE_SECONDS = 2.0
"""A connection that was idle for longer is made anew: the server closes it after five seconds, and
an upload that it closes on is lost."""

ASK_SECONDS = 0.25
"""How often the load generator asks how many images are under way. Twenty times a second cost the
API as much as the uploads; now the queue just has to hold what is worked off in between."""

STUCK_SECONDS = 180
"""When nothing has ended for so long, nothing will."""


class Client:
    """One connection to the API, to be closed by `with`. Not for several threads."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._used = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> dict[str, Any]:
        """The answer to a question."""
        return self._ask("GET", path)[1]

    def upload(self, body: bytes, *, batch: bool) -> list[str]:
        """Hand in a form made by `form`, as something new even if it was sent before.

        Returns:
            The ids of its jobs.

        Raises:
            BlurlineError: not all of it was taken.
        """
        status, content = self._ask("POST", "/batch-upload" if batch else "/upload", body)
        if status != http.client.ACCEPTED or content.get("rejected"):
            raise BlurlineError(f"an upload was refused: {status} {content}")
        return [job["job_id"] for job in content["jobs"]] if batch else [content["job_id"]]

    def under_way(self) -> int:
        """How many jobs wait or run.

        Raises:
            BlurlineError: the service can't say.
        """
        status, queue = self._ask("GET", "/queue-status")
        if status != http.client.OK:
            raise BlurlineError(f"the service can't say how many jobs wait: {status} {queue}")
        return int(queue["depth"] + queue["processing"] + queue["retrying"])

    def wait_until_idle(self, left: Callable[[int], None] = lambda left: None) -> None:
        """Return when no job waits or runs; `left` is told how many still do.

        Raises:
            BlurlineError: the service has come to a standstill.
        """
        before, changed = -1, time.monotonic()
        while waiting := self.under_way():
            left(waiting)
            if waiting != before:
                before, changed = waiting, time.monotonic()
            if time.monotonic() - changed > STUCK_SECONDS:
                raise BlurlineError(f"{waiting} jobs do not get done; is the worker still there?")
            time.sleep(ASK_SECONDS)

    def ends(self, job_ids: Iterable[str]) -> dict[str, float]:
        """When each job was completed, in seconds since the epoch. Waits for those that run.

        Raises:
            BlurlineError: one was lost or has failed, so no figure would mean anything.
        """
        return {job_id: self._end(job_id) for job_id in job_ids}

    def _end(self, job_id: str) -> float:
        deadline = time.monotonic() + STUCK_SECONDS
        while True:
            status = self.get(f"/status/{job_id}")
            if status.get("status") == "completed":
                return float(status["updated_at"])
            # Between the queue and the list of running jobs a job is in neither for a moment.
            waits = status.get("status") in ("submitted", "processing")
            if not waits or time.monotonic() > deadline:
                raise BlurlineError(f"an image was not completed: {status}")
            time.sleep(ASK_SECONDS)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        headers = {"Content-Type": FORM_TYPE, KEY: str(uuid4())} if body else {}
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            content: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BlurlineError(f"{method} {path}: no answer ({type(error).__name__})") from error
        self._used = time.monotonic()
        return answer.status, content


def form(photos: Sequence[bytes], *, batch: bool) -> bytes:
    """The body of an upload: one file for `/upload`, or the files of one batch."""
    name = "files" if batch else "file"
    parts = []
    for number, photo in enumerate(photos):
        head = (
            f"--{BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="{name}"; filename="photo{number}.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        parts += [head.encode(), photo, b"\r\n"]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
