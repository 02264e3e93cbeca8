"""Has an earlier release work, and keeps what it leaves behind in a folder of this one.

    git worktree add /tmp/earlier 88856ce
    PYTHONPATH=/tmp/earlier python tests/stored/make.py /tmp/earlier tests/stored/one_queue

All of it is written by that release's own API and workers; this file sends pictures, kills workers
and copies. The master key is made for this purpose and protects nothing.

`one_queue` is of the commit 88856ce, the last one whose service had a single queue, and whose
orders, records and messages had no version. `untagged` is of 7682e95, the last one whose records,
claims and webhooks carried no tags, and whose messages said what was to be done. Each folder holds:

- `store/`, `master.key`, `signing.pub.pem`: the store, and the keys that open and prove it.
- `redis.json`: every key of Redis by name, with its type, its content (bytes as Latin-1) and the
  seconds that it had to live, as of the moment `at`. The machine is called `host` in it, its
  folder `/folder`, and rq's texts of errors, which have other folders in them, are left out.
- `pictures/`: what was sent.
- `told.json`: ids of jobs and batches by what they are, the totals, and what `GET` answered.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from signal import SIGKILL
from socket import gethostname
from typing import Any

import httpx
from PIL import Image, ImageDraw
from redis import Redis
from rq.results import Result

import blurline
from blurline.access.apikeys import new_key
from blurline.stack import valkey

PATIENCE = 120.0
CALLERS = ("alice", "bob")
SCOPES = ["submit", "read", "delete"]
RECEIVER = "http://127.83.72.79:61983/hook"
"""Nobody listens there while the fixtures are made, so what is to be reported goes on waiting."""

WEBHOOK_SECRET = "whsec_bm90IGEgc2VjcmV0OiBmb3IgdGVzdHMgb25seSE="  # noqa: S105
ZONES = {"redact_zones": "[[[0.1,0.1],[0.4,0.1],[0.4,0.5],[0.1,0.5]]]"}
FLEETING_SECONDS = 60
"""Keys of Redis that live no longer, such as locks, are left out."""


def picture(kind: str, width: int = 96, height: int = 64, hue: int = 0, **how: Any) -> bytes:
    """A small picture with four colours, a ball, and an orientation for JPEG."""
    image = Image.new("RGB", (width, height), (220, 40 + hue, 40))
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2), (40, 200, 60 + hue))
    draw.rectangle((0, height // 2, width // 2, height), (50, 70 + hue, 220))
    draw.ellipse((width // 3, height // 3, width // 2, height // 2), (240, 230, 40))
    with BytesIO() as file:
        image.save(file, kind, **how)
        return file.getvalue()


def turned() -> dict[str, Any]:
    """An EXIF block that says "turn by a quarter"."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif.tobytes()}


def pictures() -> dict[str, bytes]:
    """What is sent, by file name."""
    return {
        "plain.jpg": picture("JPEG"),
        "turned.jpg": picture("JPEG", hue=20, **turned()),
        "plain.png": picture("PNG", hue=40),
        "cut.jpg": picture("JPEG", hue=60)[:-100],
        "slow.webp": picture("WEBP", 3000, 2000, quality=1),
        "failing.jpg": picture("JPEG", hue=80),
        "waiting.jpg": picture("JPEG", hue=100),
    }


MARKED = {
    **ZONES,
    "ignore_zones": "[[[0.6,0.6],[0.9,0.6],[0.9,0.9]]]",
    "threshold": "face=0.3,license_plate=0.2",
    "style": "solid",
    "metadata": "keep",
}
ELSEWHERE = {**ZONES, "output_format": "webp", "pipeline": "blur", "targets": "face,car,person"}
CALLED = {"callback_url": RECEIVER, "quality": "fast"}


def eventually(question: Callable[[], Any], what: str) -> Any:
    """The first true answer to the question, asked again and again."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.01)
    return answer


class Earlier:
    """The earlier release at work in a folder."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.folder, self.pictures = checkout, folder, pictures()
        self.keys = {name: new_key(name, SCOPES) for name in CALLERS}
        (folder / "api.keys").write_text("".join(f"{line}\n" for _, line in self.keys.values()))
        self.url = f"unix://{folder / 'valkey.sock'}"
        self.redis = Redis.from_url(self.url)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PYTHONPATH": str(checkout),
            "DATA_DIR": str(folder / "data"),
            "REDIS_URL": self.url,
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            # The keeper of a later worker must not give back what this one was killed with.
            "ABANDONED_AFTER": "600",
            "RESULT_TTL": "86400",
        }

    @contextmanager
    def queue_server(self) -> Iterator[None]:
        socket = self.folder / "valkey.sock"
        process = subprocess.Popen(valkey.command(self.folder, socket))
        try:
            valkey.wait_until_ready(self.url, PATIENCE)
            yield
        finally:
            process.terminate()
            process.wait()

    @contextmanager
    def api(self, **environment: str) -> Iterator[httpx.Client]:
        socket = self.folder / "api.sock"
        command = [sys.executable, "-m", "uvicorn", "api_server:app", "--uds", str(socket)]
        command += ["--http", "blurline.api.protocol:GuardedProtocol", "--log-level", "warning"]
        process = subprocess.Popen(
            command, cwd=self.checkout, env={**self.environment, **environment}
        )
        try:
            eventually(socket.exists, "the API listens")
            transport = httpx.HTTPTransport(uds=str(socket))
            with httpx.Client(
                transport=transport, base_url="http://localhost", timeout=60
            ) as client:
                yield client
        finally:
            process.terminate()
            process.wait()
            socket.unlink(missing_ok=True)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker, until it is killed."""
        command = [sys.executable, str(self.checkout / "worker.py")]
        process = subprocess.Popen(command, env=self.environment)
        try:
            yield
        finally:
            process.send_signal(SIGKILL)
            process.wait()

    def files(self, *names: str) -> list[tuple[str, tuple[str, bytes]]]:
        """The pictures as a batch sends them."""
        return [("files", (name, self.pictures[name])) for name in names]

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who][0]}"} if who else {}

    def upload(
        self, client: httpx.Client, name: str, who: str = "alice", key: str = "", **options: str
    ) -> str:
        """The id of the job that the upload makes."""
        headers = {**self.headers(who), **({"Idempotency-Key": key} if key else {})}
        files = {"file": (name, self.pictures[name])}
        answer = client.post("/upload", files=files, data=options, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def ended(self, client: httpx.Client, job_id: str, who: str = "alice") -> None:
        eventually(
            lambda: (
                client.get(f"/status/{job_id}", headers=self.headers(who)).json()["status"]
                in ("completed", "failed")
            ),
            f"{job_id} ends",
        )

    def fields(self, job_id: str, *names: str) -> list[bytes | None]:
        found: Any = self.redis.hmget(f"rq:job:{job_id}", names)
        return list(found)


def work(earlier: Earlier) -> dict[str, Any]:
    """Let jobs of all kinds be done, fail, wait, run and be lost; what came of it."""
    jobs: dict[str, str] = {}
    answers: dict[str, Any] = {}
    with earlier.api(API_KEYS_FILE=str(earlier.folder / "api.keys")) as client:
        with earlier.worker():
            jobs["done"] = earlier.upload(client, "plain.jpg", key="plain", **ZONES)
            jobs["done_marked"] = earlier.upload(client, "turned.jpg", **MARKED)
            jobs["done_elsewhere"] = earlier.upload(client, "plain.png", "bob", **ELSEWHERE)
            jobs["done_called"] = earlier.upload(client, "plain.png", **CALLED)
            jobs["failed"] = earlier.upload(client, "cut.jpg", "bob")
            jobs["deleted"] = earlier.upload(client, "turned.jpg", key="deleted")
            files = earlier.files("plain.jpg", "turned.jpg")
            batch = client.post("/batch-upload", files=files, headers=earlier.headers("alice"))
            batch_id = batch.json()["batch_id"]
            for name in jobs:
                who = "bob" if name in ("done_elsewhere", "failed") else "alice"
                earlier.ended(client, jobs[name], who)
            eventually(
                lambda: client.get(f"/batch/{batch_id}", headers=earlier.headers("alice")).json()[
                    "done"
                ],
                "the batch ends",
            )
            place = "blurline:webhooks:image_processing_queue:tries"
            eventually(lambda: earlier.redis.hlen(place), "a webhook was tried")
            deleted = client.delete(f"/jobs/{jobs['deleted']}", headers=earlier.headers("alice"))
            assert deleted.status_code == 200, deleted.text
        for name, who in (
            ("done", "alice"),
            ("done_marked", "alice"),
            ("done_elsewhere", "bob"),
            ("done_called", "alice"),
            ("failed", "bob"),
            ("deleted", "alice"),
        ):
            for route in ("status", "certificate"):
                path = f"/{route}/{jobs[name]}"
                answer = client.get(path, headers=earlier.headers(who))
                answers[path] = {"who": who, "status": answer.status_code, "json": answer.json()}
        path = f"/batch/{batch_id}"
        answer = client.get(path, headers=earlier.headers("alice"))
        answers[path] = {"who": "alice", "status": answer.status_code, "json": answer.json()}
        totals = client.get("/stats", headers=earlier.headers("alice")).json()["totals"]

        jobs["running"] = earlier.upload(client, "slow.webp", "bob")
        with earlier.worker():
            eventually(lambda: earlier.redis.zcard("rq:wip:image_processing_queue"), "one runs")

        # Where results are to lie there is a file, so the store can't take any.
        results = earlier.folder / "data/store/processed"
        results.rename(results.with_name("away"))
        results.write_bytes(b"")
        jobs["retrying"] = earlier.upload(client, "failing.jpg", **ZONES)
        with earlier.worker():
            eventually(
                lambda: (
                    earlier.fields(jobs["retrying"], "status", "retries_left")
                    == [b"scheduled", b"3"]
                ),
                "a job was tried twice and waits for its next try",
            )
        results.unlink()
        results.with_name("away").rename(results)

        jobs["taken"] = earlier.upload(client, "waiting.jpg", "bob")
        # What a worker does first; this one dies of it.
        queue = "rq:queue:image_processing_queue"
        earlier.redis.lmove(queue, f"{queue}:intermediate", "LEFT", "RIGHT")
        jobs["waiting"] = earlier.upload(client, "waiting.jpg", key="waiting")
        jobs["waiting_marked"] = earlier.upload(client, "waiting.jpg", "bob", **MARKED)
        jobs["waiting_elsewhere"] = earlier.upload(client, "waiting.jpg", **ELSEWHERE)
        jobs["waiting_called"] = earlier.upload(client, "waiting.jpg", **CALLED)
        jobs["waiting_cut"] = earlier.upload(client, "cut.jpg")
        files = earlier.files("failing.jpg", "waiting.jpg")
        headers = {**earlier.headers("bob"), "Idempotency-Key": "batch"}
        waiting = client.post("/batch-upload", files=files, headers=headers).json()["batch_id"]
    with earlier.api() as client:
        jobs["waiting_of_nobody"] = earlier.upload(client, "waiting.jpg", "")
    batches = {"done": batch_id, "waiting": waiting}
    return {"jobs": jobs, "batches": batches, "totals": totals, "answers": answers}


def dumped(redis: Redis, folder: Path) -> dict[str, Any]:
    """All that Redis holds, by name; bytes as Latin-1."""

    def text(value: Any) -> Any:
        if isinstance(value, bytes):
            told = value.decode("latin-1").replace(f"{gethostname()}-", "host-")
            return "host" if told == gethostname() else told.replace(str(folder), "/folder")
        if isinstance(value, dict):
            return {text(name): text(one) for name, one in sorted(value.items())}
        if isinstance(value, (list, tuple, set)):
            return [text(one) for one in value]
        return value

    read: dict[str, Callable[[bytes], Any]] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "list": lambda name: redis.lrange(name, 0, -1),
        "set": redis.smembers,
        "zset": lambda name: redis.zrange(name, 0, -1, withscores=True),
        "stream": lambda name: redis.xrange(name),
    }
    held: dict[str, Any] = {}
    # A trace names folders of this machine.
    for name in redis.scan_iter(f"{Result.get_key('')}*"):
        redis.delete(name)
    for name in sorted(redis.scan_iter()):
        kind, lives = redis.type(name).decode(), redis.ttl(name)
        if 0 <= lives <= FLEETING_SECONDS:
            continue
        held[text(name)] = {
            "type": kind,
            "ttl": None if lives < 0 else lives,
            "value": text(read[kind](name)),
        }
    return {"at": time.time(), "keys": held}


def main() -> None:
    """Make the folder anew."""
    checkout, target = (Path(word).resolve() for word in sys.argv[1:])
    if not Path(blurline.__file__).is_relative_to(checkout):
        raise SystemExit(f"PYTHONPATH={checkout} has to come first")
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="bl-") as name:
        earlier = Earlier(checkout, Path(name))
        with earlier.queue_server():
            told = work(earlier)
            held = dumped(earlier.redis, earlier.folder)
        data = earlier.folder / "data"
        shutil.copytree(data / "store", target / "store")
        shutil.copy(data / "keys/master.key", target / "master.key")
        shutil.copy(data / "keys/signing.pub.pem", target / "signing.pub.pem")
    (target / "pictures").mkdir()
    for name, content in earlier.pictures.items():
        (target / "pictures" / name).write_bytes(content)
    for name, content in (("told", told), ("redis", held)):
        (target / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
