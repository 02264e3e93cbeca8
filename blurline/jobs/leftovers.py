"""What lies in the store and nobody will ask for: of deleted jobs, of callers that have gone.

Each step of a job leaves the store in order for the next one, so whoever dies between two of them
leaves something behind. Most of it is taken up again: an order without a record is a lost job,
which is queued again. What is looked for here is the rest:

- objects of a job that has a deletion mark: its worker died behind its put, and before it saw the
  mark;
- objects of a job whose caller waited for it (`POST /blur/`) and was not answered: its API died;
- objects of a job that has neither an order nor a record;
- results of a try that another one was faster than.

All of it is found by lists, a shard after the other; single objects are read only of those jobs
that lists say something odd of. Nothing is touched that may be of somebody at work: what is younger
than an hour, and what the queue knows.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import PurePosixPath

from blurline.jobs.records import Records
from blurline.storage import keys
from blurline.storage.marks import MOST_BYTES
from blurline.storage.retention import DATA_KEYS, LONGEST_WRITE, METADATA, ORIGINALS, RESULTS
from blurline.storage.store import Store

OF_JOBS = (ORIGINALS, *RESULTS, "certificate")
"""Folders of what belongs to a job beside its order and its record."""

MONTH = timedelta(days=31)
"""What is older may have had a record, which went by an earlier `KEEP_METADATA_DAYS`."""

MARGIN = 0.9
"""Share of the records' time within which one that was ever written is surely still there."""

EVER = datetime.max.replace(tzinfo=UTC)

Names = dict[str, list[str]]
"""Names of objects by the job that they are of."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Removes them, from a shard at a time. May be called again after it failed half-way.

    Attributes:
        free: told ids of jobs, it sees to it that nobody queues them from now on, and answers with
            those of them that the queue does not know.
        forgotten: told the ids of jobs whose originals have just been removed.
        key_store: where the wrapped keys are, as for the `OriginalsVault`.
        age: beyond which what is written is nobody's work any more.
        records_for: how long records are kept; None is for good.
    """

    store: Store
    records: Records
    free: Callable[[Sequence[str]], Collection[str]]
    forgotten: Callable[[Sequence[str]], None] = lambda job_ids: None
    key_store: Store | None = None
    age: timedelta = LONGEST_WRITE
    records_for: timedelta | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def remove(self, shard: str) -> int:
        """Remove what there is in the shard, a folder of `keys`; how many objects those were.

        Raises:
            QueueUnavailableError, StoreUnavailableError: not all of it may be gone; call it again.
        """
        before = self.clock() - self.age
        # Orders and records are listed last: whoever writes an object has written those before.
        found = self._found(shard, before)
        orders = _by_job(self._keys.older(f"{DATA_KEYS}/{shard}", EVER))
        ended = _by_job(self.store.older(f"{METADATA[0]}/{shard}", EVER))
        small = _by_job(self.store.older(f"{METADATA[0]}/{shard}", EVER, below=MOST_BYTES))
        gone = set(filter(self.records.is_deleted, found.keys() & small.keys()))
        gone |= set(filter(keys.is_fleeting, found))
        gone |= self._nobodys(shard, before, found.keys() - orders.keys() - ended.keys() - gone)
        names = [name for job_id in gone for name in found[job_id]]
        names += [
            name for job_id in found.keys() - gone for name in self._stray(job_id, found[job_id])
        ]
        self._delete(names)
        return len(names)

    @property
    def _keys(self) -> Store:
        return self.key_store or self.store

    def _found(self, shard: str, before: datetime, after: datetime | None = None) -> Names:
        """What was written in that time, a job's key before all else of it."""
        wrapped = self._keys.older(f"{DATA_KEYS}/{shard}", before, after)
        others = (self.store.older(f"{folder}/{shard}", before, after) for folder in OF_JOBS)
        return _by_job(chain(wrapped, *others))

    def _nobodys(self, shard: str, before: datetime, job_ids: Collection[str]) -> set[str]:
        """Those of the jobs without order and record whose record can't have gone by its time."""
        if not job_ids:
            return set()
        judged = MONTH if self.records_for is None else min(MONTH, MARGIN * self.records_for)
        young = self._found(shard, before, self.clock() - judged)
        return set(self.free(sorted(young.keys() & job_ids)))

    def _stray(self, job_id: str, names: Sequence[str]) -> list[str]:
        """Those of the job's results and certificates that its record does not name."""
        folders = {PurePosixPath(name).parts[0] for name in names}
        several = len(folders) < len(names) or any(map(_has_slot, names))
        record = self.records.find(job_id) if several else None
        if record is None:
            return []
        own = [keys.data_key(job_id), keys.original(job_id, record.kind)]
        if record.error is None:
            own += (result.key for result in record.outputs)
            own.append(keys.certificate(job_id, record.slot))
        return [name for name in names if name not in own]

    def _delete(self, names: Sequence[str]) -> None:
        """Remove the objects, in their order, and tell of originals once they are gone."""
        for name in names:
            wrapped = name.startswith(f"{DATA_KEYS}/")
            (self._keys if wrapped else self.store).delete(name)
        originals = _by_job(name for name in names if name.startswith(f"{ORIGINALS}/"))
        if originals:
            self.forgotten(sorted(originals))


def _by_job(names: Iterable[str]) -> Names:
    """The names by their jobs; without those that no job has."""
    found: Names = defaultdict(list)
    for name in names:
        if job_id := _job_of(name):
            found[job_id].append(name)
    return dict(found)


def _job_of(name: str) -> str | None:
    """The job that an object of that name is of; None if it is of none."""
    parts = PurePosixPath(name).parts
    job_id = parts[2].partition(".")[0] if len(parts) > 2 else ""
    return job_id if keys.JOB_ID.fullmatch(job_id) and job_id[:2] == parts[1] else None


def _has_slot(name: str) -> bool:
    # A file of the job itself has a dot before its ending; of what lies in a folder it is that's.
    _, _, own, *inside = PurePosixPath(name).parts
    return "." in own if inside else "." in PurePosixPath(own).stem
