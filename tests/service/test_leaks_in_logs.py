"""Nothing that is secret or somebody's own comes into logs, metrics or Redis, whatever goes wrong.

Words are planted wherever a caller can put some: in the picture, its name, headers, the query, the
path, the form, the callback's URL, and in a record that is damaged. Then the service is used, well
and badly, in each form of the log.
"""

import json
import os
import re
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis import Redis

from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.objects import open_store
from tests.commands import COMMAND
from tests.parts import PATIENCE, done, ended, eventually, job_spec
from tests.receivers import Receiver, receiving
from tests.service.test_privacy import MARK, damaged, holding, planted, unpacked

NAME = "planted-name"
TOKEN = "planted-token"  # noqa: S105 - what must not be found again
HOOK_TOKEN = "planted-hook-token"  # noqa: S105 - as above
POSITION = "48.8581"
SECRET = b64encode(b"planted secret of all webhooks").decode()
REQUEST = "req-of-the-good-picture"

EVERYTHING = (MARK, NAME, TOKEN, HOOK_TOKEN, POSITION, SECRET, "planted secret")


@dataclass(frozen=True)
class Scene:
    """A service that was used well and badly; its log lies in a file."""

    client: httpx.Client
    redis: Redis
    log: Path
    form: str
    job_id: str
    """Of the good picture; those of all that were taken are in `jobs`."""
    jobs: tuple[str, ...]
    receiver: Receiver

    @property
    def lines(self) -> list[str]:
        return self.log.read_text("utf-8").splitlines()


def use_badly(client: httpx.Client, folder: Path) -> None:
    """Every error that a caller can cause, each with planted words."""
    for content in (MARK.encode() * 10, b"\x89PNG\r\n\x1a\n" + MARK.encode() * 10, b""):
        client.post("/upload", files={"file": (NAME, content)})
    form = {"Content-Type": f"multipart/form-data; boundary={MARK}"}
    for body in (MARK, f"--{MARK}\r\n{MARK}\r\n\r\n{MARK}", f"--{MARK}\r\n{MARK}:\0\r\n\r\n"):
        client.post("/upload", content=body.encode(), headers=form)
    for field in ("targets", "ignore_zones", "threshold", "pipeline", "callback_url", MARK):
        client.post("/upload", files={"file": (NAME, planted("JPEG"))}, data={field: MARK})
    for path in (f"/{MARK}", f"/status/{MARK}", f"/result/{MARK}?token={TOKEN}", f"/jobs/{MARK}"):
        for method in ("GET", "DELETE", "PUT", MARK.upper()):
            client.request(method, path)
    client.get("/health", headers={"X-Request-ID": f"{TOKEN} {TOKEN}"})
    job_id = str(uuid4())
    store = open_store(load_settings(data_dir=folder))
    store.put(keys.record(job_id), f'{{"job_id": "{MARK}"}}'.encode(), "application/json")
    for path in (f"/status/{job_id}", f"/result/{job_id}?token={TOKEN}"):
        assert client.get(path).status_code == 404
    record = json.loads(done(job_spec(job_id=job_id), 0.0).to_json())
    for wrong in ({"outputs": [MARK]}, {"reports": {TOKEN: MARK}}, {"version": MARK}):
        content = json.dumps({**record, **wrong}).encode()
        store.put(keys.record(job_id), content, "application/json")
        assert client.get(f"/status/{job_id}?token={TOKEN}").status_code == 404


def hand_in(client: httpx.Client, picture: bytes, **form: str) -> httpx.Response:
    headers = {"X-Request-ID": REQUEST} if "callback_url" in form else {}
    file = {"file": (f"{NAME}.jpg", picture)}
    return client.post(f"/upload?key={TOKEN}", files=file, data=form, headers=headers)


@pytest.fixture(scope="module", params=["text", "json"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("leaks")
    said, log = folder / "said.txt", folder / "log.txt"
    environment = {
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": request.param,
        "DATA_DIR": str(folder),
        "WEBHOOK_SECRET": SECRET,
        "WEBHOOK_ALLOW_HTTP": "1",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    with said.open("wb") as output, log.open("wb") as errors:
        process = subprocess.Popen(
            [*COMMAND, "up", "--port", "0"],
            env={**os.environ, **environment},
            stdout=output,
            stderr=errors,
        )
    try:
        up = eventually(
            lambda: re.search(r"blurline is up: (\S+)", said.read_text("utf-8")), "it is up"
        )
        sent = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"session={TOKEN}"}
        with (
            httpx.Client(base_url=up[1], timeout=PATIENCE, headers=sent) as client,
            Redis(unix_socket_path=str(folder / "valkey.sock")) as redis,
            receiving() as receiver,
        ):
            receiver.statuses = [500]
            hook = f"{receiver.url}?key={HOOK_TOKEN}"
            good = hand_in(client, planted("JPEG"), callback_url=hook).json()["job_id"]
            bad = hand_in(client, damaged("JPEG")).json()["job_id"]
            assert ended(client, good)["status"] == "completed"
            assert ended(client, bad)["status"] == "failed"
            eventually(lambda: len(receiver.received) > 1, "the end is reported a second time")
            use_badly(client, folder)
            yield Scene(client, redis, log, request.param, good, (good, bad), receiver)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def test_the_log_holds_nothing_of_anybodys(scene: Scene) -> None:
    text = scene.log.read_text("utf-8")
    assert "corrupt_image" in text
    assert "no record of it" in text
    assert "webhook not delivered" in text
    assert "POST /upload: 422" in text
    assert [word for word in EVERYTHING if word.lower() in text.lower()] == []


def test_the_metrics_hold_nothing_of_anybodys(scene: Scene) -> None:
    page = scene.client.get("/metrics").text
    assert [word for word in (*EVERYTHING, *scene.jobs) if word.lower() in page.lower()] == []


def test_answers_hold_no_token(scene: Scene) -> None:
    for path in (f"/status/{scene.job_id}", "/queue-status", "/stats", "/health", "/openapi.json"):
        text = scene.client.get(path).text
        assert [word for word in (TOKEN, HOOK_TOKEN, SECRET, MARK, POSITION) if word in text] == []


def test_redis_holds_of_a_job_its_id_alone(scene: Scene) -> None:
    values = [unpacked(value).decode("utf-8", "replace") for value in holding(scene.redis)]
    assert all(job_id in "".join(values) for job_id in scene.jobs), "as long as it is not deleted"
    assert [word for word in EVERYTHING if word in "".join(values)] == []


def test_the_lines_of_a_job_name_the_request_that_handed_it_in(scene: Scene) -> None:
    about = [line for line in scene.lines if scene.job_id in line]
    assert len(about) >= 2, "the worker's and the messenger's"
    assert all(REQUEST in line for line in about)
    assert [line for line in scene.lines if REQUEST in line and "POST /upload: 202" in line]


def test_every_line_has_the_form_that_was_asked_for(scene: Scene) -> None:
    for line in scene.lines:
        if scene.form == "json":
            content: dict[str, Any] = json.loads(line)
            assert {"time", "level", "logger", "message"} <= set(content)
    if scene.form == "json":
        found = [json.loads(line) for line in scene.lines]
        (one,) = [line for line in found if line["message"] == f"job {scene.job_id}: completed"]
        assert (one["request_id"], one["job_id"]) == (REQUEST, scene.job_id)


def test_once_jobs_are_deleted_redis_and_the_log_hold_nothing_of_them(scene: Scene) -> None:
    for job_id in scene.jobs:
        assert scene.client.delete(f"/jobs/{job_id}").status_code == 200
    values = [unpacked(value).decode("utf-8", "replace") for value in holding(scene.redis)]
    assert [word for word in EVERYTHING if word in "".join(values)] == []
    text = scene.log.read_text("utf-8")
    assert [word for word in EVERYTHING if word.lower() in text.lower()] == []
