"""The JSON that the API answers with."""

from typing import Any

from pydantic import BaseModel, Field

from blurline.jobs.job import JobStatus

JOB_ID = "0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11"
BATCH_ID = "7f2b7c1e-90f4-4f7c-8f68-5d1f0e8c5a20"


class ErrorBody(BaseModel):
    """Why something was refused or failed."""

    code: str = Field(examples=["not_an_image"])
    message: str = Field(examples=["the file is not an image"])


class ErrorAnswer(BaseModel):
    """The shape of every error."""

    error: ErrorBody


class UploadAnswer(BaseModel):
    """A picture that was stored and queued."""

    job_id: str = Field(examples=[JOB_ID])
    filename: str = Field(examples=["street.jpg"])
    file_size: int = Field(description="bytes", examples=[181403])
    status: JobStatus = Field(examples=["submitted"])
    message: str = Field(examples=[f"ask /status/{JOB_ID} how it goes"])


class BatchEntry(BaseModel):
    """One file of a batch, in the order of the upload."""

    filename: str
    job_id: str | None = Field(description="null for a file that was rejected")
    status: str = Field(description="submitted or rejected")
    error: ErrorBody | None


class BatchAnswer(BaseModel):
    """What became of the files of a batch."""

    batch_id: str = Field(examples=[BATCH_ID])
    submitted: int
    rejected: int
    jobs: list[BatchEntry]


class BatchJob(BaseModel):
    """A job of a batch; `status` is null where neither queue nor store knows it any more."""

    job_id: str
    status: JobStatus | None


class BatchProgress(BaseModel):
    """How far a batch is."""

    batch_id: str = Field(examples=[BATCH_ID])
    total: int
    submitted: int = Field(description="waiting")
    processing: int
    completed: int
    failed: int
    done: bool = Field(description="whether all jobs have ended")
    jobs: list[BatchJob]


class OutputAnswer(BaseModel):
    """A file that came of a job; `/result/{job_id}/{name}` hands it out."""

    name: str = Field(examples=["picture.jpg"])
    role: str = Field(description="primary, which `/result/{job_id}` hands out, or mask")
    media_type: str = Field(examples=["image/jpeg"])
    width: int = Field(description="pixels")
    height: int
    size: int | None = Field(description="bytes; null in jobs of earlier releases")
    sha256: str | None = Field(description="in hex; null in jobs of earlier releases")


class Results(BaseModel):
    """What a completed job made."""

    original_image_path: str = Field(
        description="name in the store", examples=[f"original/0d/{JOB_ID}.jpg"]
    )
    processed_image_path: str = Field(
        description="name in the store", examples=[f"processed/0d/{JOB_ID}.jpg"]
    )
    processing_time: float = Field(description="seconds in the worker", examples=[0.062])
    blur_metadata: dict[str, Any] | None = Field(
        description="what was blurred; null of a pipeline that blurs nothing",
        examples=[
            {
                "targets": ["face", "license_plate"],
                "style": "mosaic",
                "quality": "balanced",
                "thresholds": {"face": 0.3},
                "zones": {"ignore": [], "redact": [[[0, 0], [1, 0], [1, 0.1]]]},
                "counts": {"face": 1, "license_plate": 0, "zone": 1},
                "regions": [
                    {"target": "face", "confidence": 0.91, "box": [401, 122, 446, 180]},
                    {
                        "target": "zone",
                        "confidence": 1.0,
                        "box": [0, 0, 1280, 72],
                        "polygon": [[0.0, 0.0], [1280.0, 0.0], [1280.0, 72.0]],
                    },
                ],
            }
        ],
    )
    detection_metadata: dict[str, Any] | None = Field(
        examples=[
            {
                "count": 1,
                "objects": [
                    {"label": "person", "confidence": 0.86, "box": [380.2, 101.5, 470.0, 402.8]}
                ],
            }
        ]
    )
    width: int = Field(description="pixels of the upright picture that came of it")
    height: int
    pipeline: str = Field(examples=["blur_detect"])
    outputs: list[OutputAnswer]
    reports: dict[str, Any] = Field(description="what each stage tells, by its name")


class StatusAnswer(BaseModel):
    """Where a job is."""

    job_id: str = Field(examples=[JOB_ID])
    status: JobStatus
    updated_at: float = Field(description="seconds since the epoch")
    results: Results | None
    error: ErrorBody | None


class QueueFigures(BaseModel):
    """What waits and what runs."""

    depth: int = Field(description="jobs that wait", examples=[12])
    capacity: int = Field(description="jobs that may wait before uploads are answered 429")
    retrying: int = Field(description="jobs that wait for their next try")
    processing: int
    failed: int = Field(description="failed jobs that Redis still remembers")
    oldest_age_seconds: float
    estimated_seconds: float | None = Field(
        description="predicted seconds until the queue is empty; null while nobody serves it, or "
        "nobody has done anything yet"
    )


class QueueAnswer(QueueFigures):
    """What waits and what runs, in all: of ages and predictions it is the longest."""

    queues: dict[str, QueueFigures] = Field(description="the same of each queue")


class Percentiles(BaseModel):
    """Seconds from upload to result within which that share of jobs of the last 15 minutes was."""

    p50: float | None
    p95: float | None
    p99: float | None


class LabelAnswer(BaseModel):
    """A class of objects."""

    count: int
    mean_confidence: float


class TotalsAnswer(BaseModel):
    """Ended jobs since the first one."""

    completed: int
    failed: int


class WorkersAnswer(BaseModel):
    """The workers that are alive."""

    processes: int
    threads: int
    busy: int


class ProcessUse(BaseModel):
    """What a process uses."""

    name: str
    cpu_percent: float = Field(description="of one core")
    memory_bytes: int


class JobFigures(BaseModel):
    """What has become of jobs, and who works on them."""

    throughput: dict[str, float] = Field(
        description="completed images a second over the last 1, 5 and 15 minutes",
        examples=[{"1m": 31.2, "5m": 30.4, "15m": 12.7}],
    )
    totals: TotalsAnswer
    success_rate: float | None
    latency_seconds: Percentiles
    mean_processing_seconds: float | None
    workers: WorkersAnswer


class StatsAnswer(JobFigures):
    """The service in figures, in all and by queue."""

    queue: QueueAnswer
    queues: dict[str, JobFigures] = Field(description="the same of each queue's jobs and workers")
    redactions: dict[str, int]
    detections: dict[str, LabelAnswer]
    processes: list[ProcessUse]


class OptionAnswer(BaseModel):
    """Something that a caller may choose of a pipeline."""

    name: str
    help: str
    default: str = Field(description="what counts where nothing is said")
    values: list[str] = Field(description="all that can be taken, where they are few; else empty")
    example: str


class NetworkAnswer(BaseModel):
    """A network that a pipeline may use."""

    name: str
    status: str = Field(description="ok, missing, or unknown while no worker of its queue is alive")


class PipelineAnswer(BaseModel):
    """What a picture can be sent through."""

    name: str = Field(examples=["blur_detect"])
    summary: str
    family: str = Field(description="redaction or transform")
    queue: str
    patience_seconds: float = Field(description="that one try of a job may take")
    stages: list[str]
    options: list[OptionAnswer]
    networks: list[NetworkAnswer]


class PipelinesAnswer(BaseModel):
    """All pipelines."""

    default: str = Field(description="of an upload that names none", examples=["blur_detect"])
    pipelines: list[PipelineAnswer]


class Dependency(BaseModel):
    """Something that the service needs."""

    status: str = Field(description="ok, idle, missing, unknown or down")
    detail: str | None = None


class HealthAnswer(BaseModel):
    """Whether all that the service needs is there."""

    status: str = Field(
        description="ok, degraded (takes uploads, but something lacks) or down", examples=["ok"]
    )
    dependencies: dict[str, Dependency]
    queues: dict[str, Dependency] = Field(description="whether anybody works on each queue")
    targets: dict[str, Dependency] = Field(description="what can be blurred")
    precision: dict[str, list[str]] = Field(
        default_factory=dict,
        description="by network in what the workers compute it: f32, bf16 or f16",
        examples=[{"centerface": ["f32"]}],
    )


class SeenRegion(BaseModel):
    """What would be blurred, in pixels of the upright picture."""

    kind: str = Field(serialization_alias="class", description="face, plate or another target")
    confidence: float
    xywh: list[int] = Field(description="left, top, width, height", examples=[[43, 43, 50, 56]])
    bbox: list[int] = Field(description="left, top, right, bottom", examples=[[43, 43, 93, 99]])


class DetectAnswer(BaseModel):
    """What would be blurred in a picture, as SGBlur's detection service says it."""

    info: list[SeenRegion]
    crop_rects: list[list[int]] = Field(description="`xywh` of each", examples=[[[43, 43, 50, 56]]])
