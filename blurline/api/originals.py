"""Handing out originals, each time with a line in the audit trail."""

import asyncio
from dataclasses import dataclass, field

from blurline.access.caller import Caller
from blurline.api.deletion import ACTOR
from blurline.api.errors import RequestError
from blurline.api.reports import Reports, checked_id
from blurline.audit import Action, AuditTrail, Event, Outcome
from blurline.imaging.kind import Kind
from blurline.jobs.records import Records
from blurline.storage.sealing import OriginalUnreadableError
from blurline.storage.vault import OriginalsVault

IN_MEMORY = 4
"""Originals that one process hands out at a time: each is decrypted as a whole."""


@dataclass(frozen=True, slots=True)
class OriginalDesk:
    """Gives originals to those who may see them; `places` is for those that are handed out."""

    reports: Reports
    records: Records
    originals: OriginalsVault
    trail: AuditTrail
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_MEMORY))

    def read(self, job_id: str, caller: Caller) -> tuple[bytes, Kind]:
        """The job's original and its kind, once the trail says who has read it.

        Of a job that never was it says nothing: what anybody may make up must not fill it.

        Raises:
            RequestError: `not_found`: there is no such job, it is another caller's, or its original
                is not kept any more.
            OriginalUnreadableError: the original can't be decrypted.
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        job_id = checked_id(job_id, "job")
        try:
            self.reports.owner(job_id, caller)
        except RequestError:
            if self.reports.is_known(job_id):
                self._note(job_id, caller, Outcome.REFUSED)
            raise
        try:
            found = self._find(job_id)
        except OriginalUnreadableError:
            self._note(job_id, caller, Outcome.FAILED)
            raise
        if found is not None:
            self._note(job_id, caller, Outcome.DONE)
        elif self.reports.is_known(job_id):
            self._note(job_id, caller, Outcome.ABSENT)
        if found is None:
            raise RequestError("the original is not kept any more", code="not_found")
        return found

    def _find(self, job_id: str) -> tuple[bytes, Kind] | None:
        record = self.records.find(job_id)
        for kind in Kind if record is None else (record.kind,):
            data = self.originals.get(job_id, kind)
            if data is not None:
                return data, kind
        return None

    def _note(self, job_id: str, caller: Caller, outcome: Outcome) -> None:
        self.trail.append([Event(Action.ORIGINAL_READ, job_id, caller.id or ACTOR, outcome)])
