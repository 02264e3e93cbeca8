"""Jobs that were accepted, as the store knows them, whatever has become of the queue."""

import logging

from blurline.jobs.job import JobSpec
from blurline.storage.sealing import OriginalUnreadableError
from blurline.storage.vault import OriginalsVault

log = logging.getLogger(__name__)


def find_order(originals: OriginalsVault, job_id: str) -> JobSpec | None:
    """The job as it was handed in; None if it is unknown, forgotten, or can't be read any more.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    try:
        order = originals.order(job_id)
        return JobSpec.from_order(order) if order else None
    except (OriginalUnreadableError, ValueError):
        log.warning("job %s: what was ordered can't be read any more", job_id)
        return None
