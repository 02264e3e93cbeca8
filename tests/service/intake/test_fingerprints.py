"""The same picture twice: one job, whoever answers, and when one job is not enough."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from starlette.datastructures import Headers

from blurline.api.errors import RequestError
from blurline.api.idempotency import HEADER, REPLAYED, key_of
from blurline.jobs.job import JobError, failed
from blurline.jobs.orders import find_order
from blurline.jobs.records import Records, open_records
from blurline.storage.objects import open_store
from tests.originals import vault_in
from tests.parts import (
    ROOT,
    Start,
    ValkeyServer,
    done,
    environment_of,
    eventually,
    files_below,
    fresh,
    refusal,
    serving,
    settings_for,
)

QUEUE = "rq:queue:image_processing_queue"


def send(
    client: httpx.Client, picture: bytes, key: str | None = None, **options: Any
) -> httpx.Response:
    headers = {} if key is None else {HEADER: key}
    files = {"file": ("photo.jpg", picture)}
    return client.post("/upload", files=files, data=options, headers=headers)


def send_batch(
    client: httpx.Client, pictures: list[bytes], key: str | None = None, **options: Any
) -> httpx.Response:
    headers = {} if key is None else {HEADER: key}
    files = [("files", (f"{number}.jpg", one)) for number, one in enumerate(pictures)]
    return client.post("/batch-upload", files=files, data=options, headers=headers)


def taken(answer: httpx.Response, *, replayed: bool = False) -> str:
    """The job of an upload that was taken, and whether it is said to be an earlier one."""
    assert answer.status_code == 202, answer.text
    assert answer.headers.get(REPLAYED) == ("true" if replayed else None)
    content = answer.json()
    assert set(content) == {"job_id", "filename", "file_size", "status", "message"}
    return str(content["job_id"])


@pytest.fixture
def queued(shared_valkey: ValkeyServer) -> Iterator[Callable[[], list[str]]]:
    """The ids in the queue."""
    with shared_valkey.client() as redis:
        yield lambda: [one.decode() for one in redis.lrange(QUEUE, 0, -1)]


@pytest.fixture
def client(idle_client: Start) -> httpx.Client:
    return idle_client()


@pytest.fixture
def records(client: httpx.Client, tmp_path: Path) -> Records:
    settings = settings_for("redis://", tmp_path)
    return open_records(settings, open_store(settings))


def end(records: Records, tmp_path: Path, job_id: str, *, well: bool) -> None:
    """As if a worker had done the job, or failed."""
    order = find_order(vault_in(tmp_path), job_id)
    assert order is not None
    error = JobError("corrupt_image", "the picture's data is damaged")
    now = order.submitted_at
    records.commit(done(order, now) if well else failed(order, error, now))


def test_the_same_picture_is_one_job(
    client: httpx.Client, queued: Callable[[], list[str]], tmp_path: Path, small_jpeg: bytes
) -> None:
    job_id = taken(send(client, small_jpeg))
    before = files_below(tmp_path / "store")

    assert taken(send(client, small_jpeg), replayed=True) == job_id
    assert queued() == [job_id]
    assert files_below(tmp_path / "store") == before


@pytest.mark.parametrize("options", [{"targets": "face"}, {"style": "solid"}, {"pipeline": "blur"}])
def test_another_picture_or_other_options_are_another_job(
    client: httpx.Client, small_jpeg: bytes, options: dict[str, str]
) -> None:
    jobs = {
        taken(send(client, small_jpeg)),
        taken(send(client, small_jpeg, **options)),
        taken(send(client, small_jpeg + b"\0", **options)),
    }
    assert len(jobs) == 3


def test_options_that_mean_the_same_are_the_same(client: httpx.Client, small_jpeg: bytes) -> None:
    job_id = taken(send(client, small_jpeg))
    same = send(client, small_jpeg, targets="face,license_plate", style="MOSAIC")
    assert taken(same, replayed=True) == job_id


def test_without_content_identity_only_a_key_makes_two_the_same(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client(content_identity=False)
    assert taken(send(client, small_jpeg)) != taken(send(client, small_jpeg))
    job_id = taken(send(client, small_jpeg, "a"))
    assert taken(send(client, small_jpeg, "a"), replayed=True) == job_id


def test_a_key_of_ones_own_is_a_job_of_its_own(
    client: httpx.Client, queued: Callable[[], list[str]], small_jpeg: bytes
) -> None:
    jobs = [taken(send(client, small_jpeg, key)) for key in ("a", "b")]
    assert taken(send(client, small_jpeg, '"a"'), replayed=True) == jobs[0]  # as the draft writes
    assert queued() == jobs


@pytest.mark.parametrize("change", ["picture", "options", "batch"])
def test_a_key_that_was_sent_with_something_else_is_answered_422(
    client: httpx.Client, queued: Callable[[], list[str]], small_jpeg: bytes, change: str
) -> None:
    job_id = taken(send(client, small_jpeg, "a"))
    if change == "picture":
        answer = send(client, small_jpeg + b"\0", "a")
    elif change == "options":
        answer = send(client, small_jpeg, "a", style="solid")
    else:
        answer = send_batch(client, [small_jpeg], "a")
    assert refusal(answer) == (422, "idempotency_mismatch")
    assert queued() == [job_id]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "two words", "tab\there", "Straße"])
def test_a_key_that_is_none_is_answered_400(
    client: httpx.Client, queued: Callable[[], list[str]], small_jpeg: bytes, key: str
) -> None:
    headers = [(HEADER.encode(), key.encode("latin-1"))]
    answer = client.post("/upload", files={"file": ("a.jpg", small_jpeg)}, headers=headers)
    assert refusal(answer) == (400, "bad_request")
    assert queued() == []


def test_two_keys_of_one_request_are_refused() -> None:
    name = HEADER.lower().encode()
    with pytest.raises(RequestError):
        key_of(Headers(raw=[(name, b"a"), (name, b"b")]))


def test_a_bad_picture_takes_no_key_with_it(client: httpx.Client, small_jpeg: bytes) -> None:
    assert send(client, b"plain words", "a").status_code == 400
    taken(send(client, small_jpeg, "a"))


def test_a_job_that_is_done_answers_for_the_same_picture(
    client: httpx.Client, records: Records, redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    job_id = taken(send(client, small_jpeg))
    end(records, tmp_path, job_id, well=True)
    with Redis.from_url(redis_url) as redis:
        redis.delete(f"rq:job:{job_id}", QUEUE)
    assert taken(send(client, small_jpeg), replayed=True) == job_id


@pytest.mark.parametrize("key", [None, "a"], ids=["content", "key"])
@pytest.mark.parametrize("fate", ["failed", "deleted", "expired"])
def test_a_new_job_takes_over_from_one_that_is_over(
    idle_client: Start,
    redis_url: str,
    tmp_path: Path,
    small_jpeg: bytes,
    fate: str,
    key: str | None,
) -> None:
    client = idle_client(keep_results_days=1e-9 if fate == "expired" else 0)
    job_id = taken(send(client, small_jpeg, key))
    if fate == "deleted":
        assert client.delete(f"/jobs/{job_id}").status_code == 200
    else:
        settings = settings_for(redis_url, tmp_path)
        records = open_records(settings, open_store(settings))
        end(records, tmp_path, job_id, well=fate == "expired")
        with Redis.from_url(redis_url) as redis:
            redis.delete(f"rq:job:{job_id}", QUEUE)
    second = taken(send(client, small_jpeg, key))
    assert second != job_id
    assert taken(send(client, small_jpeg, key), replayed=True) == second


def test_a_replay_is_answered_even_when_the_queue_is_full(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=1)
    job_id = taken(send(client, small_jpeg, "a"))
    assert refusal(send(client, small_jpeg, "b")) == (429, "queue_full")
    assert taken(send(client, small_jpeg, "a"), replayed=True) == job_id


def test_neither_pictures_nor_keys_are_told_by_redis(
    client: httpx.Client, redis_url: str, small_jpeg: bytes
) -> None:
    send(client, small_jpeg)
    send(client, small_jpeg, "unmistakable-key")
    with Redis.from_url(redis_url) as redis:
        names = list(redis.scan_iter("blurline:same:*"))
        page = b" ".join([*names, *(redis.get(name) for name in names)])
        assert [0 < redis.ttl(name) <= 86400 for name in names] == [True, True]
    assert b"unmistakable" not in page
    assert sha256(small_jpeg).hexdigest().encode() not in page
    assert sha256(b"unmistakable-key").hexdigest().encode() not in page


def test_the_same_picture_of_a_batch_is_one_job(
    client: httpx.Client, queued: Callable[[], list[str]], small_jpeg: bytes
) -> None:
    job_id = taken(send(client, small_jpeg))
    answer = send_batch(client, [small_jpeg, b"plain words", small_jpeg + b"\0"])
    assert REPLAYED not in answer.headers
    jobs = [job["job_id"] for job in answer.json()["jobs"]]
    assert jobs[:2] == [job_id, None]
    assert queued() == [job_id, jobs[2]]
    again = send_batch(client, [small_jpeg, small_jpeg + b"\0"])
    assert again.headers[REPLAYED] == "true"
    assert [job["job_id"] for job in again.json()["jobs"]] == [job_id, jobs[2]]
    assert client.get(f"/batch/{again.json()['batch_id']}").json()["total"] == 2


def test_a_batch_with_a_key_is_answered_by_the_same_batch(
    client: httpx.Client, queued: Callable[[], list[str]], tmp_path: Path, small_jpeg: bytes
) -> None:
    pictures = [small_jpeg, small_jpeg, b"plain words"]
    first = send_batch(client, pictures, "a")
    before, files = queued(), files_below(tmp_path / "store")
    assert len(set(before)) == 2

    again = send_batch(client, pictures, "a")

    assert again.json() == first.json()
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert (queued(), files_below(tmp_path / "store")) == (before, files)
    assert send_batch(client, pictures, "b").json()["batch_id"] != first.json()["batch_id"]
    other = send_batch(client, [*pictures, small_jpeg], "a")
    assert refusal(other) == (422, "idempotency_mismatch")


def test_what_found_no_place_in_a_batch_finds_one_at_the_next_try(
    client: httpx.Client, idle_client: Start, redis_url: str, small_jpeg: bytes
) -> None:
    narrow = idle_client(max_queue_size=1)
    first = send_batch(narrow, [small_jpeg] * 2, "a").json()
    assert (first["submitted"], first["rejected"]) == (1, 1)
    second = send_batch(client, [small_jpeg] * 2, "a")
    assert second.json()["batch_id"] == first["batch_id"]
    assert (second.json()["submitted"], second.json()["rejected"]) == (2, 0)
    assert second.json()["jobs"][0] == first["jobs"][0]
    assert REPLAYED not in second.headers


def test_two_processes_at_once_give_one_job(
    redis_url: str, tmp_path: Path, queued: Callable[[], list[str]], small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path)
    with ExitStack() as stack:
        clients = [stack.enter_context(serving(settings)) for _ in range(2)]
        pool = stack.enter_context(ThreadPoolExecutor(8))
        for number in range(4):
            picture = small_jpeg + bytes(number)
            answers = list(pool.map(lambda c, p=picture: send(c, p), clients * 4))
            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert len(queued()) == len(set(queued())) == 4
    vault = vault_in(tmp_path)
    assert all(find_order(vault, job_id) is not None for job_id in queued())


def test_two_processes_that_are_refused_at_once_lose_no_picture_that_was_taken(
    redis_url: str, tmp_path: Path, queued: Callable[[], list[str]], small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path, max_queue_size=3)
    with ExitStack() as stack:
        clients = [stack.enter_context(serving(settings)) for _ in range(2)]
        pool = stack.enter_context(ThreadPoolExecutor(8))
        pictures = [small_jpeg + bytes(number // 4) for number in range(24)]
        answers = list(pool.map(send, clients * 12, pictures))
    accepted = {answer.json()["job_id"] for answer in answers if answer.status_code == 202}
    assert {answer.status_code for answer in answers} == {202, 429}
    assert sorted(accepted) == sorted(queued())
    stored = {path.stem for path in files_below(tmp_path / "store/original")}
    assert stored == accepted


DYING = """
import os, signal, sys
from blurline.queue import jobqueue
jobqueue.JobQueue.submit = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
import uvicorn
uvicorn.run("blurline.entry.api:app", uds=sys.argv[1], log_level="warning")
"""


def die_between_store_and_queue(settings: Any, folder: Path, picture: bytes) -> None:
    """Send a picture to an API that kills itself once it is stored."""
    path = folder / "dying.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", DYING, str(path)],
        env={**os.environ, **environment_of(settings)},
        cwd=ROOT,
    )
    try:
        eventually(path.exists, "the API listens")
        with (
            httpx.Client(
                transport=httpx.HTTPTransport(uds=str(path)), base_url="http://x", timeout=60
            ) as client,
            pytest.raises(httpx.TransportError),
        ):
            send(client, picture)
        assert process.wait(60) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
def test_an_api_that_died_between_store_and_queue_heals_by_the_next_try(
    redis_url: str, tmp_path: Path, queued: Callable[[], list[str]], small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path)
    die_between_store_and_queue(settings, tmp_path, small_jpeg)
    (stored,) = files_below(tmp_path / "store/original")
    assert queued() == []
    with serving(settings) as client:
        assert client.get(f"/status/{stored.stem}").json()["status"] == "submitted"
        assert taken(send(client, small_jpeg)) == stored.stem
    assert queued() == [stored.stem]
    assert vault_in(tmp_path).get(stored.stem, find_order_kind(tmp_path, stored.stem)) == small_jpeg


def find_order_kind(tmp_path: Path, job_id: str) -> Any:
    order = find_order(vault_in(tmp_path), job_id)
    assert order is not None
    return order.kind


def test_an_upload_with_a_fresh_key_is_never_replayed(
    client: httpx.Client, small_jpeg: bytes
) -> None:
    files = {"file": ("a.jpg", small_jpeg)}
    answers = [client.post("/upload", files=files, headers=fresh()) for _ in range(2)]
    assert len({taken(answer) for answer in answers}) == 2
