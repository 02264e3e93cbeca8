"""Records of ended jobs and lists of batches, kept in the store.

Each carries a tag, bound to its name, by which this service knows again what it has written: who
can write to the store must not be able to give a job to another caller. What has no such tag is of
an earlier version or of somebody else, and says nothing of owners that would be believed.
"""

import json
import logging
from dataclasses import dataclass, replace

from blurline.jobs.job import JobRecord
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.marks import Mark, mark_in
from blurline.storage.masterkeys import signet_of
from blurline.storage.signet import TAG_LENGTH, Signet
from blurline.storage.store import Store

JSON = "application/json"

TAG = b',"tag":"'
"""What stands before the tag, which is the last member of the JSON object that it is for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Ids of a batch's jobs in the order of their upload, and the id of the caller that owns it.

    `sure`: this service has written that, and not somebody else.
    """

    job_ids: list[str]
    owner: str | None = None
    sure: bool = True


class Records:
    """The records in a store. They answer for a job when the queue has forgotten it."""

    def __init__(self, store: Store, signet: Signet) -> None:
        self._store = store
        self._signet = signet

    def find(self, job_id: str) -> JobRecord | None:
        """How the job ended, or None if it did not, never was, or was deleted.

        A record without a tag of ours names no owner: ask its order.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        data, sure = self._read(keys.record(job_id))
        if data is None or mark_in(data):
            return None
        try:
            record = JobRecord.from_json(data)
        except ValueError:
            record = None
        if record is None or record.job_id != job_id:
            log.warning("job %s: what lies in its record's place is no record of it", job_id)
            return None
        return record if sure else replace(record, owner=None, report=None)

    def owner(self, job_id: str) -> str | None:
        """Whose the job is or was; None if it has not ended, belongs to nobody, or nobody is sure.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        data, sure = self._read(keys.record(job_id))
        if data is None or not sure:
            return None
        found: str | None = json.loads(data).get("owner")
        return found

    def is_deleted(self, job_id: str) -> bool:
        """Whether the job was deleted.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        return self.mark(job_id) is not None

    def mark(self, job_id: str) -> Mark | None:
        """What is left of a job that was deleted; None of any other.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        data, sure = self._read(keys.record(job_id))
        mark = mark_in(data)
        return Mark() if mark is not None and not sure else mark

    def has_end(self, job_id: str) -> bool:
        """Whether the job has ended or was deleted.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        return self._store.get(keys.record(job_id)) is not None

    def delete(self, job_id: str, owner: str | None = None, audit: str | None = None) -> None:
        """Put a mark in the record's place, so that no worker writes it (again) later.

        `owner` and `audit` are the `Mark`'s.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        key, mark = keys.record(job_id), Mark(owner, audit)
        content = mark.to_json()
        # A mark that says no more than that has nothing that a tag would be needed for.
        self._store.put(key, content if mark == Mark() else self._tagged(key, content), JSON)

    def commit(self, record: JobRecord) -> bool:
        """Make the record the job's end; False if the job had ended before and stays as it was.

        Of several workers that ran the same job exactly one gets True, and may call again after an
        error. The end is for good, also for a job that failed: whoever wants another try hands the
        picture in again.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        key = keys.record(record.job_id)
        content = self._tagged(key, record.to_json())
        # A store whose answer was lost is asked again by its client, and finds what was written.
        return self._store.create(key, content, JSON) or self._store.get(key) == content

    def find_batch(self, batch_id: str) -> Batch | None:
        """The batch, or None for one that is unknown."""
        data, sure = self._read(keys.batch(batch_id))
        if data is None:
            return None
        try:
            content = json.loads(data)
            known, jobs = content["batch_id"] == batch_id, [str(one) for one in content["jobs"]]
        except (ValueError, KeyError, TypeError):
            return None
        return Batch(jobs, content.get("owner"), sure) if known else None

    def write_batch(self, batch_id: str, batch: Batch, submitted_at: float) -> None:
        """Keep which jobs make up the batch, and whose it is."""
        content = {
            "batch_id": batch_id,
            "submitted_at": submitted_at,
            "jobs": batch.job_ids,
            "owner": batch.owner,
        }
        key = keys.batch(batch_id)
        self._store.put(key, self._tagged(key, json.dumps(content).encode()), JSON)

    def delete_batch(self, batch_id: str) -> None:
        """Forget the batch; its jobs stay."""
        self._store.delete(keys.batch(batch_id))

    def _tagged(self, key: str, content: bytes) -> bytes:
        """The JSON object with its tag, which is over all that comes before it."""
        tag = self._signet.tag(key, content[:-1]).encode()
        return content[:-1] + TAG + tag + b'"}'

    def _read(self, key: str) -> tuple[bytes | None, bool]:
        """The JSON object, and whether it is as `_tagged` made it for that key."""
        data = self._store.get(key)
        if data is None:
            return None, False
        end = len(data) - TAG_LENGTH - len(b'"}')
        start = end - len(TAG)
        if start < 0 or data[start:end] != TAG:
            return data, False
        tag = data[end:-2].decode(errors="replace")
        return data, self._signet.holds(tag, key, data[:start])


def open_records(settings: Settings, store: Store) -> Records:
    """The records in the store.

    Raises:
        SettingsError: the file of master keys can't be used.
    """
    return Records(store, signet_of(settings, b"record"))
