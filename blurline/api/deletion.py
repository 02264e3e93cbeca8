"""Deleting a job: everything that is kept of it, and the receipt."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from blurline import __version__
from blurline.audit import (
    Action,
    AuditTrail,
    DeletionReceipt,
    Event,
    Outcome,
    issue_receipt,
)
from blurline.certificate.canonical import utc_text
from blurline.certificate.signing import SigningKey
from blurline.imaging.kind import Kind
from blurline.jobs.records import Records
from blurline.jobs.results import remove_results
from blurline.queue.queues import Queues
from blurline.storage import keys
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault
from blurline.webhooks.outbox import Outbox

ACTOR = "api"
"""Who deletes where nobody is asked who they are."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes jobs. May be called again after it failed half-way."""

    store: Store
    originals: OriginalsVault
    records: Records
    queues: Queues
    outbox: Outbox
    trail: AuditTrail
    key: SigningKey

    def delete(self, job_id: str, *, actor: str | None = None, owner: str | None = None) -> bytes:
        """Remove original, result, certificate, record and queue entry; the signed receipt's file.

        A mark stays in the record's place, so that a worker that runs the job at this moment can't
        bring it back. Of a job that is unknown, or deleted already, the receipt says that nothing
        was removed. The trail has lines of the first time that a deleted job was asked for again,
        and none of jobs that never were: what anybody may make up must not fill it.

        Args:
            actor: id of the caller that asked for it, for the audit trail.
            owner: id of the caller whose job it is, so that it is still known half-way.

        Raises:
            QueueUnavailableError, StoreUnavailableError: not everything may be gone yet; ask again.
        """
        originals = [kind for kind in Kind if self._has(keys.original(job_id, kind))]
        record, before = self.records.find(job_id), self.records.mark(job_id)
        recorded, slot = record is not None, "" if record is None else record.slot
        if owner is not None and before is None:
            # Before the queue forgets whose job it is: the owner may have to ask again.
            self.records.delete(job_id, owner)
        queued = self.queues.forget(job_id)
        self.outbox.remove(job_id)
        if owner is None and before is None and (originals or recorded or queued):
            # First of all: a worker that ends from now on removes what it wrote by itself.
            self.records.delete(job_id)
        self.originals.forget_order(job_id)
        for kind in originals:
            self.originals.forget(job_id, kind)
        removed = {
            "original": bool(originals),
            "result": remove_results(self.store, job_id, slot),
            "certificate": self._remove(keys.certificate(job_id, slot)),
            "record": recorded,
            "queue entry": queued,
        }
        line = self._noted(job_id, actor or ACTOR, removed)
        receipt = DeletionReceipt(
            job_id=job_id,
            time=utc_text(datetime.now(UTC)),
            removed=tuple(name for name, there in removed.items() if there),
            audit=line,
            blurline=__version__,
            key_id=self.key.key_id,
        )
        return issue_receipt(receipt, self.key)

    def _noted(self, job_id: str, actor: str, removed: Mapping[str, bool]) -> str:
        """Hash of the trail's line of this deletion; empty if there never was such a job."""
        events = _events(job_id, actor, removed)
        if any(removed.values()):
            return self.trail.append(events)
        mark = self.records.mark(job_id)
        if mark is None:
            return ""
        if mark.audit is not None:
            return mark.audit
        line = self.trail.append(events)
        self.records.delete(job_id, mark.owner, line)
        return line

    def _has(self, key: str) -> bool:
        return self.store.get(key) is not None

    def _remove(self, key: str) -> bool:
        there = self._has(key)
        if there:
            self.store.delete(key)
        return there


def _events(job_id: str, actor: str, removed: Mapping[str, bool]) -> list[Event]:
    actions = {
        "original": Action.ORIGINAL_DELETED,
        "result": Action.RESULT_DELETED,
        "record": Action.METADATA_DELETED,
    }
    return [
        Event(action, job_id, actor, Outcome.DONE if removed[name] else Outcome.ABSENT)
        for name, action in actions.items()
    ]
