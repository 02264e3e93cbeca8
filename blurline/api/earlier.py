"""What the job of an earlier upload of the same is worth."""

import time
from dataclasses import dataclass
from enum import Enum, auto

from blurline.jobs.records import Records
from blurline.queue.claims import Claim

DAY_SECONDS = 86400


class Standing(Enum):
    """`OPEN`: nobody has queued it yet, so whoever has it does. `STANDS`: it answers for this
    upload too. `OVER`: it failed, was deleted or its result is gone, so a new one takes over."""

    OPEN = auto()
    STANDS = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Earlier:
    """Judges earlier jobs. `result_days` is how long results are kept; 0: for good."""

    records: Records
    result_days: float

    def standing(self, claim: Claim) -> Standing:
        """How the job stands whose id the upload was told.

        The store is asked only about jobs that do not wait or run.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if claim.fresh:
            return Standing.OPEN
        if claim.status is not None and not claim.status.ended:
            return Standing.STANDS
        record = self.records.find(claim.job_id)
        if record is None:
            ended = claim.status is not None or self.records.is_deleted(claim.job_id)
            return Standing.OVER if ended else Standing.OPEN
        seconds = self.result_days * DAY_SECONDS
        gone = seconds and time.time() - record.updated_at > seconds
        return Standing.OVER if gone or record.error is not None else Standing.STANDS
