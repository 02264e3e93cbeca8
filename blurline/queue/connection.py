"""Connections to Redis, found at an address or through Sentinel."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from blurline import metrics
from blurline.errors import QueueUnavailableError, SettingsError

DEFAULT_URL = "redis://127.0.0.1:6379/0"
"""Where an API or a worker that is started by itself looks when `REDIS_URL` is not set."""

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5

SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
"""Schemes of a URL that names Sentinels, and whether everybody is spoken to by TLS."""

SENTINEL_PORT = 26379
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}

ERROR_CODE = re.compile(r"[A-Z]{3,20}(?= )")
"""What Redis' errors begin with; what follows may quote keys and values."""


def connect(url: str) -> Redis:
    """A client that connects on first use and says within seconds that Redis is away.

    Besides redis-py's own URLs it takes
    `redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]`: the Sentinels are
    asked for the primary of that service whenever a connection is made, so that the client follows
    a failover. User and password are those of Redis; where Sentinels ask for some too, they are
    `sentinel_username` and `sentinel_password` of the query. `rediss+sentinel://` is the same by
    TLS, to both.

    Raises:
        SettingsError: the URL is malformed.
    """
    try:
        parts = urlsplit(url)
        client = (
            _through_sentinel(parts)
            if parts.scheme in SENTINEL_SCHEMES
            else Redis.from_url(url, **_timeouts())
        )
    except (ValueError, RedisError) as error:
        raise SettingsError(
            "REDIS_URL is no redis://, rediss://, unix:// or redis+sentinel:// URL"
        ) from error
    assert isinstance(client, Redis)  # noqa: S101 - from_url is annotated for subclasses
    return client


def _through_sentinel(url: SplitResult) -> Redis:
    """A client of the primary of the service that the URL names.

    Raises:
        ValueError: the URL names no Sentinel or no service, or something else is amiss in it.
    """
    login, _, hosts = url.netloc.rpartition("@")
    username, _, password = login.partition(":")
    service, _, database = url.path.removeprefix("/").partition("/")
    if not service:
        raise ValueError("the URL names no service")
    options = {}
    for name, value in parse_qsl(url.query, strict_parsing=bool(url.query)):
        if name not in SENTINEL_OPTIONS:
            raise ValueError("the URL has an option that is not known")
        options[SENTINEL_OPTIONS[name]] = value
    secure = {"ssl": True} if SENTINEL_SCHEMES[url.scheme] else {}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs={**_timeouts(), **secure, **options},
    )
    client: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        unquote(service),
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=int(database or 0),
        **_timeouts(),
        **secure,
    )
    return client


def _address(text: str) -> tuple[str, int]:
    """Host and port of one Sentinel, as `host`, `host:port` or `[address]:port`.

    Raises:
        ValueError: there is no host, or the port is no number of a port.
    """
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("the URL has a Sentinel without a host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _timeouts() -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        # One more try replaces a connection that died while it was idle.
        "retry": Retry(NoBackoff(), 1),
    }


@contextmanager
def answering() -> Iterator[None]:
    """Turns Redis' errors into `QueueUnavailableError` and counts them; also a decorator."""
    try:
        yield
    except RedisError as error:
        metrics.REDIS_ERRORS.inc()
        refused = isinstance(error, ResponseError)
        message = f"the queue refuses: {reason(error)}" if refused else "the queue does not answer"
        raise QueueUnavailableError(message) from error


def reason(error: RedisError) -> str:
    """Redis' code of the error, such as `DENIED`, or the name of the error's class.

    >>> reason(ResponseError("DENIED Redis is running in protected mode"))
    'DENIED'
    """
    code = ERROR_CODE.match(str(error))
    return code[0] if code else type(error).__name__
