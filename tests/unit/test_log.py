"""What the log's lines look like, and what they never say."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import httpx
import pytest

from blurline.log import JsonFormatter, TextFormatter, about, subject
from tests.parts import PATIENCE, ROOT, eventually, free_port

SECRET = "face of mister x"  # noqa: S105 - what a foreign error might quote


@dataclass
class Written:
    """A logger, and what it has written so far."""

    logger: logging.Logger
    stream: StringIO

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture(params=[TextFormatter, JsonFormatter])
def log(request: pytest.FixtureRequest) -> Iterator[Written]:
    """A logger that writes in each of the forms."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param())
    logger = logging.getLogger("blurline.test_log")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield Written(logger, stream)
    logger.removeHandler(handler)


def fail() -> None:
    raise ValueError(SECRET)


def test_a_line_says_what_it_is_about(log: Written) -> None:
    with about(request_id="r-1"), about(job_id="j-1"):
        log.logger.info("half of %d", 2)
    assert log.text.count("\n") == 1
    assert "half of 2" in log.text
    assert "r-1" in log.text
    assert "j-1" in log.text


def test_an_exception_is_told_without_its_words(log: Written) -> None:
    try:
        fail()
    except ValueError:
        log.logger.exception("it failed")
    assert "it failed" in log.text
    assert "ValueError" in log.text
    assert "in fail" in log.text
    assert SECRET not in log.text


def test_lines_for_people_do_not_say_twice_what_they_are_about() -> None:
    record = logging.LogRecord("blurline", 20, __file__, 1, "job %s: done", ("j-1",), None)
    with about(request_id="r-1", job_id="j-1"):
        line = TextFormatter().format(record)
    assert line.endswith("INFO blurline: job j-1: done [request_id=r-1]")
    assert TextFormatter().format(record).endswith("INFO blurline: job j-1: done")


def test_lines_for_programs_are_json() -> None:
    record = logging.LogRecord("blurline", 30, __file__, 1, "two\nlines", (), None)
    with about(request_id="r-1"):
        text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "blurline",
        "message": "two\nlines",
        "request_id": "r-1",
    }


@pytest.mark.process
def test_an_api_that_is_started_as_in_its_image_logs_in_the_form_and_no_paths(
    tmp_path: Path,
) -> None:
    port, log = free_port(), tmp_path / "log.txt"
    environment = {
        "LOG_FORMAT": "json",
        "DATA_DIR": str(tmp_path),
        "REDIS_URL": f"unix://{tmp_path}/nobody.sock",
    }
    command = [sys.executable, "-m", "uvicorn", "blurline.entry.api:app", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, cwd=ROOT
        )
    try:
        url = f"http://127.0.0.1:{port}/planted-path?token=planted-token"
        eventually(lambda: answers(url), "the API answers")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    lines = log.read_text("utf-8").splitlines()
    # What it says before it has read the settings has uvicorn's own form.
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert "any unmatched: 404" in str(found)
    assert "Application startup complete." in [line["message"] for line in found]
    assert len(lines) - len(found) <= 1
    assert "planted" not in log.read_text("utf-8")


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 404
    except httpx.TransportError:
        return False


def test_what_lines_are_about_ends_with_the_block() -> None:
    with about(request_id="r-1"):
        with about(request_id="", job_id="j-1"):
            assert (subject("request_id"), subject("job_id")) == ("r-1", "j-1")
        assert subject("job_id") == ""
    assert subject("request_id") == ""
