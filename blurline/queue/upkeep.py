"""Keeping the store to the retention times."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import boto3
from redis import Redis
from redis.exceptions import LockError

from blurline.audit import Action, AuditTrail, Event
from blurline.errors import StoreUnavailableError
from blurline.settings import Settings
from blurline.storage.retention import Retention, Sweeper, set_lifecycle
from blurline.storage.store import Store

LOCK_KEY = "blurline:sweeper"
LOCK_SECONDS = 3600
ACTOR = "sweeper"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Sweeps the store, one process at a time by a lock in Redis."""

    redis: Redis
    sweeper: Sweeper

    def sweep(self) -> None:
        """Remove what is older than it may be.

        Raises:
            RedisError, StoreUnavailableError: the next call does the rest.
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
        finally:
            try:
                lock.release()
            except LockError:
                log.warning("the sweeper's lock ran out while it worked")


def retention_of(settings: Settings) -> Retention:
    """The settings' days; 0 is for good."""
    days = (settings.keep_originals_days, settings.keep_results_days, settings.keep_metadata_days)
    originals, results, metadata = (timedelta(days=one) if one else None for one in days)
    return Retention(originals, results, metadata)


def open_sweeper(settings: Settings, store: Store) -> Sweeper:
    """The sweeper of the store, which writes originals that it forgets into the audit trail."""
    trail = AuditTrail(store)

    def forgotten(job_ids: Sequence[str]) -> None:
        trail.append([Event(Action.ORIGINAL_DELETED, job_id, ACTOR) for job_id in job_ids])

    return Sweeper(store, retention_of(settings), forgotten=forgotten)


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
