"""Jobs that were accepted, as the store knows them, whatever has become of the queue."""

import logging
from dataclasses import dataclass

from blurline.jobs.job import JobSpec
from blurline.storage.sealing import OriginalUnreadableError
from blurline.storage.vault import JobFile, OriginalsVault

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it was handed in, and the file beside its original that says so."""

    spec: JobSpec
    file: JobFile


def read_order(originals: OriginalsVault, job_id: str) -> Order | None:
    """The job as it was handed in; None if it is unknown or forgotten.

    Nobody but this service can have written it: it is encrypted by a key that only holders of the
    master key have, and bound to the job's id.

    Raises:
        OriginalUnreadableError: it is not as it was written, or not of this job.
        StoreUnavailableError: the store does not answer.
    """
    file = originals.open(job_id)
    if file is None or not file.order:
        return None
    try:
        spec = JobSpec.from_order(file.order)
    except ValueError as error:
        raise OriginalUnreadableError(str(error)) from None
    if spec.job_id != job_id:
        raise OriginalUnreadableError("the order beside the original is another job's")
    return Order(spec, file)


def find_order(originals: OriginalsVault, job_id: str) -> JobSpec | None:
    """The job as it was handed in; None if it is unknown, forgotten, or can't be read any more.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    try:
        order = read_order(originals, job_id)
        return None if order is None else order.spec
    except OriginalUnreadableError:
        log.warning("job %s: what was ordered can't be read any more", job_id)
        return None
