"""How long objects are kept, by class, and what removes them then.

The sweeper works on any store and to the second. Below it is the net of
`blurline.storage.lifecycle`.

The audit trail is of no class: it is what has to outlive the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import PurePosixPath

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


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    names = iter(names)
    while chunk := list(islice(names, CHUNK)):
        yield chunk


def _all(calls: Iterable[None]) -> int:
    """Wait for all of them; how many there were."""
    return sum(1 for _ in calls)
