"""What the scripts of the Redis pods do, with real servers and the real redis-cli."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from blurline.queue.connection import connect
from tests.parts import eventually
from tests.redis_pods import RedisPods

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed"),
]

WHOLE = ["primary", "replica", "replica"]


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[RedisPods]:
    """Three pods that have found each other."""
    pods = RedisPods(tmp_path)
    try:
        for peer in pods.peers:
            pods.start(peer)
        eventually(lambda: pods.roles() == WHOLE and pods.complete(), "the first is the primary")
        yield pods
    finally:
        pods.stop()


@pytest.fixture
def client(pods: RedisPods) -> Redis:
    """A client that has written the key `before`."""
    client = connect(pods.url)
    eventually(lambda: written(client, "before"), "the primary has replicas, so it takes writes")
    return client


def written(client: Redis, key: str) -> bool:
    try:
        return bool(client.set(f"rq:{key}", 1))
    except RedisError:
        return False


def whole(pods: RedisPods) -> bool:
    return sorted(pods.roles()) == WHOLE


def test_a_primary_that_is_stopped_on_purpose_hands_over_first(
    pods: RedisPods, client: Redis
) -> None:
    first = pods.peers[0]
    command = ["/bin/sh", str(pods.config / "stop.sh")]
    done = subprocess.run(command, env=pods.environment(first), timeout=60)
    assert done.returncode == 0
    assert pods.role(first) != "primary"
    eventually(lambda: whole(pods), "the first follows")
    eventually(lambda: written(client, "after"), "the new primary takes writes")
    assert client.get("rq:before") == b"1"


def test_a_replica_that_is_stopped_on_purpose_leaves_the_primary_alone(
    pods: RedisPods, client: Redis
) -> None:
    command = ["/bin/sh", str(pods.config / "stop.sh")]
    done = subprocess.run(command, env=pods.environment(pods.peers[1]), timeout=60)
    assert done.returncode == 0
    assert pods.roles() == WHOLE


def test_a_machine_that_is_gone_is_replaced_and_comes_back_as_a_replica(
    pods: RedisPods, client: Redis
) -> None:
    first = pods.peers[0]
    pods.kill(first)
    eventually(lambda: "primary" in pods.roles(), "another is the primary")
    eventually(lambda: written(client, "after"), "the new primary takes writes")
    pods.start(first)
    eventually(lambda: pods.role(first) == "replica", "the old primary follows")
    assert (client.get("rq:before"), client.get("rq:after")) == (b"1", b"1")


def test_after_all_were_gone_at_once_the_last_primary_is_the_primary(
    pods: RedisPods, client: Redis
) -> None:
    pods.kill(pods.peers[0])
    eventually(lambda: "primary" in pods.roles(), "another is the primary")
    last = pods.peers[pods.roles().index("primary")]
    eventually(lambda: written(client, "after"), "the new primary takes writes")
    for peer in pods.peers[1:]:
        pods.kill(peer)
    for peer in pods.peers:
        pods.start(peer)
    eventually(lambda: whole(pods), "all are back")
    assert pods.role(last) == "primary"
    eventually(lambda: written(client, "later"), "writes go on")
    assert (client.get("rq:before"), client.get("rq:after")) == (b"1", b"1")
