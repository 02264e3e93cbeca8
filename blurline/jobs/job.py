"""What a job is while it waits and what is kept of it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from blurline.imaging.kind import Kind
from blurline.jobs import earlier
from blurline.stages.optiontable import Values
from blurline.storage import keys
from blurline.treatment.outputs import Role

Version = Literal[2]
VERSION: Version = 2
"""Of orders and records; those of the release before, which have none, are read as well."""

MEDIA_TYPES = frozenset(kind.content_type for kind in Kind)
"""Of files that come of jobs."""


class JobStatus(StrEnum):
    """Where a job is, in the words of the HTTP contract."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the store: its name there, its media type, its size in bytes, and its hash in hex,
    which is empty in orders of the release before."""

    key: str
    media_type: str
    size: int
    sha256: str = ""

    @property
    def kind(self) -> Kind:
        """The kind of picture that it is.

        Raises:
            ValueError: it is none.
        """
        return Kind(self.media_type.removeprefix("image/"))


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What is to be done with a file, as it was ordered: names and options, never pixels.

    Attributes:
        input: what was sent.
        filename: as the sender called it; it is only ever shown again.
        submitted_at: in seconds since the epoch.
        pipeline: names of pipelines, separated by commas, see `chain_of`.
        options: the values of their options.
        owner: id of the caller that handed it in, None where nobody was asked.
        request_id: of the request that did so, for the log, and `trace` its span.
        callback_url: where the job's end is reported to.
        parent: id of the job whose result this one is to take the place of.
    """

    job_id: str
    input: Asset
    filename: str
    submitted_at: float
    pipeline: str
    options: Values
    owner: str | None = None
    request_id: str = ""
    trace: str = ""
    callback_url: str | None = None
    parent: str | None = None
    version: Version = VERSION

    @property
    def kind(self) -> Kind:
        """The kind of picture that was sent."""
        return self.input.kind

    def to_order(self) -> bytes:
        """The job as UTF-8 JSON, as it is kept beside its original."""
        return _SPEC.dump_json(self)

    @classmethod
    def from_order(cls, order: bytes) -> "JobSpec":
        """The job from `to_order`'s bytes, also from those of the release before.

        Raises:
            ValueError: they are none.
        """
        try:
            return _SPEC.validate_python(earlier.order(_JSON.validate_json(order)))
        except (ValidationError, LookupError, TypeError, AttributeError):
            # Its text quotes the values.
            raise ValueError("the order is no job as this version writes them") from None


_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_SPEC = TypeAdapter(JobSpec)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a code for programs and a sentence for people."""

    code: str
    message: str


GIVEN_UP = JobError("processing_failed", "the picture could not be processed; all tries failed")
"""Why a job failed that met with errors which might have passed."""


@dataclass(frozen=True, slots=True)
class Result:
    """A file that came of a job, as its record knows it.

    Attributes:
        key: its name in the store.
        name: what callers ask for it by.
        width, height: in pixels.
        size: in bytes; None in records of the release before.
        sha256: in hex; None in records of earlier releases.
    """

    key: str
    name: str
    role: Role
    media_type: str
    width: int
    height: int
    size: int | None = None
    sha256: str | None = None

    def is_of(self, job_id: str) -> bool:
        """Whether a worker can have written it of that job.

        Who can write to the store must not choose what browsers take a file for.
        """
        return (
            keys.is_result_of(job_id, self.key)
            and keys.RESULT_NAME.fullmatch(self.name) is not None
            and self.media_type in MEDIA_TYPES
        )


@dataclass(frozen=True, slots=True)
class JobRecord:
    """How a job ended. It is written once, last of all, and is what makes a result visible.

    Attributes:
        input: what was sent.
        submitted_at, updated_at: in seconds since the epoch.
        outputs: the files that came of it, the primary one first; none of a job that failed.
        reports: by stage what is told of it.
        tally: figures that are added up over all jobs.
        seconds: in the worker.
        error: why it failed; None for a job that was completed.
        owner: the `JobSpec`'s.
        slot: what the names of the job's results and certificate have in them: nothing, unless
            another try had left some of those names when this one came to write.
        report: where the end is to be told, encrypted.
        parent: the `JobSpec`'s.
    """

    job_id: str
    status: JobStatus
    input: Asset
    filename: str
    submitted_at: float
    updated_at: float
    pipeline: str
    error: JobError | None
    outputs: tuple[Result, ...] = ()
    reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tally: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    owner: str | None = None
    slot: str = ""
    report: str | None = None
    parent: str | None = None
    version: Version = VERSION

    @property
    def kind(self) -> Kind:
        """The kind of picture that was sent."""
        return self.input.kind

    @property
    def primary(self) -> Result:
        """The result of a job that was completed."""
        return self.outputs[0]

    def to_json(self) -> bytes:
        """The record as UTF-8 JSON."""
        return _RECORD.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> "JobRecord":
        """The record from `to_json`'s bytes, also from those of earlier releases.

        Raises:
            ValueError: they are none, or name files that did not come of that job.
        """
        try:
            record = _RECORD.validate_python(earlier.record(_JSON.validate_json(data)))
        except (ValidationError, LookupError, TypeError, AttributeError):
            # Its text quotes the values.
            raise ValueError("the record is none as this version writes them") from None
        if not all(one.is_of(record.job_id) for one in record.outputs):
            raise ValueError("the record names files that did not come of that job")
        if not keys.SLOT.fullmatch(record.slot):
            raise ValueError("the record names a try that there can't have been")
        if record.status is JobStatus.COMPLETED and not record.outputs:
            raise ValueError("the record of a completed job names no result")
        return record


_RECORD = TypeAdapter(JobRecord)


def failed(spec: JobSpec, error: JobError, now: float) -> JobRecord:
    """The record of a job that is given up."""
    return replace(completed(spec, now), status=JobStatus.FAILED, error=error)


def completed(spec: JobSpec, now: float, **what: Any) -> JobRecord:
    """The record of a job that is done; `what` came of it are more of its attributes."""
    return JobRecord(
        job_id=spec.job_id,
        status=JobStatus.COMPLETED,
        input=spec.input,
        filename=spec.filename,
        submitted_at=spec.submitted_at,
        updated_at=now,
        pipeline=spec.pipeline,
        error=None,
        owner=spec.owner,
        parent=spec.parent,
        **what,
    )
