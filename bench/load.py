"""A load generator for the HTTP API that costs little itself."""

import http.client
import itertools
import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from blurline.errors import BlurlineError

BOUNDARY = "blurline-bench"
ASK_SECONDS = 0.25
"""How often the load generator asks how many images are under way. Twenty times a second cost the
API as much as the uploads; now the queue just has to hold what is worked off in between."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An upload that was accepted: its job, and when it began, in seconds since the epoch."""

    job_id: str
    started_at: float


class Load:
    """Uploads photos so that a given number of them is always under way: a closed loop."""

    def __init__(self, url: str, photos: list[bytes], in_flight: int) -> None:
        self._address = urlsplit(url).netloc
        self._bodies = [_form(photo) for photo in photos]
        self._in_flight = in_flight
        self._outstanding = 0
        self._changed = threading.Condition()

    def run(self, images: int, connections: int = 4) -> list[Sent]:
        """Upload so many images and return when the service has done them all.

        Raises:
            RuntimeError: an upload was refused.
        """
        numbers, sent, errors = iter(range(images)), list[Sent](), list[str]()
        finished = threading.Event()

        def upload() -> None:
            with self._connected() as connection:
                while not errors:
                    with self._changed:
                        self._changed.wait_for(lambda: self._outstanding < self._in_flight)
                        number = next(numbers, None)
                        if number is None:
                            return
                        self._outstanding += 1
                    started_at = time.time()
                    body = self._bodies[number % len(self._bodies)]
                    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
                    connection.request("POST", "/upload", body, headers)
                    answer = connection.getresponse()
                    content = json.loads(answer.read())
                    if answer.status != http.client.ACCEPTED:
                        errors.append(f"{answer.status} {content}")
                        return
                    sent.append(Sent(content["job_id"], started_at))

        def watch() -> None:
            with self._connected() as connection:
                while not finished.wait(ASK_SECONDS):
                    before = len(sent)
                    queue = _get(connection, "/queue-status")
                    waiting = queue["depth"] + queue["processing"] + queue["retrying"]
                    with self._changed:
                        # What was sent while the question was under way may not be in the answer.
                        self._outstanding = waiting + len(sent) - before
                        self._changed.notify_all()

        uploaders = [threading.Thread(target=upload) for _ in range(connections)]
        watcher = threading.Thread(target=watch)
        for thread in (*uploaders, watcher):
            thread.start()
        for thread in uploaders:
            thread.join()
        while not errors and self._outstanding:
            time.sleep(ASK_SECONDS)
        finished.set()
        watcher.join()
        if errors:
            raise RuntimeError(f"an upload was refused: {errors[0]}")
        return sent

    def statuses(self, sent: list[Sent]) -> list[dict[str, Any]]:
        """The final status of each job."""
        with self._connected() as connection:
            return [_get(connection, f"/status/{upload.job_id}") for upload in sent]

    def _connected(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection(self._address))


def ended(statuses: list[dict[str, Any]]) -> dict[str, float]:
    """When each job ended, in seconds since the epoch.

    Raises:
        BlurlineError: one was not completed.
    """
    for status in statuses:
        if status.get("status") != "completed":
            raise BlurlineError(f"an image was not completed: {status}")
    return {status["job_id"]: float(status["updated_at"]) for status in statuses}


def percentiles(values: list[float]) -> dict[str, float]:
    """The 50th, 95th and 99th percentile by the nearest-rank method."""
    ordered = sorted(values)
    ranks = {f"p{share}": -(-share * len(ordered) // 100) - 1 for share in (50, 95, 99)}
    return {name: round(ordered[rank], 1) for name, rank in ranks.items()}


def _get(connection: http.client.HTTPConnection, path: str) -> dict[str, Any]:
    connection.request("GET", path)
    content: dict[str, Any] = json.loads(connection.getresponse().read())
    return content


def _form(photo: bytes) -> bytes:
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return b"".join(itertools.chain([head.encode(), photo, f"\r\n--{BOUNDARY}--\r\n".encode()]))
