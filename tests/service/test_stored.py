"""What an earlier release has stored is read, and what it had taken in is finished.

The folders of `tests/stored/` were written by earlier releases; `make.py` there says how. A service
of this release is started upon each of them once, as an upgrade does it.
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from redis import Redis

from blurline.jobs.records import open_records
from blurline.pipeline_architecture import pipelines
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from blurline.worker.reconciler import open_reconciler
from tests.callers import bearer, key_settings
from tests.commands import Cli
from tests.parts import (
    ROOT,
    ValkeyServer,
    ended,
    environment_of,
    eventually,
    serving,
    settings_for,
    worker,
)
from tests.receivers import Receiver, receiving
from tests.stored.make import ELSEWHERE, MARKED, RECEIVER, WEBHOOK_SECRET, ZONES

FOLDER = ROOT / "tests/stored"
RELEASES = ("one_queue", "untagged")
CALLERS = {
    "alice": "submit,read,delete,read:original",
    "bob": "submit,read,delete",
    "eve": "submit,read,delete",
    "admin": "admin",
}
OF_BOB = {"done_elsewhere", "failed", "running", "taken", "waiting_marked"}
OF_NOBODY = {"waiting_of_nobody"}
DONE = ("done", "done_marked", "done_elsewhere", "done_called")
UNDER_WAY = (
    "waiting",
    "waiting_marked",
    "waiting_elsewhere",
    "waiting_called",
    "waiting_of_nobody",
    "taken",
    "running",
    "retrying",
)


@dataclass(frozen=True)
class Left:
    """What a release has left behind, in a data folder and a Redis of its own."""

    release: str
    settings: Settings
    told: dict[str, Any]
    keys: dict[str, str]

    @property
    def place(self) -> Path:
        return FOLDER / self.release

    def job(self, name: str) -> str:
        return str(self.told["jobs"][name])

    def picture(self, name: str) -> bytes:
        return (self.place / "pictures" / name).read_bytes()

    def headers(self, name: str) -> dict[str, str]:
        """Those of the caller who may ask for the job of that name."""
        who = "admin" if name in OF_NOBODY else "bob" if name in OF_BOB else "alice"
        return bearer(self.keys[who])

    @property
    def under_way(self) -> set[str]:
        """Ids of all jobs that had not ended."""
        held = json.loads((self.place / "redis.json").read_text())["keys"]
        states = {
            name.removeprefix("rq:job:"): entry["value"]["status"]
            for name, entry in held.items()
            if name.startswith("rq:job:")
        }
        return {job_id for job_id, state in states.items() if state not in ("finished", "failed")}


def restore(redis: Redis, held: dict[str, Any]) -> None:
    """Put all keys back. No more time has passed for what ends with time, but for what is due."""
    passed = time.time() - held["at"]
    for text, entry in held["keys"].items():
        name, value = text.encode("latin-1"), entry["value"]
        match entry["type"]:
            case "string":
                redis.set(name, value.encode("latin-1"))
            case "list":
                redis.rpush(name, *(one.encode("latin-1") for one in value))
            case "set":
                redis.sadd(name, *(one.encode("latin-1") for one in value))
            case "hash":
                fields = {k.encode("latin-1"): v.encode("latin-1") for k, v in value.items()}
                redis.hset(name, mapping=fields)
            case "zset":
                later = passed if text.startswith(("rq:finished:", "rq:failed:")) else 0.0
                redis.zadd(name, {one.encode("latin-1"): at + later for one, at in value})
        if entry["ttl"] is not None:
            redis.expire(name, entry["ttl"])


def left_by(release: str, folder: Path, redis_url: str) -> Left:
    """The release's data folder and Redis, copied to where a service may change them."""
    place = FOLDER / release
    shutil.copytree(place / "store", folder / "store", copy_function=shutil.copy)
    shutil.copy(place / "master.key", folder / "master.key")
    (folder / "master.key").chmod(0o600)
    keys, key_file = key_settings(folder, CALLERS)
    settings = settings_for(
        redis_url,
        folder,
        master_key_file=folder / "master.key",
        api_keys_file=key_file,
        abandoned_after=4,
        webhook_secret=WEBHOOK_SECRET,
        webhook_allow_http=True,
        webhook_allowed_networks="127.0.0.0/8",
    )
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
        restore(redis, json.loads((place / "redis.json").read_text()))
    return Left(release, settings, json.loads((place / "told.json").read_text()), keys)


@pytest.fixture
def left(redis_url: str, tmp_path: Path) -> Left:
    """What the last release has left behind, which nobody has touched."""
    return left_by("one_queue", tmp_path, redis_url)


@dataclass(frozen=True)
class Upgraded:
    """A service of this release on what another has left, once it has finished all of it."""

    left: Left
    client: httpx.Client
    receiver: Receiver

    def get(self, route: str, name: str) -> httpx.Response:
        """The answer about the job of that name to the caller whose it is."""
        path = f"/{route}/{self.left.job(name)}"
        return self.client.get(path, headers=self.left.headers(name))

    def events(self) -> list[str]:
        """Ids of the jobs whose ends were told, once for each time."""
        return [json.loads(one.body)["job_id"] for one in self.receiver.received]


@pytest.fixture(scope="module", params=RELEASES)
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    folder = tmp_path_factory.mktemp(request.param)
    server = ValkeyServer(folder / "valkey")
    server.start()
    left = left_by(request.param, folder, server.url)
    receiver = urlsplit(RECEIVER)
    try:
        with (
            receiving(address=(str(receiver.hostname), receiver.port or 0)) as hooks,
            serving(left.settings) as client,
            worker(environment_of(left.settings)),
        ):
            client.headers.update(bearer(left.keys["admin"]))
            for job_id in left.under_way:
                ended(client, job_id)
            with connect(server.url) as redis:
                place = "blurline:webhooks:image_processing_queue:events"
                eventually(lambda: not redis.exists(place), "all webhooks are delivered")
            del client.headers["Authorization"]
            yield Upgraded(left, client, hooks)
    finally:
        server.stop()


@pytest.mark.parametrize("name", UNDER_WAY)
def test_a_job_that_an_earlier_release_took_in_is_finished(upgraded: Upgraded, name: str) -> None:
    status = upgraded.get("status", name).json()
    assert (status["status"], status["error"]) == ("completed", None)
    assert status["results"]["blur_metadata"]["counts"].get("zone", 0) == int(
        name in ("retrying", "waiting_marked", "waiting_elsewhere")
    )
    result = upgraded.get("result", name)
    assert result.status_code == 200
    with Image.open(BytesIO(result.content)) as image:
        kind = {"running": "WEBP", "waiting_elsewhere": "WEBP"}.get(name, "JPEG")
        assert image.format == kind
        assert image.size == ((3000, 2000) if name == "running" else (96, 64))


@pytest.mark.parametrize(
    ("name", "options"), [("waiting_marked", MARKED), ("waiting_elsewhere", ELSEWHERE)]
)
def test_it_is_treated_as_it_was_ordered(
    upgraded: Upgraded, name: str, options: dict[str, str]
) -> None:
    results = upgraded.get("status", name).json()["results"]
    said = results["blur_metadata"]
    assert said["zones"]["redact"] == json.loads(options["redact_zones"])
    assert said["zones"]["ignore"] == json.loads(options.get("ignore_zones", "[]"))
    for option, default in (
        ("style", "mosaic"),
        ("metadata", "minimal"),
        ("output_format", "same"),
        ("quality", "balanced"),
    ):
        assert said[option] == options.get(option, default)
    assert ",".join(said["targets"]) == options.get("targets", "face,license_plate")
    thresholds = {"face": 0.3, "license_plate": 0.2} if "threshold" in options else {}
    assert said["thresholds"] == thresholds
    assert (results["detection_metadata"] is None) == (options.get("pipeline") == "blur")


def test_a_job_that_is_to_fail_fails_as_any_other(upgraded: Upgraded) -> None:
    status = upgraded.get("status", "waiting_cut").json()
    assert (status["status"], status["error"]["code"]) == ("failed", "corrupt_image")


def test_each_job_is_counted_once_and_the_totals_go_on(upgraded: Upgraded) -> None:
    headers = bearer(upgraded.left.keys["admin"])
    before, totals = upgraded.left.told["totals"], upgraded.client.get("/stats", headers=headers)
    more = len(upgraded.left.under_way)
    assert totals.json()["totals"] == {
        "completed": before["completed"] + more - 1,
        "failed": before["failed"] + 1,
    }


def test_ends_are_told_to_whoever_waited_for_them_before(upgraded: Upgraded) -> None:
    told = upgraded.events()
    assert sorted(told) == sorted(map(upgraded.left.job, ("done_called", "waiting_called")))


def includes(now: Any, before: Any) -> bool:
    """Whether all that an answer said before is in what it says now."""
    if isinstance(before, dict):
        return all(name in now and includes(now[name], one) for name, one in before.items())
    return bool(now == before)


def test_what_was_told_of_ended_jobs_is_told_again(upgraded: Upgraded) -> None:
    for path, before in upgraded.left.told["answers"].items():
        answer = upgraded.client.get(path, headers=bearer(upgraded.left.keys[before["who"]]))
        assert answer.status_code == before["status"], path
        assert includes(answer.json(), before["json"]), path


@pytest.mark.parametrize("name", DONE)
def test_a_stored_result_is_given_out_and_its_certificate_is_valid(
    upgraded: Upgraded, name: str, cli: Cli, tmp_path: Path
) -> None:
    job_id, result = upgraded.left.job(name), upgraded.get("result", name)
    [stored] = (upgraded.left.place / "store/processed").rglob(f"{job_id}.*")
    assert result.content == stored.read_bytes()
    picture, certificate = tmp_path / stored.name, tmp_path / "certificate.json"
    picture.write_bytes(result.content)
    certificate.write_bytes(upgraded.get("certificate", name).content)
    key = upgraded.left.place / "signing.pub.pem"
    assert cli("verify", picture, certificate, "--key", key).code == 0
    picture.write_bytes(result.content + b"\0")
    assert cli("verify", picture, certificate, "--key", key).code == 1


@pytest.mark.parametrize("name", ["waiting", "waiting_elsewhere"])
def test_a_result_of_an_old_order_has_a_valid_certificate(
    upgraded: Upgraded, name: str, cli: Cli, tmp_path: Path
) -> None:
    picture, certificate = tmp_path / "picture", tmp_path / "certificate.json"
    picture.write_bytes(upgraded.get("result", name).content)
    certificate.write_bytes(upgraded.get("certificate", name).content)
    key = upgraded.left.settings.data_dir / "keys/signing.pub.pem"
    assert cli("verify", picture, certificate, "--key", key).code == 0


def test_a_job_stays_its_callers_and_there_is_none_for_others(upgraded: Upgraded) -> None:
    left = upgraded.left
    for name, job_id in left.told["jobs"].items():
        other = bearer(left.keys["alice" if name in OF_BOB else "bob"])
        for route in ("status", "result", "certificate"):
            for headers in (other, bearer(left.keys["eve"])):
                answer = upgraded.client.get(f"/{route}/{job_id}", headers=headers)
                assert answer.status_code == 404, (name, route)
        answer = upgraded.client.delete(f"/jobs/{job_id}", headers=other)
        assert answer.status_code == 404, name


def test_batches_go_on_and_stay_their_callers(upgraded: Upgraded) -> None:
    left = upgraded.left
    for name, who, others in (("done", "alice", "bob"), ("waiting", "bob", "alice")):
        path = f"/batch/{left.told['batches'][name]}"
        batch = upgraded.client.get(path, headers=bearer(left.keys[who])).json()
        assert batch["done"], name
        assert [job["status"] for job in batch["jobs"]] == ["completed"] * 2
        assert upgraded.client.get(path, headers=bearer(left.keys[others])).status_code == 404


def test_an_original_of_an_earlier_release_can_be_had_by_who_may(upgraded: Upgraded) -> None:
    for name, picture in (("done", "plain.jpg"), ("waiting", "waiting.jpg")):
        assert upgraded.get("original", name).content == upgraded.left.picture(picture)


# Claims without a tag are believed of nobody.
@pytest.mark.parametrize("upgraded", ["one_queue"], indirect=True)
@pytest.mark.parametrize(
    ("name", "picture", "key", "options"),
    [
        ("done", "plain.jpg", "plain", ZONES),
        ("done_marked", "turned.jpg", "", MARKED),
        ("waiting", "waiting.jpg", "waiting", {}),
        ("waiting_elsewhere", "waiting.jpg", "", ELSEWHERE),
    ],
)
def test_an_upload_that_comes_again_is_answered_by_the_job_of_the_earlier_release(
    upgraded: Upgraded, name: str, picture: str, key: str, options: dict[str, str]
) -> None:
    headers = upgraded.left.headers(name) | ({"Idempotency-Key": key} if key else {})
    files = {"file": (picture, upgraded.left.picture(picture))}
    answer = upgraded.client.post("/upload", files=files, data=options, headers=headers)
    assert answer.json()["job_id"] == upgraded.left.job(name)


def test_a_deleted_job_stays_deleted_though_it_is_handed_in_again(upgraded: Upgraded) -> None:
    left = upgraded.left
    headers = left.headers("deleted") | {"Idempotency-Key": "deleted"}
    files = {"file": ("turned.jpg", left.picture("turned.jpg"))}
    answer = upgraded.client.post("/upload", files=files, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json()["job_id"] != left.job("deleted")
    assert upgraded.get("status", "deleted").status_code == 404


def test_a_job_of_an_earlier_release_is_deleted_with_all_that_it_had(upgraded: Upgraded) -> None:
    left, job_id = upgraded.left, upgraded.left.job("done_called")
    answer = upgraded.client.delete(f"/jobs/{job_id}", headers=left.headers("done_called"))
    assert answer.status_code == 200, answer.text
    names = [path.name for path in (left.settings.data_dir / "store").rglob(f"*{job_id}*")]
    assert names == [f"{job_id}.json"]  # the mark
    assert upgraded.get("result", "done_called").status_code == 404


def test_jobs_of_an_earlier_release_that_redis_has_lost_come_back_from_its_orders(
    left: Left,
) -> None:
    known, store = pipelines(left.settings), open_store(left.settings)
    with connect(left.settings.redis_url or "") as redis:
        redis.flushall()
        queues = Queues(redis, left.settings, known)
        originals = open_vault(left.settings, store)
        reconciler = open_reconciler(left.settings, queues, store, originals)
        found = reconciler.reconcile(older_than=timedelta(0))
        waiting = {job_id.decode() for job_id in redis.lrange(queues.first.key, 0, -1)}
    assert waiting == left.under_way
    assert (found.requeued, found.unreadable) == (len(waiting), 0)


def test_records_say_of_whom_they_are(left: Left) -> None:
    records = open_records(left.settings, open_store(left.settings))
    assert records.owner(left.job("done")) == "key-alice"
    assert records.owner(left.job("failed")) == "key-bob"
