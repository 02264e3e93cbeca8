"""Names of objects in the store.

The two first digits of the id make a folder, so that no folder of a local store grows without end.
"""

import re
from uuid import uuid4

from blurline.imaging.kind import Kind

JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RESULT_NAME = re.compile(r"[0-9a-z_-]+\.[0-9a-z]+")
"""What callers may ask for a file by that came of a job."""

SLOT = re.compile(r"[0-9a-f]*")
"""What tells the results of several tries of one job apart, see `JobRecord`."""

FLEETING, VERSION_AT = "8", 14
"""The version of UUIDs that is for everybody's own use (RFC 9562, 5.8), and the place of its digit.
Here it is that of jobs whose caller waits for them: nobody else is told their ids."""


def new_id(*, fleeting: bool = False) -> str:
    """An id that nothing has. Of a fleeting job it says so, wherever it stands."""
    job_id = str(uuid4())
    return f"{job_id[:VERSION_AT]}{FLEETING}{job_id[VERSION_AT + 1 :]}" if fleeting else job_id


def is_fleeting(job_id: str) -> bool:
    """Whether the id is of a job that is kept only as long as its caller waits."""
    return job_id[VERSION_AT : VERSION_AT + 1] == FLEETING


def original(job_id: str, kind: Kind) -> str:
    """The picture as it was sent."""
    return f"original/{job_id[:2]}/{job_id}.{kind.extension}"


def processed(job_id: str, written: Kind, slot: str = "") -> str:
    """The picture that came of the job, of the kind that it is written as.

    Args:
        slot: what tells the pictures of several tries of one job apart, see `JobRecord`.
    """
    return f"processed/{job_id[:2]}/{job_id}{_dotted(slot)}.{written.extension}"


def beside(job_id: str, slot: str = "") -> str:
    """The folder of what came of the job beside the picture of that slot, see `processed`."""
    return f"processed/{job_id[:2]}/{job_id}{_dotted(slot)}"


def is_result_of(job_id: str, key: str) -> bool:
    """Whether an object of that name came of the job: see `processed` and `beside`."""
    mine = re.escape(f"processed/{job_id[:2]}/{job_id}")
    own = rf"{mine}(\.[0-9a-z]+){{0,2}}(/{RESULT_NAME.pattern})?"
    return re.fullmatch(own, key) is not None


def record(job_id: str) -> str:
    """How the job ended, as JSON."""
    return f"metadata/{job_id[:2]}/{job_id}.json"


def batch(batch_id: str) -> str:
    """Which jobs make up a batch, as JSON."""
    return f"metadata/batches/{batch_id[:2]}/{batch_id}.json"


def certificate(job_id: str, slot: str = "") -> str:
    """The signed certificate of the processed picture of that slot, as JSON."""
    return f"certificate/{job_id[:2]}/{job_id}{_dotted(slot)}.json"


def data_key(job_id: str) -> str:
    """The job's small file: the wrapped key of its original, and what is to be done with it."""
    return f"keys/{job_id[:2]}/{job_id}.key"


def audit(number: int) -> str:
    """The object of that number in the audit trail, as JSON lines; a thousand make a folder."""
    return f"audit/{number // 1000:09}/{number:012}.jsonl"


def _dotted(slot: str) -> str:
    """Ids hold no dot, so that what stands before the first one is always the job's."""
    return f".{slot}" if slot else ""
