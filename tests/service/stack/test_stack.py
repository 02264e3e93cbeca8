"""The service on one machine: its start, its end, and the children that are kept alive."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from blurline.errors import SettingsError
from blurline.settings import load_settings
from blurline.stack.stack import Stack, StackError, running_stack
from blurline.stack.supervisor import Program, Supervisor
from tests.parts import ended, eventually, upload


@pytest.fixture(scope="module")
def deep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose path is too long for a socket in it."""
    folder = tmp_path_factory.mktemp("deep") / ("a" * 60) / ("b" * 60)
    assert len(bytes(folder)) > 108
    return folder


class Running:
    """A service that tests of this file may end, and what it consists of."""

    def __init__(self, stack: Stack, folder: Path, end: ExitStack) -> None:
        self.stack = stack
        self.folder = folder
        self.end = end


@pytest.fixture(scope="module")
def running(deep_folder: Path) -> Iterator[Running]:
    with ExitStack() as end:
        settings = load_settings(port=0, data_dir=deep_folder)
        stack = end.enter_context(running_stack(settings, {"WORKER_THREADS": "1"}))
        yield Running(stack, deep_folder, end)


def test_a_data_folder_with_a_long_path_works(running: Running, small_jpeg: bytes) -> None:
    with httpx.Client(base_url=running.stack.url, timeout=60) as client:
        assert ended(client, upload(client, small_jpeg))["status"] == "completed"


def test_a_data_folder_serves_one_service_at_a_time(running: Running) -> None:
    settings = load_settings(port=0, data_dir=running.folder)
    with pytest.raises(SettingsError, match=r"DATA_DIR.*in use"), running_stack(settings, {}):
        pass
    assert httpx.get(f"{running.stack.url}/health").status_code == 200


def test_a_service_that_ends_leaves_nothing_behind(running: Running) -> None:
    stack = running.stack
    assert stack.queue is not None
    children = [psutil.Process(child.pid) for child in (stack.api, *stack.workers, stack.queue)]
    socket_file = Path(stack.redis_url.removeprefix("unix://"))
    assert all(child.is_running() for child in children)
    assert socket_file.exists()
    running.end.close()
    assert not any(child.is_running() for child in children)
    assert not socket_file.parent.exists()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{stack.url}/health")


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = load_settings(port=port, data_dir=tmp_path / "data")
        with pytest.raises(SettingsError, match=rf"PORT.*:{port}"), running_stack(settings, {}):
            pass
    assert not (tmp_path / "data" / "valkey").exists()


def test_a_service_whose_worker_does_not_start_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blurline.stack.stack.START_SECONDS", 3)
    before = set(psutil.Process().children())
    settings = load_settings(port=0, data_dir=tmp_path)
    missing = {"MODEL_DIR": str(tmp_path / "none"), "PLATE_MODEL": str(tmp_path / "none.onnx")}
    with pytest.raises(StackError, match="not ready"), running_stack(settings, missing):
        pass
    assert set(psutil.Process().children()) == before


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def python(name: str, code: str, stop_seconds: float = 10) -> Program:
    return Program(name, [sys.executable, "-c", code], stop_seconds=stop_seconds)


def test_a_child_that_dies_is_started_again_each_time(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blurline.stack.supervisor.RESTART_SECONDS", (0.1,))
    lives = tmp_path / "lives"
    supervisor.start(python("dying", f"open({str(lives)!r}, 'a').write('x'); raise SystemExit(1)"))
    supervisor.watch(lambda: lives.exists() and len(lives.read_text()) >= 3, interval=0.01)


def test_a_child_that_does_not_stop_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    ready = tmp_path / "ready"
    code = f"{deaf}; open({str(ready)!r}, 'w'); time.sleep(60)"
    child = psutil.Process(supervisor.start(python("deaf", code, stop_seconds=0.2)).pid)
    eventually(ready.exists, "the child ignores the signal")
    supervisor.stop()
    assert not child.is_running()


def test_children_are_stopped_in_the_reverse_order_of_their_start(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    ends = tmp_path / "ends"
    for name in ("first", "second", "third"):
        code = f"""
import signal, sys, time
def end(*_):
    open({str(ends)!r}, "a").write("{name} ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
open({str(tmp_path / name)!r}, "w")
time.sleep(60)
"""
        supervisor.start(python(name, code))
        eventually((tmp_path / name).exists, "the child listens")
    supervisor.stop()
    assert ends.read_text().split() == ["third", "second", "first"]


def test_a_signal_of_the_terminal_does_not_reach_the_children(supervisor: Supervisor) -> None:
    child = supervisor.start(python("child", "import time; time.sleep(60)"))
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
