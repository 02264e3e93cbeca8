"""The files that come of a job, by their names in the store."""

from datetime import UTC, datetime

from blurline.imaging.kind import Kind
from blurline.storage import keys
from blurline.storage.store import Store
from blurline.treatment.outputs import Output, Role

WRITTEN = tuple(dict.fromkeys(kind.written for kind in Kind))
"""The kinds that results have."""


def key_of(job_id: str, output: Output, slot: str) -> str:
    """The name in the store of a file that came of the job.

    Raises:
        ValueError: it is called as no file can be, so that its record could not be read.
    """
    if not keys.RESULT_NAME.fullmatch(output.name):
        raise ValueError(f"{output.name} is no name of a result")
    if output.role is Role.PRIMARY:
        return keys.processed(job_id, Kind(output.media_type.removeprefix("image/")), slot)
    return f"{keys.beside(job_id, slot)}/{output.name}"


def remove_results(store: Store, job_id: str, slot: str = "") -> bool:
    """Remove the files that came of a job under that slot, whatever they are.

    Returns:
        Whether there was one.

    Raises:
        StoreUnavailableError: not all of them may be gone.
    """
    names = [keys.processed(job_id, kind, slot) for kind in WRITTEN]
    there = [name for name in names if store.look(name) is not None]
    there += store.older(keys.beside(job_id, slot), datetime.max.replace(tzinfo=UTC))
    for name in there:
        store.delete(name)
    return bool(there)
