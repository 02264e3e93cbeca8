"""Whose a job is, in rq's hash of it: so that it is told without the store."""

import json

from blurline.settings import Settings
from blurline.storage.masterkeys import signet_of


class Owners:
    """Writes and reads `meta` of jobs. It carries a tag, since others may write to Redis too."""

    def __init__(self, settings: Settings) -> None:
        self._signet = signet_of(settings, b"owner")

    def named(self, job_id: str, owner: str | None) -> dict[str, str] | None:
        """What `meta` has to hold; None where nobody has the job."""
        if owner is None:
            return None
        return {"owner": owner, "tag": self._signet.tag(job_id, owner.encode())}

    def of(self, job_id: str, meta: bytes | None) -> str | None:
        """The caller that `meta` names, if this service has written it."""
        try:
            told = json.loads(meta or b"{}")
            owner, tag = str(told["owner"]), str(told["tag"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return owner if self._signet.holds(tag, job_id, owner.encode()) else None
