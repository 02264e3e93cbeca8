"""Ends of jobs that have to be reported, as they wait in Redis until they are.

An event is due at some moment. Who takes it puts that moment off by a lease, so that another one
takes it if the first dies; who has delivered it removes it. So each event is reported at least once
or counted as given up, and nobody has to watch over anybody.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from blurline.jobs.job import JobStatus
from blurline.queue.connection import answering

LEASE_SECONDS = 60
"""How long an event is left to who has taken it; more than one try may take."""

MOST_EVENTS = 20_000
"""Events that may wait; they must not fill a Redis whose receivers are all away."""

ADD_SCRIPT = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 1 end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
"""

# Tries are counted when they begin, so that one that kills its process counts as well.
TAKE_SCRIPT = """
local taken = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    table.insert(taken, id)
    table.insert(taken, redis.call('HGET', KEYS[2], id) or '')
    table.insert(taken, redis.call('HINCRBY', KEYS[3], id, 1))
end
return taken
"""


@dataclass(frozen=True, slots=True)
class Event:
    """The end of a job: `finished_at` in seconds since the epoch. Its text does not show the URL,
    which may hold a token of the receiver's."""

    job_id: str
    url: str = field(repr=False)
    status: JobStatus
    finished_at: float
    request_id: str = ""


_EVENT = TypeAdapter(Event)

log = logging.getLogger(__name__)


class Outbox:
    """The events of one queue's jobs. Every method raises `QueueUnavailableError` while Redis is
    away."""

    def __init__(
        self, redis: Redis, queue_name: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis
        self._clock = clock
        place = f"blurline:webhooks:{queue_name}"
        self._due, self._events, self._tries = f"{place}:due", f"{place}:events", f"{place}:tries"
        self._add = redis.register_script(ADD_SCRIPT)
        self._take = redis.register_script(TAKE_SCRIPT)

    @answering()
    def add(self, event: Event) -> bool:
        """Have the event reported, once even if it is added twice; False if too many wait."""
        content = _EVENT.dump_json(event).decode()
        arguments: list[str | float] = [event.job_id, content, self._clock(), MOST_EVENTS]
        return bool(self._add(keys=[self._due, self._events], args=arguments))

    @answering()
    def take(self, most: int) -> list[tuple[Event, int]]:
        """Events that are due, the oldest first, each with the number of this try."""
        now = self._clock()
        found = self._take(
            keys=[self._due, self._events, self._tries], args=[now, now + LEASE_SECONDS, most]
        )
        events = []
        for job_id, content, number in zip(found[::3], found[1::3], found[2::3], strict=True):
            try:
                events.append((_EVENT.validate_json(content), int(number)))
            except ValidationError:
                log.warning("a webhook is forgotten that this version can't read")
                self.remove(job_id)
        return events

    @answering()
    def put_off(self, job_id: str, seconds: float) -> None:
        """Have the event taken again after that time, unless it was removed meanwhile."""
        self._redis.zadd(self._due, {job_id: self._clock() + seconds}, xx=True)

    @answering()
    def remove(self, job_id: str | bytes) -> None:
        """Forget the event; nothing happens if there is none."""
        pipeline = self._redis.pipeline()
        pipeline.zrem(self._due, job_id)
        pipeline.hdel(self._events, job_id)
        pipeline.hdel(self._tries, job_id)
        pipeline.execute()
