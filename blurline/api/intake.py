"""Taking pictures in: judged, stored, then queued, in this order."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from blurline.api.reports import Reports
from blurline.errors import (
    BlurlineError,
    OptionError,
    PictureError,
    QueueFullError,
    TemporaryError,
)
from blurline.imaging.header import Limits, read_header
from blurline.jobs.job import JobError, JobSpec
from blurline.jobs.records import Records
from blurline.queue.jobqueue import JobQueue
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.store import Store

RETRY_SHARE = 0.1
"""A caller is told to come back when about this share of the queue has been worked off."""

LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Choice:
    """A pipeline with the options that a caller chose for it."""

    pipeline: Pipeline
    options: Options


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a batch: its job, or why it was rejected."""

    filename: str
    outcome: JobSpec | JobError


class Intake:
    """The way of a picture into the queue. All methods block; none keeps pixels."""

    def __init__(
        self,
        store: Store,
        records: Records,
        queue: JobQueue,
        reports: Reports,
        pipelines: Mapping[str, Pipeline],
        limits: Limits,
        capacity: int,
    ) -> None:
        self._store = store
        self._records = records
        self._queue = queue
        self._reports = reports
        self._pipelines = pipelines
        self._limits = limits
        self._capacity = capacity

    def choose(self, pipeline: str, targets: Sequence[str], style: str) -> Choice:
        """The caller's words as a choice that can be served.

        Raises:
            OptionError: an unknown pipeline, target or style.
            ModelMissingError: a network is missing that the choice needs.
            QueueUnavailableError: it can't be asked which networks the workers have.
        """
        if pipeline not in self._pipelines:
            raise OptionError(f"pipeline must be one of {', '.join(self._pipelines)}")
        chosen = self._pipelines[pipeline]
        options = chosen.options(targets, style)
        loaded = self._reports.loaded_models()
        if loaded is not None:
            chosen.check_models(options, loaded)
        return Choice(chosen, options)

    def free_places(self) -> int:
        """How many jobs the queue still takes, at least one.

        Raises:
            QueueFullError: none.
            QueueUnavailableError: Redis is away.
        """
        free = self._capacity - self._queue.depth()
        if free <= 0:
            raise QueueFullError(
                f"the queue holds its {self._capacity} jobs; try again later",
                retry_after=self._retry_after(),
            )
        return free

    def keep(self, data: bytes, filename: str, choice: Choice) -> JobSpec:
        """Judge the picture and store it; the job still has to be submitted.

        Raises:
            PictureError: it is no picture, of no supported kind, or too large.
            StoreUnavailableError: it could not be stored.
        """
        header = read_header(data, self._limits)
        job_id = str(uuid4())
        spec = JobSpec(
            job_id=job_id,
            original=keys.original(job_id, header.kind),
            kind=header.kind,
            filename=filename,
            file_size=len(data),
            submitted_at=time.time(),
            pipeline=choice.pipeline.name,
            targets=choice.options.targets,
            style=choice.options.style,
        )
        self._store.put(spec.original, data, header.kind.content_type)
        return spec

    def keep_or_reject(self, data: bytes, filename: str, choice: Choice) -> Entry:
        """Like `keep`, with a bad picture as an answer rather than an error."""
        try:
            return Entry(filename, self.keep(data, filename, choice))
        except PictureError as error:
            return Entry(filename, JobError(error.code, error.message))

    def fit(self, entries: Sequence[Entry], free: int) -> list[Entry]:
        """The entries of which at most `free` are jobs; the pictures of the others are removed."""
        kept = [entry.outcome for entry in entries if isinstance(entry.outcome, JobSpec)]
        surplus = kept[free:]
        self.forget(surplus)
        full = JobError("queue_full", "the queue took no more of this batch; send it again later")
        return [
            Entry(entry.filename, full) if entry.outcome in surplus else entry for entry in entries
        ]

    def submit(self, specs: Sequence[JobSpec]) -> None:
        """Queue jobs whose pictures are stored: all, or none and their pictures are removed.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        if not specs:
            return
        try:
            self._queue.submit(specs)
        except BlurlineError:
            self.forget(specs)
            raise

    def submit_batch(self, specs: Sequence[JobSpec]) -> str:
        """Queue the jobs of a batch and return the batch's id.

        Raises:
            QueueUnavailableError, StoreUnavailableError: nothing was queued.
        """
        batch_id = str(uuid4())
        try:
            self._records.write_batch(batch_id, [spec.job_id for spec in specs], time.time())
        except TemporaryError:
            self.forget(specs)
            raise
        try:
            self.submit(specs)
        except TemporaryError:
            self._records.delete_batch(batch_id)
            raise
        return batch_id

    def forget(self, specs: Sequence[JobSpec]) -> None:
        """Remove stored pictures that were not queued, as far as the store allows."""
        for spec in specs:
            try:
                self._store.delete(spec.original)
            except TemporaryError:
                return

    def _retry_after(self) -> int:
        estimate = self._reports.queue().estimated_seconds
        if estimate is None:
            return LONGEST_RETRY_SECONDS
        return max(1, min(LONGEST_RETRY_SECONDS, math.ceil(estimate * RETRY_SHARE)))
