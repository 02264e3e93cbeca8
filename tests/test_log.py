"""What the log's lines look like, and what they never say."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

import pytest

from blurline.log import JsonFormatter, TextFormatter, about, subject

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


def test_what_lines_are_about_ends_with_the_block() -> None:
    with about(request_id="r-1"):
        with about(request_id="", job_id="j-1"):
            assert (subject("request_id"), subject("job_id")) == ("r-1", "j-1")
        assert subject("job_id") == ""
    assert subject("request_id") == ""
