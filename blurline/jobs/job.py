"""What a job is while it waits and what is kept of it afterwards."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from blurline.imaging.kind import Kind, OutputFormat
from blurline.stages.frame import Options


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
class JobSpec:
    """A picture to be treated, as it was ordered: names and options, never pixels.

    `submitted_at` is in seconds since the epoch, `file_size` in bytes. `owner` is the id of the
    caller that handed it in, None where nobody was asked. `request_id` is of the request that did
    so, for the log, and `trace` its span; `callback_url` is where the job's end is reported to.
    """

    job_id: str
    original: str
    kind: Kind
    filename: str
    file_size: int
    submitted_at: float
    pipeline: str
    options: Options
    owner: str | None = None
    request_id: str = ""
    trace: str = ""
    callback_url: str | None = None

    @property
    def written(self) -> Kind:
        """The kind of the result."""
        return self.options.output_format.of(self.kind)

    def to_order(self) -> bytes:
        """The job as UTF-8 JSON, as it is kept beside its original."""
        return _SPEC.dump_json(self)

    @classmethod
    def from_order(cls, order: bytes) -> "JobSpec":
        """The job from `to_order`'s bytes.

        Raises:
            ValueError: they are none.
        """
        try:
            return _SPEC.validate_json(order)
        except ValidationError:
            # Its text quotes the values.
            raise ValueError("the order is no job as this version writes them") from None


_SPEC = TypeAdapter(JobSpec)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a code for programs and a sentence for people."""

    code: str
    message: str


GIVEN_UP = JobError("processing_failed", "the picture could not be processed; all tries failed")
"""Why a job failed that met with errors which might have passed."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """How a job ended. It is written once, last of all, and is what makes a result visible.

    `updated_at` and `submitted_at` are in seconds since the epoch. `results` is None for a job
    that failed, `error` for one that was completed. `owner` is the `JobSpec`'s, `kind` that of the
    original.

    `slot` is what the names of the job's result and certificate have in them: nothing, unless
    another try had left some of those names when this one came to write. `output_sha256` is the
    result's, in hex; `report` is where the end is to be told, encrypted. Records of earlier
    versions have none of the three.
    """

    job_id: str
    status: JobStatus
    filename: str
    file_size: int
    submitted_at: float
    updated_at: float
    pipeline: str
    kind: Kind
    results: dict[str, Any] | None
    error: JobError | None
    owner: str | None = None
    output_format: OutputFormat = OutputFormat.SAME
    slot: str = ""
    output_sha256: str | None = None
    report: str | None = None

    @property
    def written(self) -> Kind:
        """The kind of the result."""
        return self.output_format.of(self.kind)

    def to_json(self) -> bytes:
        """The record as UTF-8 JSON."""
        return _RECORD.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> "JobRecord":
        """The record from `to_json`'s bytes.

        Raises:
            ValueError: they are none.
        """
        try:
            return _RECORD.validate_json(data)
        except ValidationError:
            # Its text quotes the values.
            raise ValueError("the record is none as this version writes them") from None


_RECORD = TypeAdapter(JobRecord)


def completed(
    spec: JobSpec, results: dict[str, Any], now: float, *, slot: str = "", output_sha256: str = ""
) -> JobRecord:
    """The record of a job that is done."""
    record = _record(spec, JobStatus.COMPLETED, now, results=results, error=None)
    return replace(record, slot=slot, output_sha256=output_sha256 or None)


def failed(spec: JobSpec, error: JobError, now: float) -> JobRecord:
    """The record of a job that is given up."""
    return _record(spec, JobStatus.FAILED, now, results=None, error=error)


def _record(
    spec: JobSpec,
    status: JobStatus,
    now: float,
    *,
    results: dict[str, Any] | None,
    error: JobError | None,
) -> JobRecord:
    return JobRecord(
        job_id=spec.job_id,
        status=status,
        filename=spec.filename,
        file_size=spec.file_size,
        submitted_at=spec.submitted_at,
        updated_at=now,
        pipeline=spec.pipeline,
        kind=spec.kind,
        results=results,
        error=error,
        owner=spec.owner,
        output_format=spec.options.output_format,
    )
