"""Ends of jobs that have to be reported, as they wait in Redis until they are.

An event is due at some moment. Who takes it puts that moment off by a lease, so that another one
takes it if the first dies; who has delivered it removes it. So each event is reported at least once
or counted as given up, and nobody has to watch over anybody.

Events are encrypted, each bound to its job: where something is sent to is neither for whoever reads
Redis, since URLs may hold a token, nor for whoever writes to it.
"""

import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter
from redis import Redis

from blurline.jobs.job import JobRecord, JobSpec, JobStatus
from blurline.queue.connection import answering
from blurline.settings import Settings
from blurline.storage.masterkeys import signet_of
from blurline.storage.signet import Signet

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

REPORT = "report "
"""What stands before a job's id in the name that an address is bound to: it is no event."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a job's end is told, as its record has it, encrypted: until then nobody else asks."""

    url: str = field(repr=False)
    request_id: str


_ADDRESS = TypeAdapter(Address)


class Outbox:
    """The events of one queue's jobs. Every method raises `QueueUnavailableError` while Redis is
    away."""

    def __init__(
        self,
        redis: Redis,
        queue_name: str,
        signet: Signet,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._signet = signet
        self._clock = clock
        place = f"blurline:webhooks:{queue_name}"
        self._due, self._events, self._tries = f"{place}:due", f"{place}:events", f"{place}:tries"
        self._add = redis.register_script(ADD_SCRIPT)
        self._take = redis.register_script(TAKE_SCRIPT)

    @answering()
    def add(self, event: Event) -> bool:
        """Have the event reported, once even if it is added twice; False if too many wait."""
        content = self._signet.closed(event.job_id, _EVENT.dump_json(event))
        arguments: list[str | float | bytes] = [event.job_id, content, self._clock(), MOST_EVENTS]
        return bool(self._add(keys=[self._due, self._events], args=arguments))

    def addressed(self, record: JobRecord, spec: JobSpec) -> JobRecord:
        """The record of the job, by which `event_of` will know where its end is told."""
        if spec.callback_url is None:
            return record
        address = Address(spec.callback_url, spec.request_id)
        closed = self._signet.closed(REPORT + spec.job_id, _ADDRESS.dump_json(address))
        return replace(record, report=b64encode(closed).decode())

    def event_of(self, record: JobRecord) -> Event | None:
        """What has to be told of the job's end; None if nothing has."""
        if record.report is None:
            return None
        opened = self._signet.opened(REPORT + record.job_id, b64decode(record.report))
        if opened is None:
            return None
        address = _ADDRESS.validate_json(opened)
        return Event(
            record.job_id, address.url, record.status, record.updated_at, address.request_id
        )

    @answering()
    def take(self, most: int) -> list[tuple[Event, int]]:
        """Events that are due, the oldest first, each with the number of this try."""
        now = self._clock()
        found = self._take(
            keys=[self._due, self._events, self._tries], args=[now, now + LEASE_SECONDS, most]
        )
        events = []
        for job_id, content, number in zip(found[::3], found[1::3], found[2::3], strict=True):
            event = self._opened(job_id, content)
            if event is None:
                log.warning("a webhook is forgotten that this service has not written")
                self.remove(job_id)
            else:
                events.append((event, int(number)))
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

    def _opened(self, job_id: bytes, content: bytes) -> Event | None:
        """The event that `add` has written under that id."""
        try:
            name = job_id.decode()
            opened = self._signet.opened(name, content)
            event = None if opened is None else _EVENT.validate_json(opened)
        except ValueError:  # of the validation too
            return None
        return event if event is not None and event.job_id == name else None


def open_outbox(redis: Redis, settings: Settings) -> Outbox:
    """The outbox of the queue that the settings name.

    Raises:
        SettingsError: the file of master keys can't be used.
    """
    return Outbox(redis, settings.queue_name, signet_of(settings, b"webhook"))
