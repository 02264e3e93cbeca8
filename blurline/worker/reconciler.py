"""Making the queue anew out of the store: jobs that were taken in, have not ended, and are lost.

A job is in the store before it is in the queue, and its order lies there until it is forgotten with
its original. So what is neither ended nor known to Redis was lost: with Redis' memory, or since the
API died between store and queue. And what Redis takes for waiting or running, but has in no list,
was lost by somebody else's tool.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import PurePosixPath

from redis import Redis
from redis.exceptions import LockError

from blurline.jobs.job import JobSpec
from blurline.jobs.orders import find_order
from blurline.jobs.records import Records, open_records
from blurline.queue.jobqueue import Submission
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage.retention import DATA_KEYS, METADATA
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault

SHARDS = tuple(f"{number:02x}" for number in range(256))
"""The folders that `blurline.storage.keys` makes, which are looked through one after the other."""

CHUNK, STRAY_CHUNK = 100, 10_000
PARALLEL = 8

OLDER_THAN = timedelta(seconds=120)
"""Age from which on an upload that is not queued is no longer taken for one under way."""

NEWER_THAN = timedelta(days=7)
"""Age beyond which a job is not run any more, since its record may have gone by its time."""

MARGIN = 0.9
"""Share of the records' time within which one that was ever written is surely still there."""

STRAY_SECONDS = 5
"""For how long a job may be in no list, since a tool may have it in hand: rq's `Queue.compact`."""

LOCK_KEY = "blurline:reconciler"
LOCK_SECONDS = 3600
DONE_PREFIX = "blurline:reconciled:"
REST_SECONDS = 3600
REST_FACTOR = 100
"""Between two looks there is an hour, or so many times what a look takes, if that is more; but the
one after a Redis that lost its memory is due after `OLDER_THAN`."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a look through the store found.

    Attributes:
        kept: orders in the store that are of an age to be looked at.
        lost: those that have not ended and that Redis did not know, or had in none of its lists.
        requeued: those that were queued again.
        unreadable: those whose order can't be read any more.
    """

    kept: int = 0
    lost: int = 0
    requeued: int = 0
    unreadable: int = 0

    def __add__(self, other: "Reconciled") -> "Reconciled":
        return Reconciled(
            self.kept + other.kept,
            self.lost + other.lost,
            self.requeued + other.requeued,
            self.unreadable + other.unreadable,
        )


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Finds lost jobs and queues them, each where jobs of its pipeline wait.

    Any number may do so at a time, while the service runs.

    Attributes:
        record_days: how long records are kept; 0: for good.
    """

    store: Store
    originals: OriginalsVault
    records: Records
    queues: Queues
    record_days: float

    def reconcile(
        self,
        *,
        older_than: timedelta = OLDER_THAN,
        newer_than: timedelta = NEWER_THAN,
        dry_run: bool = False,
        done: Callable[[int], None] = lambda shards: None,
    ) -> Reconciled:
        """Look through the store by its lists alone, and queue what is lost.

        A lost job whose original is missing is queued too: the worker fails it as it does any
        other, with a record and a webhook.

        Args:
            older_than: age of orders that are looked at, so that uploads under way are not.
            newer_than: older ones are left alone; those whose record may be gone are as well.
            dry_run: queue nothing.
            done: told how many of `SHARDS` were looked through.

        Raises:
            QueueUnavailableError, StoreUnavailableError: do it again.
        """
        now = datetime.now(UTC)
        if self.record_days:
            newer_than = min(newer_than, MARGIN * timedelta(days=self.record_days))
        found, known = Reconciled(), list[str]()
        with ThreadPoolExecutor(PARALLEL) as pool:
            for number, shard in enumerate(SHARDS, 1):
                ids = self._ids(f"{DATA_KEYS}/{shard}", now - older_than, now - newer_than)
                found += Reconciled(kept=len(ids))
                for lost in _chunks(self._lost(shard, ids, known)):
                    found += self._requeue(lost, pool, dry_run=dry_run)
                done(number)
            for strays in _chunks(self._strays(known, dry_run=dry_run)):
                found += self._requeue(strays, pool, dry_run=dry_run)
        return found

    def _lost(self, shard: str, ids: frozenset[str], known: list[str]) -> Iterator[str]:
        """Those of the ids that have not ended and that Redis does not know; `known` gets those
        that it knows."""
        if not ids:
            return
        ended = self._ids(f"{METADATA[0]}/{shard}", datetime.max.replace(tzinfo=UTC))
        for some in _chunks(iter(sorted(ids - ended))):
            there = dict(zip(some, self.queues.known(some), strict=True))
            known += (job_id for job_id in some if there[job_id])
            yield from (job_id for job_id in some if not there[job_id])

    def _strays(self, known: Sequence[str], *, dry_run: bool) -> Iterator[str]:
        """Those that are in no list, now and after a while; Redis then knows them no more."""
        for start in range(0, len(known), STRAY_CHUNK):
            strays = self.queues.strays(known[start : start + STRAY_CHUNK])
            if strays:
                time.sleep(STRAY_SECONDS)
                yield from self.queues.strays(strays, forget=not dry_run)

    def _requeue(
        self, lost: Sequence[str], pool: ThreadPoolExecutor, *, dry_run: bool
    ) -> Reconciled:
        # One that ended since the lists were read is not lost.
        ended = list(pool.map(self.records.has_end, lost))
        lost = [job_id for job_id, over in zip(lost, ended, strict=True) if not over]
        orders = list(pool.map(lambda job_id: find_order(self.originals, job_id), lost))
        specs = sorted((order for order in orders if order is not None), key=_age)
        queued = 0
        if specs and not dry_run:
            places = self.queues.submit(specs, accepted=True)
            queued = sum(place is Submission.QUEUED for place in places)
            for spec, place in zip(specs, places, strict=True):
                if place is Submission.QUEUED:
                    log.info("job %s: was lost and is queued again", spec.job_id)
        return Reconciled(0, len(lost), queued, len(lost) - len(specs))

    def _ids(self, folder: str, before: datetime, after: datetime | None = None) -> frozenset[str]:
        return frozenset(
            PurePosixPath(name).stem for name in self.store.older(folder, before, after)
        )


@dataclass(frozen=True, slots=True)
class Recovery:
    """Has the store looked through when that is due, by one process at a time.

    It is due at once when Redis is another server than last time or has lost its memory, since jobs
    may be gone then, and now and then otherwise, for uploads whose API died.
    """

    redis: Redis
    reconciler: Reconciler
    queue_name: str

    def run(self) -> None:
        """Look, if it is due.

        Raises:
            RedisError, QueueUnavailableError, StoreUnavailableError: the next call looks again.
        """
        server = str(self.redis.info("server")["run_id"])
        place, rest = f"{DONE_PREFIX}{self.queue_name}:server", f"{DONE_PREFIX}{self.queue_name}"
        before = self.redis.get(place)
        changed = before != server.encode()
        if not changed and self.redis.exists(rest):
            return
        lock = self.redis.lock(LOCK_KEY, timeout=LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            started = time.monotonic()
            found = self.reconciler.reconcile()
            looked = time.monotonic() - started
            # If jobs may have been lost, those that were too young are looked at as soon as they
            # are not.
            rare = max(REST_SECONDS, REST_FACTOR * looked)
            self.redis.set(rest, 1, ex=int(OLDER_THAN.total_seconds() if changed else rare))
            self.redis.set(place, server)
            if found.lost:
                log.warning("lost jobs: %d, queued again: %d", found.lost, found.requeued)
        finally:
            try:
                lock.release()
            except LockError:
                log.warning("the reconciler's lock ran out while it worked")


def open_reconciler(
    settings: Settings, queues: Queues, store: Store, originals: OriginalsVault
) -> Reconciler:
    """The reconciler of these settings."""
    days = settings.keep_metadata_days
    return Reconciler(store, originals, open_records(settings, store), queues, days)


def _age(spec: JobSpec) -> float:
    return spec.submitted_at


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(ids, CHUNK)):
        yield chunk
