"""Canonical JSON: one and only one spelling of a value, so that it can be signed.

It is JSON by the JSON Canonicalization Scheme, RFC 8785: UTF-8 without a byte order mark, no spaces
or line ends, members sorted by the UTF-16 code units of their names, only those characters escaped
that have to be, and numbers as ECMAScript writes them. Numbers that Python would write differently
(see `LEAST` and `MOST`) are refused rather than written in another form.
"""

import json
from datetime import UTC, datetime
from typing import Any

LEAST, MOST = 1e-4, 2**53
"""Between these sizes, in each direction, Python's shortest decimal fraction of a float is
ECMAScript's; from `MOST` on whole numbers have no exact place in a float either."""


def canonical(value: Any) -> bytes:
    """The value, made of dicts, lists, tuples, texts, numbers, bools and None, as canonical JSON.

    >>> canonical({"b": [1.0, 0.25], "a": "ü"}).decode()
    '{"a":"ü","b":[1,0.25]}'

    Raises:
        ValueError: a number is too small, too large or none, or a text is not Unicode.
        TypeError: JSON has nothing for the value.
    """
    text = json.dumps(_sorted(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def utc_text(moment: datetime) -> str:
    """The moment, which has to know its time zone, as ISO 8601 in UTC to the millisecond.

    >>> utc_text(datetime(2026, 3, 1, 12, tzinfo=UTC))
    '2026-03-01T12:00:00.000Z'
    """
    if moment.tzinfo is None:
        raise ValueError("the moment does not know its time zone")
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='milliseconds')}Z"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: _sorted(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    if isinstance(value, int | float):
        return _number(value)
    return value


def _number(value: float) -> float:
    if value and not LEAST <= abs(value) < MOST:
        raise ValueError(f"numbers lie between {LEAST} and {MOST}")
    # A bool is an int to Python and stays as it is.
    return int(value) if isinstance(value, float) and value.is_integer() else value
