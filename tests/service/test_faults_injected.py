"""What is promised while a part of the service fails in one way, and the accounts after that."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurline.errors import ModelError
from blurline.models.catalogue import find
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.settings import load_settings
from blurline.worker.watchdog import HUNG_STATUS
from tests.fault_house import House, house
from tests.fault_parts import NETWORK, STEPS
from tests.fault_proxy import HttpFault
from tests.parts import ROOT, S3Server, ValkeyServer, eventually

MANY = 24
"""Pictures of a case."""


def completed(home: House) -> int:
    """How many jobs are known to be completed; -1 while nobody can say."""
    try:
        totals = home.client.get("/stats").json()["totals"]
    except (KeyError, ValueError):
        return -1
    return int(totals["completed"])


@pytest.fixture
def valkey(shared_valkey: ValkeyServer) -> ValkeyServer:
    """A queue server of this test's own contents."""
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_a_job_ends_once_wherever_its_worker_is_killed(
    valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes, step: str
) -> None:
    once = tmp_path / "once"
    environment = {"FAULT": f"{step}:die:3", "FAULT_ONCE": str(once)}
    with house(valkey, tmp_path, small_jpeg, environment=environment) as home:
        home.must_take(MANY)
        eventually(once.exists, "a worker is killed")
        home.injected["SIGKILL of worker"] += 1
        account = home.account()
    assert (account.completed, account.failed, account.refused) == (MANY, 0, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("act", "status"), [("hang", HUNG_STATUS), ("freeze", 1)], ids=["beside others", "alone"]
)
def test_a_worker_that_hangs_in_native_code_is_replaced_and_its_jobs_end(
    valkey: ValkeyServer,
    tmp_path: Path,
    small_jpeg: bytes,
    caplog: pytest.LogCaptureFixture,
    act: str,
    status: int,
) -> None:
    once = tmp_path / "once"
    environment = {"FAULT": f"fetched:{act}:3", "FAULT_ONCE": str(once)}
    with house(valkey, tmp_path, small_jpeg, environment=environment, job_timeout=3) as home:
        before = {child.pid for child in home.workers}
        home.must_take(MANY)
        eventually(once.exists, "a worker hangs")
        home.injected[act] += 1
        account = home.account()
        assert account.completed == MANY
        eventually(lambda: {child.pid for child in home.workers} != before, "it is replaced")
        eventually(home.healthy, "all workers are there again")
    assert f"exit status {status}" in caplog.text


@pytest.mark.long
def test_workers_that_are_told_to_stop_lose_nothing_and_leave_in_peace(
    valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with house(valkey, tmp_path, small_jpeg) as home:
        home.must_take(MANY)
        for child in home.workers:
            pid = child.pid
            home.kill(child, signal.SIGTERM)
            eventually(lambda child=child, pid=pid: child.pid != pid, "it is started again")
            home.must_take(MANY)
        account = home.account()
        with valkey.client() as redis:
            tries = {redis.hget(f"rq:job:{job_id}", "retries_left") for job_id in home.accepted}
    assert account.completed == 3 * MANY
    assert len(tries) == 1, "a job was tried twice"
    assert caplog.text.count("died (exit status 0)") == 2


@pytest.mark.long
@pytest.mark.parametrize("seconds", [3, 12])
def test_a_redis_that_stands_still_costs_time_alone(
    valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes, seconds: int
) -> None:
    assert valkey.process is not None
    with house(valkey, tmp_path, small_jpeg) as home:
        home.must_take(MANY)
        home.injected[f"stall of {seconds} s"] += 1
        valkey.process.send_signal(signal.SIGSTOP)
        go_on = threading.Timer(seconds, valkey.process.send_signal, [signal.SIGCONT])
        go_on.start()
        while go_on.is_alive():
            home.send()
        eventually(home.healthy, "the house is whole again")
        home.must_take(MANY)
        account = home.account(doubtful=home.refused)
    assert account.completed >= 2 * MANY
    assert account.unheard == 0
    # What was refused although Redis did it later finds its picture gone.
    assert account.failed <= account.refused


@pytest.mark.long
def test_connections_to_redis_that_break_cost_time_alone(
    valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    with house(valkey, tmp_path, small_jpeg) as home:
        for number in range(8):
            home.must_take(6)
            if number % 4 == 3:
                home.redis_proxy.refuse()
                home.send()
                home.redis_proxy.heal()
            elif number % 2:
                home.redis_proxy.cut(after=200)
            home.redis_proxy.reset()
            home.send(2)
        eventually(home.healthy, "the house is whole again")
        account = home.account(doubtful=home.refused)
    assert account.failed <= account.refused


@pytest.mark.long
def test_a_redis_without_memory_refuses_uploads_clearly_and_loses_nothing(
    own_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    with house(own_valkey, tmp_path, small_jpeg) as home, own_valkey.client() as redis:
        home.must_take(MANY)
        before = len(home.accepted)
        redis.config_set("maxmemory", 1)
        home.injected["no memory"] += 1
        answers = home.send(8)
        assert set(answers) == {(503, "queue_unavailable")}
        assert len(home.accepted) == before
        time.sleep(8)  # longer than a worker may be silent
        redis.config_set("maxmemory", 0)
        eventually(home.healthy, "the house is whole again")
        home.must_take(MANY)
        account = home.account()
    assert (account.completed, account.failed) == (2 * MANY, 0)


S3_FAULTS = {
    "503 to all": HttpFault("slow_down", 24),
    "503 to writes": HttpFault("slow_down", 24, ("PUT",)),
    "answers to writes lost": HttpFault("lose_answer", 24, ("PUT",)),
    "answers to all lost": HttpFault("lose_answer", 24),
    "no answer to writes": HttpFault("no_answer", 3, ("PUT",)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", S3_FAULTS)
def test_an_s3_server_that_fails_for_a_while_costs_time_alone(
    valkey: ValkeyServer, s3_server: S3Server, tmp_path: Path, small_jpeg: bytes, name: str
) -> None:
    fault = HttpFault(S3_FAULTS[name].act, S3_FAULTS[name].left, S3_FAULTS[name].methods)
    # A request without an answer takes the store's whole patience.
    with house(valkey, tmp_path, small_jpeg, s3_server, job_timeout=60) as home:
        assert home.s3_proxy is not None
        # Held still, the workers meet the fault with all jobs at once.
        for child in home.workers:
            os.kill(child.pid, signal.SIGSTOP)
        home.must_take(MANY)
        home.s3_proxy.on_requests(fault)
        for child in home.workers:
            os.kill(child.pid, signal.SIGCONT)
        home.send(2)
        eventually(lambda: fault.left == 0 or home.at_rest(), "the fault was met", 240)
        home.s3_proxy.heal()
        eventually(home.healthy, "the house is whole again")
        home.must_take(MANY)
        account = home.account(doubtful=home.refused)
    assert account.failed == account.unheard == 0


@pytest.mark.long
def test_connections_to_s3_that_break_cost_time_alone(
    valkey: ValkeyServer, s3_server: S3Server, tmp_path: Path, small_jpeg: bytes
) -> None:
    with house(valkey, tmp_path, small_jpeg, s3_server) as home:
        assert home.s3_proxy is not None
        for number in range(8):
            home.must_take(6)
            home.s3_proxy.cut(after=2000)
            home.s3_proxy.reset()
            home.send(2)
            if number == 4:
                home.s3_proxy.refuse()
                home.send()
                home.s3_proxy.heal()
        account = home.account(doubtful=home.refused)
    assert account.failed == account.unheard == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no `mount` for a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run([umount, str(disk)], check=True)


@pytest.mark.long
def test_a_full_disk_is_answered_503_and_its_jobs_are_done_when_there_is_room(
    valkey: ValkeyServer, tmp_path: Path, small_disk: Path, small_jpeg: bytes
) -> None:
    filler = small_disk / "filler"
    with house(valkey, tmp_path, small_jpeg, store=small_disk / "store") as home:
        for child in home.workers:
            os.kill(child.pid, signal.SIGSTOP)
        home.must_take(MANY)
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                home.injected["full disk"] += 1
        assert set(home.send(4)) == {(503, "store_unavailable")}
        for child in home.workers:
            os.kill(child.pid, signal.SIGCONT)
        counts = eventually(
            lambda: (found := home.client.get("/queue-status").json())["retrying"] and found,
            "jobs wait for another try",
        )
        assert counts["failed"] == 0
        filler.unlink()
        eventually(home.healthy, "the house is whole again")
        home.must_take(4)
        account = home.account()
    assert (account.completed, account.failed) == (MANY + 4, 0)


@pytest.fixture
def clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that holds by how many seconds a clock is wrong, and the environment that makes it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make the clock with")
    library, shift = tmp_path / "clock.so", tmp_path / "shift"
    source = ROOT / "tests/clock_shift.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    shift.write_text("0")
    return shift, {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}


@pytest.mark.long
@pytest.mark.parametrize("jump", [3600, -3600], ids=["forward", "back"])
def test_no_job_is_lost_or_taken_away_when_the_clock_jumps(
    valkey: ValkeyServer,
    tmp_path: Path,
    small_jpeg: bytes,
    clock: tuple[Path, dict[str, str]],
    jump: int,
) -> None:
    shift, environment = clock
    with house(valkey, tmp_path, small_jpeg, environment=environment, pace=3) as home:
        home.must_take(8)
        eventually(lambda: home.client.get("/queue-status").json()["processing"] == 4, "all work")
        shift.write_text(str(jump))
        home.injected["clock jump"] += 1
        home.must_take(4)
        account = home.account()
        with valkey.client() as redis:
            tries = {redis.hget(f"rq:job:{job_id}", "retries_left") for job_id in home.accepted}
    assert account.completed == 12
    assert tries == {b"5"}, "a job was taken from a worker that was alive"


def test_a_network_that_is_not_the_one_it_should_be_is_not_loaded(tmp_path: Path) -> None:
    settings = load_settings(model_dir=tmp_path)
    source = find(NETWORK).source
    there = source.path_in(load_settings().model_dir).read_bytes()
    source.path_in(tmp_path).write_bytes(there[:-1] + b"\0")
    with pytest.raises(ModelError, match="models pull"):
        load_detectors([NETWORK], inference(settings))


@pytest.mark.long
@pytest.mark.parametrize("damaged", [True, False], ids=["changed", "missing"])
def test_no_picture_gets_through_without_its_network_and_the_jobs_wait_for_it(
    valkey: ValkeyServer,
    tmp_path: Path,
    small_jpeg: bytes,
    capfd: pytest.CaptureFixture[str],
    damaged: bool,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    source = find(NETWORK).source
    good, file = source.path_in(load_settings().model_dir), source.path_in(models)
    shutil.copy(good, file)
    with house(valkey, tmp_path, small_jpeg, workers=1, model_dir=models) as home:
        os.kill(home.workers[0].pid, signal.SIGSTOP)
        home.must_take(MANY)
        file.unlink()
        if damaged:
            file.write_bytes(good.read_bytes()[:-1] + b"\0")
        home.kill(home.workers[0])
        said: list[str] = []

        def why_not() -> bool:
            said.append(capfd.readouterr().err)
            return "no network could be loaded" in "".join(said)

        eventually(why_not, "the worker says why it does not start")
        assert f"network {NETWORK}" in "".join(said)
        assert not (home.folder / "processed").exists()
        shutil.copy(good, file)
        eventually(home.healthy, "the house is whole again")
        account = home.account()
    assert account.completed == MANY
