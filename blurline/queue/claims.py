"""Which job an upload belongs to that may have been sent before, by a mapping in Redis.

Whoever is first with an upload claims a job id for it; whoever comes with the same one later, or at
the same moment to another process, is told that id. The mapping's name is a keyed digest, so Redis
tells nobody which pictures or keys there were. What it holds carries a tag bound to its name, so
that nobody who writes to Redis can have one upload answered by the job of another.
"""

from dataclasses import dataclass

from redis import Redis

from blurline.errors import QueueUnavailableError
from blurline.jobs.job import JobStatus
from blurline.queue.connection import answering
from blurline.queue.jobqueue import GONE_PREFIX, JOB_PREFIX, JobQueue, Submission
from blurline.queue.queuedjob import status_of
from blurline.queue.queues import STATUS
from blurline.queue.shares import ROOM
from blurline.settings import Settings
from blurline.storage.masterkeys import signet_of
from blurline.storage.signet import TAG_LENGTH

PREFIX = "blurline:same:"
ID_LENGTH = 36
TRIES = 3

# What is held is a job's id, what was sent, and the tag. A job that was given up holds nothing.
CLAIM_SCRIPT = f"""{ROOM}
local places, shared, share = tonumber(ARGV[6]), tonumber(ARGV[8]), tonumber(ARGV[9])
local held = redis.call('GET', KEYS[1])
if held then
    local id = string.sub(held, 1, 36)
    if id ~= ARGV[5] and redis.call('EXISTS', ARGV[4] .. id) == 0 then
        return {{held, redis.call('HGET', ARGV[3] .. id, 'status') or ''}}
    end
end
local answer = room(KEYS[2], ARGV[7], places, shared, share, ARGV[3])
if answer ~= 'queued' then return {{'', answer}} end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {{ARGV[1]}}
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an upload is known again by.

    Attributes:
        name: keyed digest in hex, of the caller and its key, or of the caller and all it sent.
        content: keyed digest in hex of what was sent; the same name with another one is a mistake.
    """

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Which id an upload goes under.

    Attributes:
        fresh: whether it was claimed just now, so that nobody else has it yet.
        fits: whether what was sent under that name before was the same.
        status: where the queue has the job; None if it does not know it.
    """

    job_id: str
    fresh: bool
    fits: bool = True
    status: JobStatus | None = None


class Claims:
    """The mapping of the service, for all queues: a key that comes again with another pipeline is a
    mistake. Every method raises `QueueUnavailableError` while Redis is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._place = f"{PREFIX}{settings.queue_name}:"
        self._seconds = settings.idempotency_ttl
        self._signet = signet_of(settings, b"claim")
        self._claim = redis.register_script(CLAIM_SCRIPT)

    @answering()
    def claim(
        self,
        mark: Fingerprint,
        job_id: str,
        queue: JobQueue,
        places: int,
        instead_of: str = "",
        owner: str | None = None,
        shared: int | None = None,
    ) -> Claim | Submission:
        """The id that this upload goes under: that of an earlier one, or else `job_id`.

        Args:
            queue: where the job will wait.
            places: jobs that may wait there; with as many or more nothing new is claimed.
            instead_of: an earlier job that counts no more.
            owner: id of the caller, who gets no more of the `shared` places than its share; None
                where callers do not share.

        Returns:
            `FULL` or `SHARE` if the upload is a new one and there is no place for it.
        """
        mine = job_id + mark.content
        sealed = mine + self._signet.tag(mark.name, mine.encode())
        bounds = [places, queue.shares.list_of(owner), *queue.shares.bounds(shared)]
        over: str | bytes = instead_of
        for _ in range(TRIES):
            answer = self._claim(
                keys=[self._place + mark.name, queue.key],
                args=[sealed, self._seconds, JOB_PREFIX, GONE_PREFIX, over, *bounds],
            )
            if len(answer) == 1:
                return Claim(job_id, fresh=True)
            if not answer[0]:
                return Submission(answer[1].decode())
            held, status = answer[0], status_of(answer[1])
            content, tag = held[:-TAG_LENGTH], held[-TAG_LENGTH:].decode(errors="replace")
            if self._signet.holds(tag, mark.name, content):
                known = None if status is None else STATUS[status]
                fits = content[ID_LENGTH:] == mark.content.encode()
                return Claim(content[:ID_LENGTH].decode(), False, fits, known)
            # Written by an earlier version, or by somebody else.
            over = held[:ID_LENGTH]
        raise QueueUnavailableError("what is known of this upload changes all the time; try again")
