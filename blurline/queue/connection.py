"""Connections to Redis."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from blurline import metrics
from blurline.errors import QueueUnavailableError, SettingsError

DEFAULT_URL = "redis://127.0.0.1:6379/0"
"""Where an API or a worker that is started by itself looks when `REDIS_URL` is not set."""

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5


def connect(url: str) -> Redis:
    """A client that connects on first use and says within seconds that Redis is away.

    Raises:
        SettingsError: the URL is malformed.
    """
    try:
        client = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            # One more try replaces a connection that died while it was idle.
            retry=Retry(NoBackoff(), 1),
        )
    except (ValueError, RedisError) as error:
        raise SettingsError("REDIS_URL is no redis://, rediss:// or unix:// URL") from error
    assert isinstance(client, Redis)  # noqa: S101 - from_url is annotated for subclasses
    return client


@contextmanager
def answering() -> Iterator[None]:
    """Turns Redis' errors into `QueueUnavailableError` and counts them; also a decorator."""
    try:
        yield
    except RedisError as error:
        metrics.REDIS_ERRORS.inc()
        raise QueueUnavailableError("the queue does not answer") from error
