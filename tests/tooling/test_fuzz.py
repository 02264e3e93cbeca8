"""`make fuzz`: what it would find, and that a finding's file is enough to find it again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import httpx
import pytest

import tests.parts
from blurline.api.app import create_app
from tests.fuzz.answers import Answer
from tests.fuzz.attempt import Attempt, request
from tests.fuzz.exchange import Exchange, faults
from tests.fuzz.findings import read_attempts
from tests.fuzz.forms import simple_form
from tests.fuzz.run import Bounds, House, Run
from tests.fuzz.seeds import small_picture
from tests.fuzz.targets import TARGETS, attempt_of
from tests.parts import Taking, ValkeyServer, serving, settings_for

WHOLE = Attempt("forms", 1, (b"GET /health HTTP/1.1\r\n\r\n",), True)
ERROR = b'{"error": {"code": "%b", "message": "a sentence"}}'


def run_of(house: House, attempts: list[Attempt], folder: Path, **bounds: Any) -> Run:
    """A run over these attempts, which is over."""
    with Run(house, iter(attempts), Bounds(**bounds), "seed", folder) as run:
        while not run.is_over():
            sleep(0.02)
    return run


def found(run: Run) -> set[str]:
    return {finding.what for finding in run.findings.values()}


@pytest.fixture
def faulty(
    shared_valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """A client of the API with a fault planted in it: bodies in chunks are too much for it."""

    def planted(*words: Any) -> Any:
        app = create_app(*words)

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            if b"transfer-encoding" in dict(scope.get("headers", ())):
                raise RuntimeError("planted")
            await app(scope, receive, send)

        return asgi

    monkeypatch.setattr(tests.parts, "create_app", planted)
    with serving(settings_for(shared_valkey.url, tmp_path, queue_name="faulty")) as client:
        yield client


def test_a_planted_fault_is_found_and_its_file_finds_it_again(
    faulty: httpx.Client, taking: Taking, tmp_path: Path
) -> None:
    attempts = [attempt_of("seed", "jpeg", number) for number in range(12)]
    house = House(str(faulty.base_url), has_worker=False)

    first = run_of(house, attempts, tmp_path)

    assert found(first) == {"status", "shape"}
    assert first.figures.sent == {"jpeg": 12}
    for path in first.findings:
        again = read_attempts(path)
        assert b"chunked" in b"".join(again[0].pieces)
        assert found(run_of(house, list(again), tmp_path / "again")) == {"status", "shape"}
    healthy = House(str(taking.client.base_url), has_worker=False)
    assert not run_of(healthy, attempts, tmp_path / "healthy").findings


@pytest.mark.parametrize(
    ("status", "headers", "body", "what"),
    [
        (500, {}, ERROR % b"internal_error", {"status"}),
        (502, {}, b"Bad Gateway", {"status", "shape"}),
        (400, {}, b"Bad Request", {"shape"}),
        (400, {}, b'{"detail": "no"}', {"shape"}),
        (400, {}, b'{"error": {"code": "bad_request"}}', {"shape"}),
        (422, {}, ERROR % b"no_file", {"shape"}),
        (503, {}, ERROR % b"busy", {"shape"}),
        (503, {"retry-after": "1"}, ERROR % b"busy", set()),
        (422, {}, ERROR % b"bad_option", set()),
        (200, {}, b"{}", set()),
    ],
)
def test_an_answer_is_right_only_in_the_documented_shape(
    status: int, headers: dict[str, str], body: bytes, what: set[str]
) -> None:
    exchange = Exchange((Answer(status, headers, body),), 0.1, "")
    assert {word for word, _ in faults(WHOLE, exchange, 5)} == what


@pytest.mark.parametrize(
    ("exchange", "what"),
    [
        (Exchange((), 0.1, ""), "no answer"),
        (Exchange((), 0.1, "the head of an answer is malformed"), "no HTTP"),
        (Exchange((Answer(200, {}, b""),), 5.1, ""), "slow"),
    ],
)
def test_silence_nonsense_and_lateness_are_found(exchange: Exchange, what: str) -> None:
    assert [word for word, _ in faults(WHOLE, exchange, 5)] == [what]


def test_a_process_that_died_or_grew_is_found(taking: Taking, tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    children = [subprocess.Popen(sleeping) for _ in range(2)]
    pids = {"worker 1": children[0].pid, "api": os.getpid()}
    url = str(taking.client.base_url)
    attempts = [attempt_of("seed", "gif", number) for number in range(3)]
    house = House(url, lambda: pids, has_worker=False)
    try:
        with Run(house, iter(attempts), Bounds(growth={"api": 0}), "seed", tmp_path) as run:
            run.is_over()
            children[0].send_signal(signal.SIGKILL)
            pids["worker 1"] = children[1].pid
            grown = bytearray(os.urandom(1 << 24))
            while not run.is_over():
                sleep(0.02)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert len(grown) == 1 << 24
    assert found(run) == {"death", "memory"}


def test_a_job_that_does_not_end_and_a_service_that_is_gone_are_found(
    taking: Taking, tmp_path: Path
) -> None:
    url = str(taking.client.base_url)
    headers = {"Content-Type": "multipart/form-data; boundary=a-boundary"}
    chance = Random("seed")
    body = simple_form({}, small_picture(chance))
    taken = Attempt("forms", 1, request("POST", "/upload", headers, body, chance), True)
    assert found(run_of(House(url), [taken], tmp_path, job_seconds=-1)) == {"endless job"}
    gone = House("http://127.0.0.1:1", has_worker=False)
    assert "no connection" in found(run_of(gone, [taken], tmp_path))


@pytest.mark.parametrize("target", TARGETS)
def test_a_seed_decides_what_is_sent(target: str) -> None:
    first, second = (
        [attempt_of(seed, target, number) for number in range(30)] for seed in ("one", "one")
    )
    assert first == second
    assert len({attempt.pieces for attempt in first}) > 15
    assert [attempt_of("two", target, number) for number in range(30)] != first


def test_nothing_is_ever_posted_to_a_callback() -> None:
    sent = [b"".join(attempt_of("seed", "text", number).pieces) for number in range(400)]
    calling = [data for data in sent if b"callback_url" in data]
    assert len(calling) > 20
    assert not any(b"\xff\xd8\xff" in data for data in calling)
