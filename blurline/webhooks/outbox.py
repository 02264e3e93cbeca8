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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit
from zlib import crc32

from pydantic import TypeAdapter
from redis import Redis

from blurline.errors import TemporaryError
from blurline.jobs.job import JobRecord, JobSpec, JobStatus
from blurline.queue.connection import answering
from blurline.settings import Settings
from blurline.storage.keys import JOB_ID
from blurline.storage.masterkeys import signet_of
from blurline.storage.signet import Signet

LEASE_SECONDS = 60
"""How long an event is left to who has taken it; more than one try may take."""

MOST_EVENTS = 20_000
"""Events that may wait; they must not fill a Redis whose receivers are all away."""

OF_OWNER, OF_RECEIVER = 16, 8
"""Events of one caller, and to one receiver, that an outbox gives out at a time. A receiver that
takes its time then holds up its own events and nobody else's."""

LANES = 64
"""Into how many lanes the receivers of one caller are spread, so that a caller with thousands of
them does not make thousands of lanes."""

MOST_LANES = 1000
"""Lanes with due events that are looked at for one answer."""

# A lane is a caller, a space and a number; its events lie by when they are due, and the lanes by
# when their first one is.
COMMON = """
local lanes, events, tries, lane_of, held, old = unpack(KEYS)
local function events_of(lane) return lanes .. ':' .. lane end
local function owner_of(lane) return string.match(lane, '^[^ ]*') end
local function settle(lane)
    local first = redis.call('ZRANGE', events_of(lane), 0, 0, 'WITHSCORES')
    if first[1] then
        redis.call('ZADD', lanes, first[2], lane)
    else
        redis.call('ZREM', lanes, lane)
    end
end
local function put(id, lane, due)
    redis.call('HSET', lane_of, id, lane)
    redis.call('HINCRBY', held, owner_of(lane), 1)
    redis.call('ZADD', events_of(lane), due, id)
    settle(lane)
end
"""

# A caller gets no more places than it leaves free, so there is one for whoever comes next.
ADD_SCRIPT = f"""{COMMON}
local id, content, now, most, lane = unpack(ARGV)
local owner = owner_of(lane)
if redis.call('HEXISTS', events, id) == 1 then return 1 end
local free = tonumber(most) - redis.call('HLEN', events)
if free <= 0 then return 0 end
if owner ~= '' and tonumber(redis.call('HGET', held, owner) or 0) >= free then return 0 end
redis.call('HSET', events, id, content)
put(id, lane, now)
return 1
"""

# Whoever has least under way comes first. Tries are counted when they begin, so that one that kills
# its process counts as well. Events of earlier versions lie in one list without lanes.
TAKE_SCRIPT = f"""{COMMON}
local now, lease, most, of_owner, of_lane, most_lanes = unpack(ARGV, 1, 6)
local before = redis.call('ZRANGE', old, 0, 999, 'WITHSCORES')
for at = 1, #before, 2 do
    put(before[at], ' 0', before[at + 1])
    redis.call('ZREM', old, before[at])
end
local running = {{}}
local function run(name, more) running[name] = (running[name] or 0) + more end
for at = 7, #ARGV, 2 do
    run(ARGV[at], tonumber(ARGV[at + 1]))
    run(owner_of(ARGV[at]), tonumber(ARGV[at + 1]))
end
local owners, waiting = {{}}, {{}}
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', lanes, '-inf', now, 'LIMIT', 0, most_lanes)) do
    local owner = owner_of(lane)
    if not waiting[owner] then
        waiting[owner] = {{}}
        table.insert(owners, owner)
    end
    table.insert(waiting[owner], lane)
end
local taken = {{}}
local function take(owner)
    local mine = waiting[owner]
    while mine[1] do
        local lane, id = mine[1], nil
        if (running[lane] or 0) < tonumber(of_lane) then
            local due = redis.call('ZRANGEBYSCORE', events_of(lane), '-inf', now, 'LIMIT', 0, 1)
            id = due[1]
        end
        table.remove(mine, 1)
        if id then
            table.insert(mine, lane)
            run(lane, 1)
            run(owner, 1)
            redis.call('ZADD', events_of(lane), lease, id)
            settle(lane)
            table.insert(taken, id)
            table.insert(taken, redis.call('HGET', events, id) or '')
            table.insert(taken, redis.call('HINCRBY', tries, id, 1))
            table.insert(taken, lane)
            return
        end
    end
end
while #taken < 4 * tonumber(most) do
    local best
    for _, owner in ipairs(owners) do
        local busy = running[owner] or 0
        local room = waiting[owner][1] and (owner == '' or busy < tonumber(of_owner))
        if room and (not best or busy < (running[best] or 0)) then best = owner end
    end
    if not best then break end
    take(best)
end
return taken
"""

PUT_OFF_SCRIPT = f"""{COMMON}
local lane = redis.call('HGET', lane_of, ARGV[1])
if lane then
    redis.call('ZADD', events_of(lane), 'XX', ARGV[2], ARGV[1])
    settle(lane)
end
"""

REMOVE_SCRIPT = f"""{COMMON}
local id = ARGV[1]
local lane = redis.call('HGET', lane_of, id)
if lane then
    local owner = owner_of(lane)
    if redis.call('HINCRBY', held, owner, -1) <= 0 then redis.call('HDEL', held, owner) end
    redis.call('ZREM', events_of(lane), id)
    settle(lane)
end
redis.call('ZREM', old, id)
for _, key in ipairs({{events, tries, lane_of}}) do redis.call('HDEL', key, id) end
"""


@dataclass(frozen=True, slots=True)
class Event:
    """The end of a job: `finished_at` in seconds since the epoch, `owner` the id of the caller
    whose it was. Its text does not show the URL, which may hold a token of the receiver's."""

    job_id: str
    url: str = field(repr=False)
    status: JobStatus
    finished_at: float
    request_id: str = ""
    owner: str | None = None

    @property
    def lane(self) -> str:
        """In which lane it waits: that of its caller and receiver."""
        try:
            receiver = urlsplit(self.url).netloc
        except ValueError:
            receiver = ""  # the messenger gives it up
        return f"{self.owner or ''} {crc32(receiver.encode()) % LANES}"


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
        told_by_store: Callable[[str], Event | None] = lambda job_id: None,
    ) -> None:
        """Open the outbox.

        Args:
            told_by_store: what has to be told of a job's end for all that the store knows. It is
                asked for events of earlier versions, which anybody could have written.
        """
        self._signet = signet
        self._clock = clock
        self._told_by_store = told_by_store
        place = f"blurline:webhooks:{queue_name}"
        names = ("lanes", "events", "tries", "lane", "held", "due")
        self._keys = [f"{place}:{name}" for name in names]
        self._add = redis.register_script(ADD_SCRIPT)
        self._take = redis.register_script(TAKE_SCRIPT)
        self._put_off = redis.register_script(PUT_OFF_SCRIPT)
        self._remove = redis.register_script(REMOVE_SCRIPT)
        self._given: dict[str, tuple[str, float]] = {}

    @answering()
    def add(self, event: Event) -> bool:
        """Have the event reported, once even if it is added twice; False if too many wait."""
        content = self._signet.closed(event.job_id, _EVENT.dump_json(event))
        now, lane = self._clock(), event.lane
        arguments: list[str | float | bytes] = [event.job_id, content, now, MOST_EVENTS, lane]
        return bool(self._add(keys=self._keys, args=arguments))

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
            record.job_id,
            address.url,
            record.status,
            record.updated_at,
            address.request_id,
            record.owner,
        )

    @answering()
    def take(self, most: int) -> list[tuple[Event, int]]:
        """Events that are due, each with the number of this try, the oldest of each caller first.

        Callers come in turns, and no more than `OF_OWNER` events of a caller and `OF_RECEIVER` to
        a receiver are given out before some of them were put off, removed, or their lease is over.
        """
        now = self._clock()
        self._given = {id_: given for id_, given in self._given.items() if given[1] > now}
        bounds = [most, OF_OWNER, OF_RECEIVER, MOST_LANES]
        arguments: list[str | float] = [now, now + LEASE_SECONDS, *bounds]
        for lane, count in Counter(lane for lane, _ in self._given.values()).items():
            arguments += [lane, count]
        found = iter(self._take(keys=self._keys, args=arguments))
        events = []
        for job_id, content, number, lane in zip(found, found, found, found, strict=True):
            try:
                event = self._opened(job_id, content)
            except TemporaryError:
                continue  # it is due again when its lease is over
            if event is None:
                log.warning("a webhook is forgotten that this service has not written")
                self.remove(job_id)
            else:
                events.append((event, int(number)))
                self._given[event.job_id] = (lane.decode(), now + LEASE_SECONDS)
        return events

    @answering()
    def put_off(self, job_id: str, seconds: float) -> None:
        """Have the event taken again after that time, unless it was removed meanwhile."""
        self._given.pop(job_id, None)
        self._put_off(keys=self._keys, args=[job_id, self._clock() + seconds])

    @answering()
    def remove(self, job_id: str | bytes) -> None:
        """Forget the event; nothing happens if there is none."""
        self._given.pop(job_id if isinstance(job_id, str) else "", None)
        self._remove(keys=self._keys, args=[job_id])

    def _opened(self, job_id: bytes, content: bytes) -> Event | None:
        """The event that `add` has written under that id, or the store knows of."""
        try:
            name = job_id.decode()
            opened = self._signet.opened(name, content)
            if opened is None:
                return self._told_by_store(name) if JOB_ID.fullmatch(name) else None
            event = _EVENT.validate_json(opened)
        except ValueError:  # of the validation too
            return None
        return event if event.job_id == name else None


def open_outbox(
    redis: Redis,
    settings: Settings,
    told_by_store: Callable[[str], Event | None] = lambda job_id: None,
) -> Outbox:
    """The outbox of the queue that the settings name; `told_by_store` as of `Outbox`.

    Raises:
        SettingsError: the file of master keys can't be used.
    """
    signet = signet_of(settings, b"webhook")
    return Outbox(redis, settings.queue_name, signet, told_by_store=told_by_store)
