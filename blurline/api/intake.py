"""Taking pictures in: judged, stored, then queued, in this order."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from blurline import metrics, tracing
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
from blurline.jobs.records import Batch, Records
from blurline.log import subject
from blurline.queue.jobqueue import JobQueue
from blurline.stages.frame import Options
from blurline.stages.options import OptionText, options_of
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.vault import OriginalsVault

RETRY_SHARE = 0.1
"""A caller is told to come back when about this share of the queue has been worked off."""

LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Choice:
    """What a caller chose: a pipeline, options for it, and where to report the end to.

    `owner` is the id of that caller, None where nobody was asked.
    """

    pipeline: Pipeline
    options: Options
    owner: str | None = None
    callback_url: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a batch: its job, or why it was rejected."""

    filename: str
    outcome: JobSpec | JobError


class Intake:
    """The way of a picture into the queue. All methods block; none keeps pixels."""

    def __init__(
        self,
        originals: OriginalsVault,
        records: Records,
        queue: JobQueue,
        reports: Reports,
        pipelines: Mapping[str, Pipeline],
        defaults: OptionText,
        limits: Limits,
        capacity: int,
    ) -> None:
        self._originals = originals
        self._records = records
        self._queue = queue
        self._reports = reports
        self._pipelines = pipelines
        self._defaults = defaults
        self._limits = limits
        self._capacity = capacity

    def choose(self, pipeline: str, text: OptionText, owner: str | None = None) -> Choice:
        """The caller's words as a choice that can be served; the job will belong to `owner`.

        Raises:
            OptionError: an unknown pipeline, or options that `options_of` refuses.
            ModelMissingError: a network is missing that the choice needs.
            QueueUnavailableError: it can't be asked which networks the workers have.
        """
        if pipeline not in self._pipelines:
            raise OptionError(f"pipeline must be one of {', '.join(self._pipelines)}")
        chosen = self._pipelines[pipeline]
        options = options_of(text, self._defaults, chosen.targets)
        loaded = self._reports.loaded_models()
        if loaded is not None:
            chosen.check_models(options, loaded)
        return Choice(chosen, options, owner)

    def check_places(self) -> None:
        """Return if the queue takes another job, so that nothing is stored in vain.

        Raises:
            QueueFullError: it does not.
            QueueUnavailableError: Redis is away.
        """
        if self._queue.depth() >= self._capacity:
            raise self._full()

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
            options=choice.options,
            owner=choice.owner,
            request_id=subject("request_id"),
            trace=tracing.context(),
            callback_url=choice.callback_url,
        )
        try:
            with tracing.span("store original", job_id=job_id):
                self._originals.put(job_id, header.kind, data)
        except TemporaryError:
            self.forget([spec])
            raise
        return spec

    def keep_or_reject(self, data: bytes, filename: str, choice: Choice) -> Entry:
        """Like `keep`, with a bad picture as an answer rather than an error."""
        try:
            return Entry(filename, self.keep(data, filename, choice))
        except PictureError as error:
            return Entry(filename, JobError(error.code, error.message))

    def submit(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """Queue jobs whose pictures are stored; the pictures of those that are not are removed.

        Returns:
            The jobs that found a place in the queue.

        Raises:
            QueueUnavailableError: Redis is away; nothing was queued.
        """
        if not specs:
            return []
        try:
            with tracing.span("enqueue", jobs=len(specs)):
                refused = self._queue.submit(specs)
        except BlurlineError:
            self.forget(specs)
            raise
        self.forget(refused)
        metrics.SUBMITTED.inc(len(specs) - len(refused))
        withdrawn = {spec.job_id for spec in refused}
        return [spec for spec in specs if spec.job_id not in withdrawn]

    def submit_one(self, spec: JobSpec) -> None:
        """Queue one job.

        Raises:
            QueueFullError: the queue has become full since `check_places`.
            QueueUnavailableError: Redis is away.
        """
        if not self.submit([spec]):
            raise self._full()

    def submit_batch(
        self, specs: Sequence[JobSpec], owner: str | None = None
    ) -> tuple[str, list[JobSpec]]:
        """Queue the jobs of a batch, which may be none.

        Returns:
            The batch's id, and the jobs that found a place in the queue.

        Raises:
            QueueUnavailableError, StoreUnavailableError: nothing was queued.
        """
        batch_id, now = str(uuid4()), time.time()
        metrics.BATCH_FILES.observe(len(specs))
        try:
            self._records.write_batch(batch_id, _batch(specs, owner), now)
        except TemporaryError:
            self.forget(specs)
            raise
        try:
            accepted = self.submit(specs)
        except TemporaryError:
            self._records.delete_batch(batch_id)
            raise
        if len(accepted) < len(specs):
            # The jobs are queued, so the caller has to hear of them even if the store is away now.
            with suppress(TemporaryError):
                self._records.write_batch(batch_id, _batch(accepted, owner), now)
        return batch_id, accepted

    def forget(self, specs: Sequence[JobSpec]) -> None:
        """Remove stored pictures that were not queued, as far as the store allows."""
        for spec in specs:
            try:
                self._originals.forget(spec.job_id, spec.kind)
            except TemporaryError:
                return

    def _full(self) -> QueueFullError:
        return QueueFullError(
            f"the queue holds its {self._capacity} jobs; try again later",
            retry_after=self._retry_after(),
        )

    def _retry_after(self) -> int:
        estimate = self._reports.queue().estimated_seconds
        if estimate is None:
            return LONGEST_RETRY_SECONDS
        return max(1, min(LONGEST_RETRY_SECONDS, math.ceil(estimate * RETRY_SHARE)))


def _batch(specs: Sequence[JobSpec], owner: str | None) -> Batch:
    return Batch([spec.job_id for spec in specs], owner)
