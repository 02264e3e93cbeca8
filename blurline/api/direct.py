"""Blurring while the caller waits: the contract of Panoramax's picture servers.

`POST /blur/` with a JPEG in the field `picture` answers with the blurred JPEG and its metadata. It
comes back upright, since those servers store and show it without looking at its orientation.
https://docs.panoramax.fr/api/install/deep_dive/blur_api
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from fastapi.concurrency import run_in_threadpool

from blurline.api.deletion import Deletion
from blurline.api.download import in_store
from blurline.api.errors import RequestError
from blurline.api.panoramax import Blurred
from blurline.errors import BlurlineError, QueueUnavailableError, TemporaryError
from blurline.imaging.kind import Kind
from blurline.intake.intake import Intake
from blurline.jobs.job import JobRecord, JobSpec
from blurline.jobs.records import Records
from blurline.storage import keys
from blurline.storage.store import Store
from blurline.treatment.outputs import BLUR

FIRST_WAIT, LONGEST_WAIT = 0.02, 0.25
"""Seconds between two looks whether the picture is done; each is half as long again as the last."""

PIPELINE = "blur"


@dataclass(frozen=True, slots=True)
class Direct:
    """Hands a picture in, waits for it, and keeps nothing of it but its record."""

    intake: Intake
    records: Records
    store: Store
    deletion: Deletion
    patience: float

    def hand_in(
        self, data: bytes, filename: str, texts: Mapping[str, str], owner: str | None = None
    ) -> JobSpec:
        """Judge the picture, store it and queue it.

        Raises:
            PictureError: it is no picture that can be treated.
            QueueFullError, QueueUnavailableError, StoreUnavailableError: try again later.
        """
        request = self.intake.choose(PIPELINE, texts, owner)
        request = replace(request, options={**request.options, "upright": True})
        self.intake.backpressure[request.chain.queue].check(owner)
        spec = self.intake.keep(data, filename, request)
        try:
            self.intake.submit_one(spec)
        except QueueUnavailableError:
            self._forget(spec)  # nobody else has its id, and nobody will ask for it
            raise
        return spec

    async def picture_of(self, spec: JobSpec) -> Blurred:
        """The redacted picture, which stays until it is removed. While it waits it holds no thread.

        Raises:
            RequestError: `job_failed`, or `busy` when it took longer than the patience; then the
                job is deleted, and the caller may send the picture again later.
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        deadline, wait = time.monotonic() + self.patience, FIRST_WAIT
        while (record := await run_in_threadpool(self.records.find, spec.job_id)) is None:
            if time.monotonic() > deadline:
                await run_in_threadpool(self._give_up, spec)
                raise RequestError("the picture was not done in time; try again later", code="busy")
            await asyncio.sleep(wait)
            wait = min(LONGEST_WAIT, 1.5 * wait)
        return await run_in_threadpool(self._take_out, spec, record)

    def _give_up(self, spec: JobSpec) -> None:
        self.deletion.delete(spec.job_id, actor=spec.owner, owner=spec.owner)

    def _forget(self, spec: JobSpec) -> None:
        with suppress(TemporaryError):  # the retention times see to it
            self.deletion.originals.forget(spec.job_id, spec.kind)

    def _remove(self, record: JobRecord) -> None:
        """Remove the picture, once it was handed out."""
        with suppress(TemporaryError):  # the retention times see to it
            self.store.delete(record.primary.key)
            self.store.delete(keys.certificate(record.job_id, record.slot))

    def _take_out(self, spec: JobSpec, record: JobRecord) -> Blurred:
        """The picture of a job that has ended."""
        self._forget(spec)
        if record.error is not None:
            raise RequestError(f"the job failed: {record.error.message}", code="job_failed")
        result = record.primary
        picture = in_store(self.store, result.key, result.media_type, spec.filename)
        if picture is None:
            raise BlurlineError("the picture is not in the store any more", code="not_found")
        kind = Kind(result.media_type.removeprefix("image/"))
        return Blurred(
            picture, kind, record.reports[BLUR]["regions"], partial(self._remove, record)
        )
