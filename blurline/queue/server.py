"""What the Redis server says of itself."""

from dataclasses import dataclass
from typing import Any

from redis import Redis

from blurline.queue.connection import answering


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """Bytes that Redis uses, and that it may use: without a limit those of its machine."""

    used: int
    limit: int


@answering()
def redis_memory(redis: Redis) -> RedisMemory:
    """How full Redis is. A full one refuses to take jobs.

    Raises:
        QueueUnavailableError: Redis is away, or does not let us ask.
    """
    told: dict[str, Any] = redis.info("memory")
    limit = told.get("maxmemory") or told.get("total_system_memory", 0)
    return RedisMemory(int(told["used_memory"]), int(limit))
