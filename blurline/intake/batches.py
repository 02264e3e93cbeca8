"""Many pictures at once: each is taken in by itself, and all go under one id."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from blurline import metrics
from blurline.errors import PictureError, QueueFullError, TemporaryError
from blurline.intake.backpressure import BackPressure
from blurline.intake.deduplication import Deduplication
from blurline.intake.fingerprints import Fingerprints, JobRequest
from blurline.intake.intake import Entry, Intake
from blurline.jobs.job import JobError
from blurline.jobs.records import Batch, Records


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """Under which id a batch goes, into which queue, with which key, and whether it was sent with
    that before."""

    batch_id: str
    queue: str
    key: str | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Batches:
    """The way of batches into the queue. All methods block."""

    intake: Intake
    records: Records
    fingerprints: Fingerprints
    deduplication: Deduplication
    backpressure: Mapping[str, BackPressure]

    def place(self, digests: Sequence[bytes], request: JobRequest, key: str | None) -> BatchPlace:
        """The id that a batch goes under.

        Args:
            digests: of its files in their order, by `digest_of`; only with a key.

        Raises:
            IdempotencyMismatchError: the key was sent with something else.
            QueueFullError: the queue takes no more at the moment.
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        pressure = self.backpressure[request.chain.queue]
        if key is None:
            pressure.check(request.owner)
            return BatchPlace(str(uuid4()), pressure.queue.name)
        claim = self.deduplication.claim(
            self.fingerprints.of_batch(digests, request, key), pressure, request.owner
        )
        return BatchPlace(claim.job_id, pressure.queue.name, key, again=not claim.fresh)

    def keep_or_reject(
        self, data: bytes, filename: str, request: JobRequest, place: BatchPlace, number: int
    ) -> Entry:
        """Store one file of a batch, unless it was taken in before; a bad picture is an answer."""
        try:
            picture = self.intake.judge(data, filename, request)
            fingerprint = self.fingerprints.of_file(picture.digest, request, place.key, number)
            return self.intake.store_once(fingerprint, picture, request)
        except (PictureError, QueueFullError) as error:
            return Entry(filename, JobError(error.code, error.message))

    def submit(
        self, place: BatchPlace, entries: Sequence[Entry], owner: str | None = None
    ) -> set[str]:
        """Queue the jobs of a batch, which may be none.

        Returns:
            The ids of its jobs that are in the queue, or were before.

        Raises:
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        now = time.time()
        jobs = [entry.spec.job_id for entry in entries if entry.taken]
        metrics.BATCH_FILES.observe(len(jobs))
        replayed = {entry.spec.job_id for entry in entries if entry.replayed}
        stored = {entry.spec.job_id: entry.spec for entry in entries if entry.stored}
        fresh = [spec for job_id, spec in stored.items() if job_id not in replayed]
        try:
            self.records.write_batch(place.batch_id, Batch(jobs, owner), now)
        except TemporaryError:
            self.intake.forget(fresh)
            raise
        try:
            places = self.intake.submit(fresh)
        except TemporaryError:
            if place.key is None:  # else another try may have been answered with it
                self.records.delete_batch(place.batch_id)
            raise
        metrics.UPLOADS.labels(place.queue, "replayed").inc(len(replayed))
        queued = {s.job_id for s, found in zip(fresh, places, strict=True) if found.taken}
        metrics.UPLOADS.labels(place.queue, "full").inc(len(fresh) - len(queued))
        taken = replayed | queued
        if not taken.issuperset(jobs):
            # The jobs are queued, so the caller has to hear of them even if the store is away now.
            with suppress(TemporaryError):
                accepted = [job_id for job_id in jobs if job_id in taken]
                self.records.write_batch(place.batch_id, Batch(accepted, owner), now)
        return taken
