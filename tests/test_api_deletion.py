"""Deleting a job while a worker may be at it."""

from pathlib import Path

from blurline.api.deletion import Deletion
from blurline.audit import AuditTrail, read_receipt
from blurline.certificate.signing import load_signing_key
from blurline.imaging.kind import Kind
from blurline.jobs.records import Records
from blurline.queue.connection import connect
from blurline.queue.jobqueue import JobQueue
from blurline.storage import keys
from blurline.storage.objects import FolderStore
from blurline.storage.vault import open_vault
from tests.parts import job_spec, settings_for


class Watched(FolderStore):
    """A folder that notes of each removed object whether its job was marked as deleted before."""

    def __init__(self, folder: Path, job_id: str) -> None:
        super().__init__(folder)
        self._job_id = job_id
        self.removed: dict[str, bool] = {}

    def delete(self, key: str) -> None:
        self.removed[key] = Records(self).is_deleted(self._job_id)
        super().delete(key)


def test_a_job_is_marked_as_deleted_before_anything_is_removed(
    redis_url: str, tmp_path: Path
) -> None:
    """Otherwise a worker could write its result between the removal and the mark."""
    settings, spec = settings_for(redis_url, tmp_path), job_spec()
    store = Watched(tmp_path / "store", spec.job_id)
    vault, key = open_vault(settings, store), load_signing_key(None, tmp_path)
    queue = JobQueue(connect(redis_url), settings)
    vault.put(spec.job_id, Kind.JPEG, b"a picture")
    result = keys.processed(spec.job_id, Kind.JPEG)
    store.put(result, b"a result", "image/jpeg")
    queue.submit([spec])

    receipt = Deletion(store, vault, Records(store), queue, AuditTrail(store), key).delete(
        spec.job_id
    )

    assert {result, spec.original, keys.data_key(spec.job_id)} <= set(store.removed)
    assert all(store.removed.values())
    assert read_receipt(receipt, key.public).removed == ("original", "result", "queue entry")
