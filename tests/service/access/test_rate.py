"""Rate limits, with a real queue server."""

from pathlib import Path

import pytest
from redis import Redis

from blurline.access.caller import ANYBODY, Caller
from blurline.access.rate import PAUSE_SECONDS, PREFIX, RateLimit
from blurline.errors import RateLimitedError, SettingsError
from blurline.queue.connection import connect
from tests.parts import ValkeyServer

A, B = Caller("key-a", frozenset()), Caller("key-b", frozenset())


def test_v2_4_1_a_caller_may_send_so_many_requests_and_no_more(redis_url: str) -> None:
    limit = RateLimit(connect(redis_url), "3/hour")
    for _ in range(3):
        limit.take(A)
    with pytest.raises(RateLimitedError) as caught:
        limit.take(A)
    assert 3500 < caught.value.retry_after <= 3600


def test_what_one_caller_sends_does_not_count_for_another(redis_url: str) -> None:
    limit = RateLimit(connect(redis_url), "1/hour")
    for caller in (A, B, ANYBODY):
        limit.take(caller)
        with pytest.raises(RateLimitedError):
            limit.take(caller)


def test_all_processes_count_together(redis_url: str) -> None:
    RateLimit(connect(redis_url), "1/hour").take(A)
    with pytest.raises(RateLimitedError):
        RateLimit(connect(redis_url), "1/hour").take(A)


def test_of_several_limits_each_holds(redis_url: str) -> None:
    limit = RateLimit(connect(redis_url), "100/second; 2/day")
    for _ in range(2):
        limit.take(A)
    with pytest.raises(RateLimitedError) as caught:
        limit.take(A)
    assert caught.value.retry_after > 3600


def test_redis_knows_ids_and_forgets_them(redis_url: str) -> None:
    RateLimit(connect(redis_url), "3/minute").take(A)
    with Redis.from_url(redis_url) as redis:
        (key,) = redis.scan_iter(f"{PREFIX}*")
        assert b"key-a" in key
        assert 0 < redis.ttl(key) <= 60


def test_while_redis_is_away_nobody_is_held_up(
    own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    limit = RateLimit(connect(own_valkey.url), "1/hour", lambda: now[0])
    limit.take(A)
    own_valkey.kill()
    for _ in range(3):
        limit.take(A)
    assert len(caplog.records) == 1
    own_valkey.start()
    now[0] += PAUSE_SECONDS
    limit.take(B)
    with pytest.raises(RateLimitedError):
        limit.take(B)


@pytest.mark.parametrize("text", ["x", "300", "0/minute", "-1/minute", "5/fortnight", "1/s;", "/"])
def test_what_is_no_limit_is_refused_at_the_start(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="300/minute"):
        RateLimit(connect(f"unix://{tmp_path}/none"), text)
