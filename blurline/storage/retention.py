"""How long objects are kept, by class, and what removes them then.

The sweeper works on any store and to the second. S3 servers can do the same by themselves, by
lifecycle rules, but in whole days only and with a delay of up to another day or two; the rules are
the net below the sweeper, also for when no process runs.

The audit trail is of no class: it is what has to outlive the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from pathlib import PurePosixPath
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from blurline.errors import StoreUnavailableError
from blurline.storage import keys
from blurline.storage.store import Store

ORIGINALS, DATA_KEYS = "original", "keys"
RESULTS = ("processed",)
METADATA = ("metadata", "certificate")
"""Folders of the classes, see `blurline.storage.keys`."""

CHUNK = 100
"""Objects that are removed together."""

PARALLEL = 8
"""Requests to remove an object that are under way at a time."""

DAY = timedelta(days=1)
LONGEST_WRITE = timedelta(hours=1)
"""Beyond it nobody writes an object any more that has been begun."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long objects of each class are kept since they were written; None is for good.

    Originals include their keys, results are redacted pictures, metadata are records of jobs, lists
    of batches and certificates.
    """

    originals: timedelta | None = None
    results: timedelta | None = None
    metadata: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """How many objects were removed. One that two sweepers met at once counts for both.

    `remains` are of writes that were cut off.
    """

    originals: int
    results: int
    metadata: int
    remains: int = 0


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Removes what is older than it may be. Any number of them may run at the same time.

    Attributes:
        clock: the time, with its time zone.
        key_store: where the wrapped keys are, as for the `OriginalsVault`.
        forgotten: told the ids of jobs whose originals have just been removed, some at a time.
    """

    store: Store
    retention: Retention
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    key_store: Store | None = None
    forgotten: Callable[[Sequence[str]], None] = lambda job_ids: None

    def sweep(self, most: int = 10_000) -> Swept:
        """Remove at most so many objects of each class; the next call goes on with the rest.

        What cut-off writes have left goes too, whatever is kept for how long.

        An original's key is removed before the original.

        Raises:
            StoreUnavailableError: the store does not answer. What was removed stays so, and the
                next call does the rest.
        """
        now = self.clock()
        with ThreadPoolExecutor(PARALLEL) as pool:
            return Swept(
                self._originals(now, most, pool),
                self._plain(RESULTS, now, self.retention.results, most, pool),
                self._plain(METADATA, now, self.retention.metadata, most, pool),
                self.store.tidy(now - LONGEST_WRITE),
            )

    def _originals(self, now: datetime, most: int, pool: ThreadPoolExecutor) -> int:
        limit = self.retention.originals
        if limit is None:
            return 0
        key_store, removed = self.key_store or self.store, 0
        for names in _chunks(islice(self.store.older(ORIGINALS, now - limit), most)):
            job_ids = [PurePosixPath(name).stem for name in names]
            _all(pool.map(key_store.delete, map(keys.data_key, job_ids)))
            _all(pool.map(self.store.delete, names))
            self.forgotten(job_ids)
            removed += len(names)
        # What is left are keys whose picture never came, or went before them.
        for names in _chunks(islice(key_store.older(DATA_KEYS, now - limit), most)):
            _all(pool.map(key_store.delete, names))
        return removed

    def _plain(
        self,
        folders: Sequence[str],
        now: datetime,
        limit: timedelta | None,
        most: int,
        pool: ThreadPoolExecutor,
    ) -> int:
        if limit is None:
            return 0
        old = (name for folder in folders for name in self.store.older(folder, now - limit))
        return sum(_all(pool.map(self.store.delete, names)) for names in _chunks(islice(old, most)))


def lifecycle_rules(retention: Retention, root: str = "") -> list[dict[str, Any]]:
    """Rules for `put_bucket_lifecycle_configuration` that keep no object less than its time.

    Times are rounded up to whole days, of which S3 wants at least one. In a bucket that keeps
    versions, those of removed objects go after a day, the shortest time that S3 knows. For wrapped
    keys that holds without any retention too, since otherwise no original could be forgotten.

    Args:
        root: what stands before all names in the bucket, such as `street/2026/`.
    """
    limits = [
        (ORIGINALS, retention.originals),
        (DATA_KEYS, retention.originals),
        *((folder, retention.results) for folder in RESULTS),
        *((folder, retention.metadata) for folder in METADATA),
    ]
    return [
        _rule(folder, limit, root)
        for folder, limit in limits
        if limit is not None or folder == DATA_KEYS
    ]


def set_lifecycle(client: Any, bucket: str, retention: Retention, root: str = "") -> bool:
    """Give the bucket the rules for this retention; whether it has them now, and just so.

    They take the place of earlier ones for the same root; rules of other origin stay. A server
    without lifecycle rules, or credentials without the right to set them, are a plain False: the
    sweeper does the work then.

    Args:
        client: boto3's client of S3.
        root: as for `lifecycle_rules`.

    Raises:
        StoreUnavailableError: the server does not answer.
    """
    rules = lifecycle_rules(retention, root)
    ours = {_rule_id(folder, root) for folder in (ORIGINALS, DATA_KEYS, *RESULTS, *METADATA)}
    try:
        others = [rule for rule in _present_rules(client, bucket) if rule.get("ID") not in ours]
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": [*others, *rules]}
        )
        present = [rule for rule in _present_rules(client, bucket) if rule.get("ID") in ours]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503):
            raise StoreUnavailableError("the S3 server is out of order") from error
        return False
    except BotoCoreError as error:
        raise StoreUnavailableError("the S3 server does not answer") from error
    return sorted(present, key=_id) == sorted(rules, key=_id)


def _rule(folder: str, limit: timedelta | None, root: str) -> dict[str, Any]:
    expiration = {} if limit is None else {"Expiration": {"Days": max(1, ceil(limit / DAY))}}
    return {
        "ID": _rule_id(folder, root),
        "Status": "Enabled",
        "Filter": {"Prefix": f"{root}{folder}/"},
        **expiration,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }


def _present_rules(client: Any, bucket: str) -> list[dict[str, Any]]:
    try:
        return list(client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise


def _rule_id(folder: str, root: str) -> str:
    return f"blurline-{root}{folder}"


def _id(rule: dict[str, Any]) -> str:
    return str(rule["ID"])


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    names = iter(names)
    while chunk := list(islice(names, CHUNK)):
        yield chunk


def _all(calls: Iterable[None]) -> int:
    """Wait for all of them; how many there were."""
    return sum(1 for _ in calls)
