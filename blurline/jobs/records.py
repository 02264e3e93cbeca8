"""Records of ended jobs and lists of batches, kept in the store."""

import json

from blurline.jobs.job import JobRecord
from blurline.storage import keys
from blurline.storage.store import Store

JSON = "application/json"
DELETED = b'{"deleted":true}'
"""What stands in place of the record of a job that was deleted; it says nothing of the job."""


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
        return None if data is None or data == DELETED else JobRecord.from_json(data)

    def is_deleted(self, job_id: str) -> bool:
        """Whether the job was deleted.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        return self._store.get(keys.record(job_id)) == DELETED

    def delete(self, job_id: str) -> None:
        """Put a mark in the record's place, so that no worker writes it (again) later.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        self._store.put(keys.record(job_id), DELETED, JSON)

    def commit(self, record: JobRecord) -> bool:
        """Make the record the job's end; False if the job had ended before and stays as it was.

        Of several workers that ran the same job exactly one gets True. The end is for good, also
        for a job that failed: whoever wants another try hands the picture in again.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        return self._store.create(keys.record(record.job_id), record.to_json(), JSON)

    def find_batch(self, batch_id: str) -> list[str] | None:
        """Ids of the batch's jobs in the order of their upload, or None for an unknown batch."""
        data = self._store.get(keys.batch(batch_id))
        return None if data is None else list(json.loads(data)["jobs"])

    def write_batch(self, batch_id: str, job_ids: list[str], submitted_at: float) -> None:
        """Keep which jobs make up the batch."""
        content = {"batch_id": batch_id, "submitted_at": submitted_at, "jobs": job_ids}
        self._store.put(keys.batch(batch_id), json.dumps(content).encode(), JSON)

    def delete_batch(self, batch_id: str) -> None:
        """Forget the batch; its jobs stay."""
        self._store.delete(keys.batch(batch_id))
