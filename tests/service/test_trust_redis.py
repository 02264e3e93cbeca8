"""What somebody who can write to Redis, and to nothing else, can't bring about."""

import json
import logging
import pickle
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from rq.job import Job

from blurline.jobs.job import JobSpec, JobStatus
from blurline.queue.claims import Claims, Fingerprint
from blurline.queue.jobqueue import JobQueue
from blurline.queue.queuedjob import RETRY_SECONDS, TASK
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.webhooks.outbox import Event, open_outbox
from tests.parts import NOBODY, job_spec, runner, settings_for
from tests.plays import Play, begin

MARKED: list[str] = []


def leave_a_mark(*words: object, **more: object) -> None:
    """What must never be called."""
    MARKED.append("called")


HERE = f"{__name__}.leave_a_mark"


class Bomb:
    """Leaves a mark as soon as somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return leave_a_mark, ()


@pytest.fixture(autouse=True)
def nothing_was_called() -> Any:
    MARKED.clear()
    yield
    assert MARKED == []


@pytest.fixture
def play(redis_url: str, tmp_path: Path) -> Play:
    return Play(settings_for(redis_url, tmp_path, originals="delete"))


def message(function: object, *arguments: object, **named: object) -> bytes:
    return zlib.compress(json.dumps([function, None, list(arguments), named]).encode())


def plant(redis: Redis, play: Play, **fields: Any) -> str:
    """A job that somebody else has put into the queue; its id."""
    job_id = str(uuid4())
    hash_of = {
        "created_at": "2026-01-01T00:00:00.000000Z",
        "status": "queued",
        "origin": play.settings.queue_name,
        "data": message(TASK),
        **fields,
    }
    redis.hset(f"rq:job:{job_id}", mapping=hash_of)
    redis.rpush(f"rq:queue:{play.settings.queue_name}", job_id)
    return job_id


def status(redis: Redis, job_id: str) -> str:
    return (redis.hget(f"rq:job:{job_id}", "status") or b"").decode()


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda mark: message("os.system", f"touch {mark}"),
    "builtins.exec": lambda mark: message("builtins.exec", f"open({str(mark)!r}, 'w')"),
    "subprocess": lambda mark: message("subprocess.check_call", ["touch", str(mark)]),
    "a function of ours": lambda mark: message(HERE),
    "a method": lambda mark: zlib.compress(
        json.dumps(["touch", {"a": "b"}, [str(mark)], {}]).encode()
    ),
    "a longer name": lambda mark: message(f"{TASK}_and_more"),
    "no name": lambda mark: message(None),
    "a pickle": lambda mark: zlib.compress(pickle.dumps((HERE, None, (), {}))),
    "a bomb": lambda mark: zlib.compress(pickle.dumps(Bomb())),
    "a bare bomb": lambda mark: pickle.dumps(Bomb()),
    "not packed": lambda mark: json.dumps([TASK, None, [], {}]).encode(),
    "garbage": lambda mark: b"x\x9c" + bytes(range(256)),
    "cut off": lambda mark: message(TASK)[:9],
    "nothing": lambda mark: b"",
    "yaml": lambda mark: zlib.compress(b"!!python/object/apply:os.system ['id']"),
    "much": lambda mark: zlib.compress(b'["os.system", null, ["' + b"x" * (64 << 20)),
}


def test_a_worker_calls_no_function_that_redis_names(
    play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planted = {
        name: plant(play.redis, play, data=data(tmp_path / f"mark of {name}"))
        for name, data in FOREIGN.items()
    }
    with caplog.at_level(logging.ERROR):
        play.work(len(planted))
    assert list(tmp_path.glob("mark of *")) == []
    states = {name: status(play.redis, job_id) for name, job_id in planted.items()}
    assert states == dict.fromkeys(planted, "failed")
    assert play.waits() == []  # and none is tried again
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert lines == [one for one in lines if "not called" in one]
    assert [one.split()[1].strip(":") for one in lines] == list(planted.values())


CALLBACKS = {f"{when}_callback_name": HERE for when in ("success", "failure", "stopped")}


class Receiver(HTTPServer):
    """Notes who posts to it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        super().__init__(("127.0.0.1", 0), Ear)


class Ear(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.heard.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def receiver() -> Any:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hooks(receiver: Receiver) -> str:
    url = f"http://127.0.0.1:{receiver.server_port}/"
    return json.dumps([{"url": url, "job_status": one} for one in ("finished", "failed")])


@pytest.mark.parametrize("good", [True, False], ids=["done", "failed"])
def test_nobody_is_called_back_or_posted_to_that_redis_names(
    play: Play, small_jpeg: bytes, receiver: Receiver, good: bool
) -> None:
    spec = play.submit(small_jpeg if good else None)
    key = f"rq:job:{spec.job_id}"
    play.redis.hset(key, mapping={**CALLBACKS, "webhooks": hooks(receiver)})
    play.work()
    assert play.state(spec) is (JobStatus.COMPLETED if good else JobStatus.FAILED)
    assert receiver.heard == []


@pytest.mark.parametrize("left", [0, 3])
def test_a_job_of_a_dead_worker_calls_nobody_back_either(
    play: Play, small_jpeg: bytes, receiver: Receiver, left: int
) -> None:
    spec = play.submit(small_jpeg)
    play.lose_a_worker(begin)
    key = f"rq:job:{spec.job_id}"
    fields = {**CALLBACKS, "webhooks": hooks(receiver), "retries_left": left}
    play.redis.hset(key, mapping=fields)
    play.miss_the_lost()
    assert play.state(spec) is (JobStatus.SUBMITTED if left else JobStatus.FAILED)
    assert receiver.heard == []


ABSURD: dict[str, dict[str, Any]] = {
    "times": {"timeout": "-1", "ttl": "1", "result_ttl": "-1", "failure_ttl": "-1"},
    "huge times": {"timeout": "9" * 400, "ttl": "9" * 30, "result_ttl": "1e999"},
    "no numbers": {"timeout": "x", "ttl": "x", "retries_left": "x", "retry_intervals": "x"},
    "moments": {"enqueued_at": "yesterday", "started_at": "\x00", "created_at": "0001"},
    "a state": {"status": "undone"},
    "another queue": {"origin": "elsewhere"},
    "dependencies": {"dependency_ids": '["a"]', "dependency_id": "a"},
    "a group": {"group_id": "g", "repeats_left": "9", "repeat_intervals": "[0]"},
    "a result": {"result": pickle.dumps(Bomb()), "exc_info": pickle.dumps(Bomb())},
    "words": {"meta": "[[[", "description": b"\xff\xfe", "worker_name": b"\xff"},
    "a serializer": {"serializer": "pickle", "serializer_name": HERE, "exc_handler": HERE},
}


def test_jobs_are_done_as_they_were_ordered_whatever_else_redis_says_of_them(
    play: Play, small_jpeg: bytes
) -> None:
    specs = [play.submit(small_jpeg) for _ in ABSURD]
    for spec, fields in zip(specs, ABSURD.values(), strict=True):
        play.redis.hset(f"rq:job:{spec.job_id}", mapping=fields)
        play.redis.sadd(f"rq:job:{spec.job_id}:dependents", "other")
        play.redis.sadd(f"rq:job:{spec.job_id}:dependencies", "a")
    play.work(len(specs))
    for spec in specs:
        assert play.state(spec) is play.record(spec).status is JobStatus.COMPLETED
        lasts = play.redis.ttl(f"rq:job:{spec.job_id}")
        assert 0 < lasts <= play.settings.result_ttl
    assert play.queues.first.depth() == 0


def test_such_jobs_outlive_their_workers_and_their_waiting(play: Play, small_jpeg: bytes) -> None:
    specs = []
    for fields in ABSURD.values():
        specs.append(spec := play.submit(small_jpeg))
        play.lose_a_worker(begin)
        some = {key: value for key, value in fields.items() if key != "retries_left"}
        play.redis.hset(f"rq:job:{spec.job_id}", mapping={**some, "retries_left": "4"})
    play.miss_the_lost()
    play.next_try()
    assert {play.state(spec) for spec in specs} == {JobStatus.SUBMITTED}
    assert play.queues.first.depth() == len(specs)
    play.work()
    ended = [one for spec in specs if (one := play.records.find(spec.job_id)) is not None]
    assert [record.status for record in ended] == [JobStatus.COMPLETED]


def test_entries_that_are_no_jobs_stop_neither_worker_nor_keeper(
    play: Play, small_jpeg: bytes
) -> None:
    name, redis = play.settings.queue_name, play.redis
    spec = play.submit(small_jpeg)
    redis.set("rq:job:a-word", "no hash")
    for entry in (b"\xff\xfe", b"../../x", b"a b", b"x" * 5000, b"a-word", b"", NOBODY.encode()):
        redis.lpush(f"rq:queue:{name}", entry)
        redis.rpush(f"rq:queue:{name}:intermediate", entry)
        redis.zadd(f"rq:wip:{name}", {entry: 5})
        redis.zadd(f"rq:scheduled:{name}", {entry: 5})
    redis.zadd(f"rq:wip:{name}", {b"a-word:run": 5})
    play.miss_the_lost()
    play.work()
    assert play.record(spec).status is JobStatus.COMPLETED


def test_a_queued_message_of_an_earlier_version_is_run_as_its_order_says(
    play: Play, small_jpeg: bytes
) -> None:
    spec = play.submit(small_jpeg)
    altered = {**json.loads(spec.to_order()), "owner": "key-mallory", "pipeline": "none"}
    altered["callback_url"] = "https://mallory.example.org/"
    old = {"data": message(TASK, **altered), "meta": '{"owner": "key-mallory"}'}
    play.redis.hset(f"rq:job:{spec.job_id}", mapping=old)
    play.work()
    record = play.record(spec)
    assert record.status is JobStatus.COMPLETED
    assert (record.owner, record.pipeline) == (spec.owner, spec.pipeline)
    assert open_outbox(play.redis, play.settings).take(9) == []


def test_an_owner_that_redis_names_is_believed_with_our_tag_alone(
    redis_url: str, tmp_path: Path
) -> None:
    settings = settings_for(redis_url, tmp_path)
    redis = Redis.from_url(redis_url)
    queue, mine, other = Queues(redis, settings, {}), *(job_spec(owner=f"key-{n}") for n in "ab")
    queue.submit([mine, other])
    key = Job.key_for(mine.job_id)

    def owner() -> str | None:
        (state,) = queue.states([mine.job_id])
        assert state is not None
        return state.owner

    assert owner() == "key-a"
    told = json.loads(redis.hget(key, "meta") or b"")
    for meta in (
        redis.hget(Job.key_for(other.job_id), "meta"),  # of another job
        json.dumps({**told, "owner": "key-b"}),
        json.dumps({"owner": "key-b"}),  # as earlier versions wrote it
        "[]",
        b"\xff",
        "[" * 100_000,
    ):
        assert meta is not None
        redis.hset(key, "meta", meta)
        assert owner() is None


@pytest.fixture
def claims(redis_url: str, tmp_path: Path) -> tuple[Claims, Redis, Settings]:
    settings = settings_for(redis_url, tmp_path)
    redis = Redis.from_url(redis_url)
    return Claims(redis, settings), redis, settings


def test_an_upload_is_answered_by_no_job_that_somebody_else_put_in_the_mapping(
    claims: tuple[Claims, Redis, Settings],
) -> None:
    desk, redis, settings = claims
    queue = JobQueue(redis, settings)
    mine, theirs = Fingerprint("a" * 64, "c" * 64), Fingerprint("b" * 64, "c" * 64)
    first, second, fresh = (str(uuid4()) for _ in range(3))
    desk.claim(mine, first, queue, places=9)
    desk.claim(theirs, second, queue, places=9)
    place = f"blurline:same:{settings.queue_name}:"
    held = redis.get(place + theirs.name) or b""
    for planted in (held, second.encode() + b"c" * 64, second.encode(), b"\xff" * 200, b""):
        redis.set(place + mine.name, planted)
        claim = desk.claim(mine, fresh, queue, places=9)
        assert claim is not None
        assert (claim.job_id, claim.fresh) == (fresh, True)
        again = desk.claim(mine, str(uuid4()), queue, places=9)
        assert again is not None
        assert (again.job_id, again.fresh, again.fits) == (fresh, False, True)


def test_no_webhook_goes_where_redis_says(redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(redis_url, tmp_path)
    redis = Redis.from_url(redis_url)
    box, place = open_outbox(redis, settings), f"blurline:webhooks:{settings.queue_name}"
    event = Event(NOBODY, "https://hook.example.org/t0ken", JobStatus.COMPLETED, time.time())
    box.add(event)
    content = redis.hget(f"{place}:events", NOBODY) or b""
    assert b"hook" not in content
    assert b"t0ken" not in content
    plain = {"job_id": "other", "url": "https://mallory.example.org/", "status": "completed"}
    plain["finished_at"] = 1.0  # type: ignore[assignment]
    planted = {"other": json.dumps(plain), "swapped": content, "cut": content[:-1], "\xff": "x"}
    redis.hset(f"{place}:events", mapping=planted)  # type: ignore[arg-type]
    redis.zadd(f"{place}:due", dict.fromkeys(planted, 0))
    assert box.take(9) == [(event, 1)]
    assert redis.hkeys(f"{place}:events") == [NOBODY.encode()]


def test_an_event_of_an_earlier_version_goes_where_its_order_says(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, redis = settings_for(redis_url, tmp_path), Redis.from_url(redis_url)
    jobs = runner(settings)
    box, place = (
        open_outbox(redis, settings, jobs.endings.end_of),
        f"blurline:webhooks:{settings.queue_name}",
    )
    told, silent = (
        job_spec(pipeline="test", targets=(), owner="key-a", callback_url=url)
        for url in ("https://hook.example.org/", None)
    )
    for spec in (told, silent):
        jobs._processor.originals.put(spec.job_id, spec.kind, small_jpeg, spec.to_order())
        jobs.run(spec.job_id, retries_left=5, waited=0.0)
        box.remove(spec.job_id)
    for name in (told.job_id, silent.job_id, NOBODY, "../" * 9):
        plain = {"job_id": name, "url": "https://mallory.example.org/", "status": "failed"}
        redis.hset(f"{place}:events", name, json.dumps({**plain, "finished_at": 1.0}))
        redis.zadd(f"{place}:due", {name: 0})
    ((event, number),) = box.take(9)
    assert (event.job_id, event.url, number) == (told.job_id, told.callback_url, 1)
    assert (event.status, event.owner) == (JobStatus.COMPLETED, "key-a")
    assert redis.hlen(f"{place}:events") == 1


def test_more_tries_than_a_job_has_are_not_granted(play: Play, small_jpeg: bytes) -> None:
    spec = play.submit(None)
    play.redis.hset(f"rq:job:{spec.job_id}", "retries_left", 10**6)
    play.lose_a_worker(begin)
    play.miss_the_lost()
    left = int(play.redis.hget(f"rq:job:{spec.job_id}", "retries_left") or 0)
    assert left == len(RETRY_SECONDS) - 1


def test_a_job_spec_is_not_in_redis(play: Play, small_jpeg: bytes) -> None:
    spec: JobSpec = play.submit(small_jpeg)
    content = b"".join(play.redis.hvals(f"rq:job:{spec.job_id}"))
    assert spec.filename.encode() not in content
