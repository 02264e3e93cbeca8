"""CPU of all that the service does beside the bare work: one part at a time, in an idle process."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast
from uuid import uuid4

from redis import Redis

from bench.kernel import Kernel
from bench.ledger import Charged, Ledger
from blurline.certificate.signing import load_signing_key
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.inference.detector import Detectors
from blurline.jobs.job import Asset, JobSpec
from blurline.jobs.orders import read_order
from blurline.jobs.processor import Processor
from blurline.jobs.records import open_records
from blurline.queue.connection import connect
from blurline.queue.jobqueue import JobQueue
from blurline.queue.queues import Queues
from blurline.queue.stats import Stats
from blurline.settings import Settings
from blurline.stages.options import values_of
from blurline.stages.pipeline import Family
from blurline.storage import keys
from blurline.storage.objects import open_store
from blurline.storage.store import Store
from blurline.storage.vault import open_vault
from blurline.treatment.chain import ChainTreatment
from blurline.treatment.redaction import RedactionTreatment
from blurline.worker.loop import ImageWorker
from blurline.worker.runner import RUNNER, JobRunner

QUEUE = "bench"
"""A queue that no worker of the service listens to."""


@dataclass(frozen=True, slots=True)
class Handling:
    """CPU milliseconds an image of each part; what Redis and the S3 server use is not in them.

    Attributes:
        header: the API judges the picture.
        keep: the API encrypts and stores the original.
        submit: the API queues the job.
        take: a worker takes a job from the queue, says how it ended and counts it.
        store: a worker fetches the original and stores picture, certificate and record.
        wrap: what else a worker does around the bare work: decryption, certificate, record.
        look: one second look.
    """

    header: float
    keep: float
    submit: float
    take: float
    store: float
    wrap: float
    look: float


def handling(
    settings: Settings, redis_url: str, kernel: Kernel, photos: Sequence[bytes], batch: int = 0
) -> Handling:
    """Measure every part with each of the photos.

    Args:
        settings: of a running service, whose store is used; what is written there stays.
        redis_url: where the service's Redis is.
        kernel: the bare work, as the service does it.
        photos: JPEGs.
        batch: jobs that are queued at a time, 0 for one by one.
    """
    own = settings.model_copy(update={"queue_name": QUEUE})
    specs = [job_spec(kernel, len(photo)) for photo in photos]
    ledger, redis = Ledger(), connect(redis_url)
    try:
        _api(ledger, own, kernel, specs, photos)
        submit(ledger, own, redis, specs, batch or 1)
        take(ledger, own, redis, len(specs))
        _worker(ledger, own, redis, kernel, specs, photos)
    finally:
        redis.close()
    ms = ledger.ms_per(len(photos))
    bare, process, looked = (ms.pop(name) for name in ("bare", "process", "looked"))
    return Handling(**ms, wrap=process - bare, look=looked - bare)


def job_spec(kernel: Kernel, file_size: int) -> JobSpec:
    """A job as the API makes it for an upload without options."""
    job_id = str(uuid4())
    return JobSpec(
        job_id=job_id,
        input=Asset(keys.original(job_id, Kind.JPEG), Kind.JPEG.content_type, file_size),
        filename="photo0.jpg",
        submitted_at=time.time(),
        pipeline=kernel.pipeline.name,
        options=values_of(kernel.options),
    )


def submit(
    ledger: Ledger, settings: Settings, redis: Redis, specs: Sequence[JobSpec], at_a_time: int = 1
) -> None:
    """Queue the jobs as the API does."""
    queue = Queues(redis, settings, {})
    for first in range(0, len(specs), at_a_time):
        ledger.charged("submit", partial(queue.submit, specs[first : first + at_a_time]))


def take(ledger: Ledger, settings: Settings, redis: Redis, jobs: int) -> None:
    """Let a worker's thread, this one, take so many jobs and do nothing with them."""
    token = RUNNER.set(cast("JobRunner", _Idle()))
    try:
        worker = ImageWorker(
            JobQueue(redis, settings).rq, f"bench-{uuid4()}", redis, settings.abandoned_after
        )
        ledger.charged("take", partial(worker.work, max_jobs=jobs, logging_level="WARNING"))
    finally:
        RUNNER.reset(token)


class _Idle:
    """A runner for which every job is done already."""

    def run(self, job_id: str, *, retries_left: int, waited: float) -> None:
        """Nothing."""


def _api(
    ledger: Ledger,
    settings: Settings,
    kernel: Kernel,
    specs: Sequence[JobSpec],
    photos: Sequence[bytes],
) -> None:
    """What the API does between the form and the queue."""
    vault = open_vault(settings, open_store(settings))
    for spec, photo in zip(specs, photos, strict=True):
        ledger.charged("header", partial(read_header, photo, kernel.limits))
        ledger.charged("keep", partial(vault.put, spec.job_id, spec.kind, photo, spec.to_order()))


def _worker(
    ledger: Ledger,
    settings: Settings,
    redis: Redis,
    kernel: Kernel,
    specs: Sequence[JobSpec],
    photos: Sequence[bytes],
) -> None:
    """What a worker does with jobs that it has taken.

    Each picture is treated bare, as a job and with a second look, right after one another: the
    differences are small and would drown in the drift of a machine.
    """
    store = cast("Store", Charged(open_store(settings), "store", ledger))
    records, stats = open_records(settings, store), Stats(redis)
    plain, looking = (RedactionTreatment(*_how(kernel), share) for share in (0.0, 1.0))
    processor = Processor(
        store=store,
        originals=open_vault(settings, store),
        pipelines={kernel.pipeline.name: kernel.pipeline},
        treatment=ChainTreatment({Family.REDACTION: plain}, kernel.limits),
        limits=kernel.limits,
        signing_key=load_signing_key(settings.signing_key, settings.data_dir),
    )
    for spec, photo in zip(specs, photos, strict=True):
        ledger.start()
        kernel.run(photo)
        ledger.lap("bare")
        records.find(spec.job_id)
        order = read_order(processor.originals, spec.job_id)
        record = processor.process(spec, file=None if order is None else order.file).record
        records.commit(record)
        ledger.lap("process")
        stats.record(record)
        ledger.lap("take")
        looking.redact(photo, kernel.pipeline, kernel.options)
        ledger.lap("looked")


def _how(kernel: Kernel) -> tuple[Detectors, Limits, int]:
    return kernel.detectors, kernel.limits, kernel.quality
