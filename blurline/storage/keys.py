"""Names of objects in the store.

The two first digits of the id make a folder, so that no folder of a local store grows without end.
"""

from blurline.imaging.header import Kind


def original(job_id: str, kind: Kind) -> str:
    """The picture as it was sent."""
    return f"original/{job_id[:2]}/{job_id}.{kind.extension}"


def processed(job_id: str, kind: Kind) -> str:
    """The redacted picture of an original of `kind`."""
    return f"processed/{job_id[:2]}/{job_id}.{kind.written.extension}"


def record(job_id: str) -> str:
    """How the job ended, as JSON."""
    return f"metadata/{job_id[:2]}/{job_id}.json"


def batch(batch_id: str) -> str:
    """Which jobs make up a batch, as JSON."""
    return f"metadata/batches/{batch_id[:2]}/{batch_id}.json"
