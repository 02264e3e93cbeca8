"""Keeping the store to the retention times."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from redis import Redis
from redis.exceptions import LockError

from blurline.audit import Action, AuditTrail, Event
from blurline.errors import StoreUnavailableError
from blurline.jobs.leftovers import Leftovers
from blurline.jobs.records import open_records
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage.retention import LONGEST_WRITE, Retention, Sweeper
from blurline.storage.store import Store
from blurline.worker.reconciler import SHARDS

LOCK_KEY = "blurline:sweeper"
LOCK_SECONDS = 3600
ACTOR = "sweeper"

SHARD_KEY, REST_KEY = "blurline:leftovers:shard", "blurline:leftovers:rest"
REST_FACTOR = 100
"""Between two looks for leftovers lies so many times what one takes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Sweeps the store, one process at a time by a lock in Redis."""

    redis: Redis
    sweeper: Sweeper
    leftovers: Leftovers | None = None

    def sweep(self) -> None:
        """Remove what is older than it may be, and what nobody will ask for.

        Raises:
            RedisError, QueueUnavailableError, StoreUnavailableError: the next call does the rest.
        """
        lock = self.redis.lock(LOCK_KEY, timeout=LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            swept = self.sweeper.sweep()
            if swept.originals or swept.results or swept.metadata:
                log.info(
                    "removed by age: %d originals, %d results, %d metadata",
                    swept.originals,
                    swept.results,
                    swept.metadata,
                )
            if swept.remains:
                log.info("removed what %d writes that were cut off have left", swept.remains)
            if self.leftovers is not None and not self.redis.exists(REST_KEY):
                self._clear(self.leftovers)
        finally:
            try:
                lock.release()
            except LockError:
                log.warning("the sweeper's lock ran out while it worked")

    def _clear(self, leftovers: Leftovers) -> None:
        """Go through all shards; after an error the next call goes on where this one was."""
        started, removed = time.monotonic(), 0
        for number in range(int(self.redis.get(SHARD_KEY) or 0), len(SHARDS)):
            removed += leftovers.remove(SHARDS[number])
            self.redis.set(SHARD_KEY, number + 1)
        self.redis.delete(SHARD_KEY)
        rest = REST_FACTOR * (time.monotonic() - started)
        self.redis.set(REST_KEY, 1, px=max(1, int(1000 * rest)))
        if removed:
            log.info("removed %d objects that jobs and callers have left behind", removed)


def retention_of(settings: Settings) -> Retention:
    """The settings' days; 0 is for good."""
    days = (settings.keep_originals_days, settings.keep_results_days, settings.keep_metadata_days)
    originals, results, metadata = (timedelta(days=one) if one else None for one in days)
    return Retention(originals, results, metadata)


def open_sweeper(settings: Settings, store: Store) -> Sweeper:
    """The sweeper of the store, which writes originals that it forgets into the audit trail."""
    return Sweeper(store, retention_of(settings), forgotten=partial(_note, AuditTrail(store)))


def open_leftovers(settings: Settings, queues: Queues, store: Store) -> Leftovers:
    """What looks for leftovers in the store, and notes originals like the sweeper."""
    return Leftovers(
        store,
        open_records(settings, store),
        free=queues.give_up,
        forgotten=partial(_note, AuditTrail(store)),
        # A caller of `POST /blur/` may wait for longer than any write takes.
        age=LONGEST_WRITE + timedelta(seconds=settings.blur_wait),
        records_for=retention_of(settings).metadata,
    )


def _note(trail: AuditTrail, job_ids: Sequence[str]) -> None:
    trail.append([Event(Action.ORIGINAL_DELETED, job_id, ACTOR) for job_id in job_ids])


def ask_bucket(settings: Settings) -> None:
    """Have an S3 server keep to the retention times too, as a net below the sweeper.

    Does nothing for other stores, or without retention times. A server that does not take the
    rules is told of in the log: the sweeper does the work in any case.
    """
    place = settings.s3_bucket or (settings.store_url or "").removeprefix("s3://")
    is_s3 = bool(settings.s3_bucket) or (settings.store_url or "").startswith("s3://")
    retention = retention_of(settings)
    if not is_s3 or retention == Retention():
        return
    # A folder needs neither, and they take long to be there.
    import boto3

    from blurline.storage.lifecycle import set_lifecycle

    bucket, _, prefix = place.strip("/").partition("/")
    client = boto3.client(
        "s3", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint_url
    )
    try:
        taken = set_lifecycle(client, bucket, retention, f"{prefix}/" if prefix else "")
    except StoreUnavailableError:
        taken = False
    if not taken:
        log.warning("the bucket took no lifecycle rules; the sweeper alone keeps the times")
