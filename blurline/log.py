"""How the processes of the service log: a line a message, as text or JSON, to standard error.

A line names the request and the job that it is about, wherever in the code it was written. Of an
exception it says class and places, never the message: a library's may quote what it choked on.
"""

import json
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any

from blurline.settings import Settings

UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")

NOTHING: Mapping[str, str] = MappingProxyType({})
_SUBJECT: ContextVar[Mapping[str, str]] = ContextVar("_SUBJECT", default=NOTHING)


def configure_logging(settings: Settings) -> None:
    """Log from the settings' level upwards; libraries only from warnings upwards."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # What else would write lines of another form, and exceptions with all their words.
    for name in UVICORN:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # Its lines hold addresses and whole paths; the API writes its own.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # Pillow warns of damage in pictures that it can read past.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("blurline").setLevel(settings.log_level.upper())


@contextmanager
def about(**names: str) -> Iterator[None]:
    """Have all lines inside name these, such as `job_id`; empty ones are left out."""
    given = {name: value for name, value in names.items() if value}
    token = _SUBJECT.set({**_SUBJECT.get(), **given})
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def mention(**names: str) -> None:
    """Have all lines name these too, until the `about` ends that this is called in."""
    _SUBJECT.set({**_SUBJECT.get(), **{name: value for name, value in names.items() if value}})


def subject(name: str) -> str:
    """What `about` says of that name here; empty if nothing."""
    return _SUBJECT.get().get(name, "")


def outline(error: BaseException | None) -> str:
    """The error's class, its code if it has one, and the lines of code that it went through.

    Its message is left out: a library's message may quote the data that it choked on.
    """
    if error is None:
        return "the worker was lost"
    code = getattr(error, "code", None)
    places = traceback.extract_tb(error.__traceback__)
    lines = [f"  {place.filename}:{place.lineno} in {place.name}" for place in places]
    return "\n".join([f"{type(error).__name__}{f' ({code})' if code else ''}", *lines])


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextFormatter(logging.Formatter):
    """Lines for people: what they are about follows in brackets, unless the message says it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        line = super().formatMessage(record)
        named = {name: value for name, value in _SUBJECT.get().items() if value not in line}
        return f"{line} [{' '.join(f'{n}={v}' for n, v in named.items())}]" if named else line

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's own name
        return outline(ei[1])


class JsonFormatter(logging.Formatter):
    """Lines for programs: `time`, `level`, `logger`, `message`, what they are about, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_SUBJECT.get(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = outline(record.exc_info[1])
        return json.dumps(line)
