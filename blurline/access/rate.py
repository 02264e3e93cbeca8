"""How many requests a caller may send, and pictures in one request."""

import logging
import math
import time
from collections.abc import Callable

from limits import RateLimitItem, parse_many
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import RedisError

from blurline.access.caller import Caller
from blurline.errors import RateLimitedError, SettingsError

PREFIX = "blurline:limits"
EVERYBODY = "everybody"
"""Under what requests are counted while nobody is asked who they are."""

PAUSE_SECONDS = 5.0
"""For how long Redis is not asked after it did not answer, since asking takes time then."""

log = logging.getLogger(__name__)


class RateLimit:
    """Counts requests of each caller in Redis, over all processes of the API.

    A limit of so many a minute holds for any minute, not only for those of the clock. While Redis
    is away nothing is counted and nobody is held up: nothing can be handed in then, and who fetches
    results that are in the store must not lose that too.
    """

    def __init__(
        self, redis: Redis, text: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            text: such as `300/minute`, or several limits as in `10/second; 5000/day`.

        Raises:
            SettingsError: it is no such text.
        """
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix=PREFIX)
        self._limiter = MovingWindowRateLimiter(storage)
        self._limits = _parse(text)
        self._clock = clock
        self._away_until = 0.0

    def take(self, caller: Caller, count: int = 1) -> None:
        """Count a request, or so many of them at once.

        Raises:
            RateLimitedError: the caller has sent too many of late; these do not count.
        """
        if self._clock() < self._away_until:
            return
        who = caller.id or EVERYBODY
        try:
            # What one of several refuses must not count for the others.
            asks = (self._limiter.test, self._limiter.hit)[-min(2, len(self._limits)) :]
            for ask in asks:
                for limit in self._limits:
                    if not ask(limit, who, cost=count):
                        raise self._refused(limit, who, count)
        except RedisError:
            self._away_until = self._clock() + PAUSE_SECONDS
            log.warning("requests are not counted while Redis is away")

    def _refused(self, limit: RateLimitItem, who: str, count: int) -> RateLimitedError:
        free_at = self._limiter.get_window_stats(limit, who).reset_time
        never = count >= limit.amount  # one more is the request that they came in
        advice = "send them in smaller batches" if never and count > 1 else "try again later"
        return RateLimitedError(
            f"at most {limit.amount} requests in {limit.get_expiry()} s, and each picture of a "
            f"batch counts as one; {advice}",
            retry_after=max(1, math.ceil(free_at - time.time())),
        )


def _parse(text: str) -> list[RateLimitItem]:
    try:
        limits = parse_many(text)
    except ValueError:
        limits = []
    if not limits or any(limit.amount < 1 for limit in limits):
        raise SettingsError(
            "RATE_LIMIT is a number of requests a time, such as 300/minute or 10/second; 5000/day"
        )
    return limits
