"""`blurline up`: what it starts, what it refuses to start with, and that nothing outlives it."""

import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from blurline.stack.stack import Stack
from tests.commands import Cli, check_refused, end_of, run_apart, said, started
from tests.data_folder import DataFolder
from tests.parts import PATIENCE, ended, files_below, upload


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_everything_that_it_started(
    tmp_path: Path, small_jpeg: bytes, signum: signal.Signals
) -> None:
    log = tmp_path / "log.txt"
    words = ["up", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with started(log, *words, PIPELINES="blur", DEFAULT_PIPELINE="blur") as process:
        url = said(log, r"blurline is up: (\S+)")[1]
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            ended(client, upload(client, small_jpeg))

        code, left = end_of(process, signum)

    assert (code, left) == (0, [])
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    text = log.read_text("utf-8")
    assert f"{url}/docs" in text
    assert str(tmp_path / "data") in text
    assert "Traceback" not in text


def test_nothing_outlives_up_when_it_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    words = ["up", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with started(log, *words, PIPELINES="blur", DEFAULT_PIPELINE="blur") as process:
        said(log, r"blurline is up: (\S+)")
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.kill()
        _, left = psutil.wait_procs(children, timeout=PATIENCE)
    assert left == []


def test_a_port_in_use_is_said_in_one_line(stack: Stack, tmp_path: Path) -> None:
    port = str(urlsplit(stack.url).port)

    end = run_apart("up", PORT=port, DATA_DIR=str(tmp_path))

    check_refused(end, "PORT", port, "in use")


def test_a_data_folder_in_use_is_said_in_one_line(stack: Stack, data_folder: DataFolder) -> None:
    end = run_apart("up", "--port", "0", "--data-dir", str(data_folder.path))

    check_refused(end, "DATA_DIR", str(data_folder.path), "in use")
    assert httpx.get(f"{stack.url}/health").json()["status"] == "ok"


@pytest.mark.parametrize("command", ["up", "demo"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DEFAULT_THRESHOLD", "cat=0.3", "DEFAULT_*: threshold"),
        ("DEFAULT_PIPELINE", "none", "DEFAULT_PIPELINE"),
    ],
)
def test_a_bad_default_is_told_before_anything_starts(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)

    check_refused(cli(command), said)
    assert files_below(tmp_path) == []
