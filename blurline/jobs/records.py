"""Records of ended jobs and lists of batches, kept in the store."""

import json
from dataclasses import dataclass

from blurline.jobs.job import JobRecord
from blurline.storage import keys
from blurline.storage.marks import Mark, mark_in
from blurline.storage.store import Store

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Batch:
    """Ids of a batch's jobs in the order of their upload, and the id of the caller that owns it."""

    job_ids: list[str]
    owner: str | None = None


class Records:
    """The records in a store. They answer for a job when the queue has forgotten it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, job_id: str) -> JobRecord | None:
        """How the job ended, or None if it did not, never was, or was deleted.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        data = self._store.get(keys.record(job_id))
        return None if data is None or mark_in(data) else JobRecord.from_json(data)

    def owner(self, job_id: str) -> str | None:
        """Whose the job is or was; None if it has not ended, or belongs to nobody.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        data = self._store.get(keys.record(job_id))
        found: str | None = None if data is None else json.loads(data).get("owner")
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
        return mark_in(self._store.get(keys.record(job_id)))

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
        self._store.put(keys.record(job_id), Mark(owner, audit).to_json(), JSON)

    def commit(self, record: JobRecord) -> bool:
        """Make the record the job's end; False if the job had ended before and stays as it was.

        Of several workers that ran the same job exactly one gets True, and may call again after an
        error. The end is for good, also for a job that failed: whoever wants another try hands the
        picture in again.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        key, content = keys.record(record.job_id), record.to_json()
        # A store whose answer was lost is asked again by its client, and finds what was written.
        return self._store.create(key, content, JSON) or self._store.get(key) == content

    def find_batch(self, batch_id: str) -> Batch | None:
        """The batch, or None for one that is unknown."""
        data = self._store.get(keys.batch(batch_id))
        if data is None:
            return None
        content = json.loads(data)
        return Batch(list(content["jobs"]), content.get("owner"))

    def write_batch(self, batch_id: str, batch: Batch, submitted_at: float) -> None:
        """Keep which jobs make up the batch, and whose it is."""
        content = {
            "batch_id": batch_id,
            "submitted_at": submitted_at,
            "jobs": batch.job_ids,
            "owner": batch.owner,
        }
        self._store.put(keys.batch(batch_id), json.dumps(content).encode(), JSON)

    def delete_batch(self, batch_id: str) -> None:
        """Forget the batch; its jobs stay."""
        self._store.delete(keys.batch(batch_id))
