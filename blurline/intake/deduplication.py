"""Earlier uploads of the same: the id that they went under, and what their job is worth."""

import time
from dataclasses import dataclass
from enum import Enum, auto
from uuid import uuid4

from blurline import metrics
from blurline.errors import IdempotencyMismatchError, QueueUnavailableError
from blurline.intake.backpressure import BackPressure
from blurline.jobs.records import Records
from blurline.queue.claims import Claim, Claims, Fingerprint
from blurline.queue.jobqueue import Submission

DAY_SECONDS = 86400

CLAIMS = 4
"""How often an upload asks for its id: once, and again after each earlier job that counts no more;
more than that only others can bring about, who give up the same upload at the same moment."""


class Standing(Enum):
    """`OPEN`: nobody has queued it yet, so whoever has it does. `STANDS`: it answers for this
    upload too. `OVER`: it failed, was deleted or its result is gone, so a new one takes over."""

    OPEN = auto()
    STANDS = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Deduplication:
    """Finds and judges earlier jobs. `result_days` is how long results are kept; 0: for good."""

    claims: Claims
    records: Records
    result_days: float

    def resolve(
        self, fingerprint: Fingerprint, pressure: BackPressure, owner: str | None
    ) -> tuple[str, bool]:
        """The id that an upload for that queue goes under, and whether its job stands already.

        Raises:
            IdempotencyMismatchError, QueueFullError: what `claim` raises.
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        over = ""
        for _ in range(CLAIMS):
            claim = self.claim(fingerprint, pressure, owner, over)
            standing = self._standing(claim)
            if standing is not Standing.OVER:
                return claim.job_id, standing is Standing.STANDS
            over = claim.job_id
        raise QueueUnavailableError("the same picture fails at this moment; try again")

    def claim(
        self, fingerprint: Fingerprint, pressure: BackPressure, owner: str | None, over: str = ""
    ) -> Claim:
        """The id for a caller's upload, in place of that of an earlier job that counts no more.

        Raises:
            IdempotencyMismatchError: the fingerprint's key was sent with something else.
            QueueFullError: the upload is a new one, and the queue takes no more at the moment.
            QueueUnavailableError: Redis is away.
        """
        places, shared = pressure.now(), pressure.shared()
        claim = self.claims.claim(
            fingerprint, str(uuid4()), pressure.queue, places, over, owner, shared
        )
        if isinstance(claim, Submission):
            raise pressure.full(claim)
        if not claim.fits:
            metrics.UPLOADS.labels(pressure.queue.name, "mismatch").inc()
            raise IdempotencyMismatchError(
                "this Idempotency-Key was sent with another picture or other options"
            )
        return claim

    def _standing(self, claim: Claim) -> Standing:
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
