"""Taking pictures in: judged, known again or not, stored, then queued, in this order."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from blurline import metrics, tracing
from blurline.api.earlier import Earlier, Standing
from blurline.api.errors import RequestError
from blurline.api.identity import Choice, Identity, digest_of
from blurline.api.places import Places
from blurline.api.vitals import Vitals
from blurline.errors import (
    OptionError,
    PictureError,
    QueueFullError,
    QueueUnavailableError,
    TemporaryError,
)
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.jobs.job import JobError, JobSpec
from blurline.jobs.records import Batch, Records
from blurline.log import subject
from blurline.queue.claims import Claim, Claims, Mark
from blurline.queue.jobqueue import JobQueue, Place
from blurline.stages.options import OptionText, options_of
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.vault import OriginalsVault

CLAIMS = 4
"""How often an upload asks for its id: once, and again after each earlier job that counts no more;
more than that only others can bring about, who give up the same upload at the same moment."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that came in: its job, or why it was rejected.

    `replayed`: the job was there already, of an earlier upload; nothing was stored or queued.
    """

    filename: str
    outcome: JobSpec | JobError
    replayed: bool = False

    @property
    def taken(self) -> bool:
        """Whether it was not rejected."""
        return isinstance(self.outcome, JobSpec)

    @property
    def stored(self) -> bool:
        """Whether it was stored just now, and has to be queued."""
        return self.taken and not self.replayed

    @property
    def spec(self) -> JobSpec:
        """Its job, if it was not rejected."""
        assert isinstance(self.outcome, JobSpec)  # noqa: S101 - a mistake of ours, not a caller's
        return self.outcome


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """Under which id a batch goes, with which key, and whether it was sent with that before."""

    batch_id: str
    key: str | None = None
    again: bool = False


class Intake:
    """The way of a picture into the queue. All methods block; none keeps pixels."""

    def __init__(
        self,
        originals: OriginalsVault,
        records: Records,
        queue: JobQueue,
        claims: Claims,
        identity: Identity,
        earlier: Earlier,
        places: Places,
        vitals: Vitals,
        pipelines: Mapping[str, Pipeline],
        defaults: OptionText,
        limits: Limits,
    ) -> None:
        self._originals = originals
        self._records = records
        self._queue = queue
        self._claims = claims
        self._identity = identity
        self._earlier = earlier
        self._places = places
        self._vitals = vitals
        self._pipelines = pipelines
        self._defaults = defaults
        self._limits = limits

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
        loaded = self._vitals.loaded_models()
        if loaded is not None:
            chosen.check_models(options, loaded)
        return Choice(chosen, options, owner)

    def take_in(self, data: bytes, filename: str, choice: Choice, key: str | None = None) -> Entry:
        """Judge one picture, store it and queue it, unless that was done already.

        Args:
            key: the caller's `Idempotency-Key`.

        Raises:
            PictureError: it is no picture, of no supported kind, or too large.
            RequestError: `idempotency_mismatch`, the key was sent with something else.
            QueueFullError: the queue takes no more at the moment.
            QueueUnavailableError, StoreUnavailableError: try again later. What is stored by then
                stays if Redis can't say whether it is queued: the next try finds it.
        """
        kind = read_header(data, self._limits).kind
        mark = self._identity.of_picture(digest_of(data), choice, key)
        if mark is None:
            self._places.check()
        for _ in range(CLAIMS):
            entry = self._keep(data, filename, choice, kind, mark)
            if entry.replayed:
                metrics.UPLOADS.labels("replayed").inc()
                return entry
            (place,) = self.submit([entry.spec])
            if place is Place.FULL:
                raise self._places.full()
            if place.taken:
                return entry
        raise QueueUnavailableError("the same picture is being given up elsewhere; try again")

    def keep(self, data: bytes, filename: str, choice: Choice) -> JobSpec:
        """Judge the picture and store it, as one of its own; the job has to be submitted then.

        Raises:
            PictureError: it is no picture, of no supported kind, or too large.
            StoreUnavailableError: it could not be stored.
        """
        kind = read_header(data, self._limits).kind
        spec = _spec(str(uuid4()), kind, filename, len(data), choice)
        self._store(spec, data)
        return spec

    def keep_or_reject(
        self, data: bytes, filename: str, choice: Choice, place: BatchPlace, number: int
    ) -> Entry:
        """Store one file of a batch, unless it was taken in before; a bad picture is an answer."""
        try:
            kind = read_header(data, self._limits).kind
            mark = self._identity.of_file(digest_of(data), choice, place.key, number)
            return self._keep(data, filename, choice, kind, mark)
        except (PictureError, QueueFullError) as error:
            return Entry(filename, JobError(error.code, error.message))

    def submit(self, specs: Sequence[JobSpec]) -> list[Place]:
        """Queue jobs whose pictures are stored; the pictures of those that are not are removed.

        Raises:
            QueueUnavailableError: Redis is away; the pictures stay, since it may have heard of them
        """
        if not specs:
            return []
        with tracing.span("enqueue", jobs=len(specs)):
            places = self._queue.submit(specs)
        self.forget([s for s, place in zip(specs, places, strict=True) if not place.taken])
        metrics.UPLOADS.labels("taken").inc(sum(place.taken for place in places))
        return places

    def submit_one(self, spec: JobSpec) -> None:
        """Queue one job.

        Raises:
            QueueFullError: the queue has become full meanwhile.
            QueueUnavailableError: Redis is away.
        """
        (place,) = self.submit([spec])
        if not place.taken:
            raise self._places.full()

    def place_batch(self, digests: Sequence[bytes], choice: Choice, key: str | None) -> BatchPlace:
        """The id that a batch goes under.

        Args:
            digests: of its files in their order, by `digest_of`; only with a key.

        Raises:
            RequestError: `idempotency_mismatch`, the key was sent with something else.
            QueueFullError: the queue takes no more at the moment.
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        if key is None:
            self._places.check()
            return BatchPlace(str(uuid4()))
        claim = self._claimed(self._identity.of_batch(digests, choice, key))
        return BatchPlace(claim.job_id, key, again=not claim.fresh)

    def submit_batch(
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
            self._records.write_batch(place.batch_id, Batch(jobs, owner), now)
        except TemporaryError:
            self.forget(fresh)
            raise
        try:
            places = self.submit(fresh)
        except TemporaryError:
            if place.key is None:  # else another try may have been answered with it
                self._records.delete_batch(place.batch_id)
            raise
        metrics.UPLOADS.labels("replayed").inc(len(replayed))
        queued = {s.job_id for s, found in zip(fresh, places, strict=True) if found.taken}
        metrics.UPLOADS.labels("full").inc(len(fresh) - len(queued))
        taken = replayed | queued
        if not taken.issuperset(jobs):
            # The jobs are queued, so the caller has to hear of them even if the store is away now.
            with suppress(TemporaryError):
                accepted = [job_id for job_id in jobs if job_id in taken]
                self._records.write_batch(place.batch_id, Batch(accepted, owner), now)
        return taken

    def forget(self, specs: Sequence[JobSpec]) -> None:
        """Remove stored pictures that were not queued, as far as Redis and the store allow.

        Another process may have the same picture under the same id and queue it. So one goes only
        when Redis has said that its job is not queued and never will be. Else it stays, for the
        next try or the reconciler.
        """
        if not specs:
            return
        with suppress(TemporaryError):
            free = set(self._queue.give_up(spec.job_id for spec in specs))
            for spec in specs:
                if spec.job_id in free:
                    self._originals.forget(spec.job_id, spec.kind)

    def _keep(
        self, data: bytes, filename: str, choice: Choice, kind: Kind, mark: Mark | None
    ) -> Entry:
        """The picture under the id of its mark, stored unless the job of an earlier one stands."""
        if mark is None:
            spec = _spec(str(uuid4()), kind, filename, len(data), choice)
        else:
            job_id, stands = self._known_again(mark)
            spec = _spec(job_id, kind, filename, len(data), choice)
            if stands:
                return Entry(filename, spec, replayed=True)
        self._store(spec, data)
        return Entry(filename, spec)

    def _known_again(self, mark: Mark) -> tuple[str, bool]:
        """The id that an upload goes under, and whether its job stands already."""
        over = ""
        for _ in range(CLAIMS):
            claim = self._claimed(mark, over)
            standing = self._earlier.standing(claim)
            if standing is not Standing.OVER:
                return claim.job_id, standing is Standing.STANDS
            over = claim.job_id
        raise QueueUnavailableError("the same picture fails at this moment; try again")

    def _claimed(self, mark: Mark, over: str = "") -> Claim:
        claim = self._claims.claim(mark, str(uuid4()), self._places.now(), over)
        if claim is None:
            raise self._places.full()
        if not claim.fits:
            metrics.UPLOADS.labels("mismatch").inc()
            raise RequestError(
                "this Idempotency-Key was sent with another picture or other options",
                code="idempotency_mismatch",
            )
        return claim

    def _store(self, spec: JobSpec, data: bytes) -> None:
        try:
            with tracing.span("store original", job_id=spec.job_id):
                self._originals.put(spec.job_id, spec.kind, data, spec.to_order())
        except TemporaryError:
            self.forget([spec])
            raise


def _spec(job_id: str, kind: Kind, filename: str, size: int, choice: Choice) -> JobSpec:
    return JobSpec(
        job_id=job_id,
        original=keys.original(job_id, kind),
        kind=kind,
        filename=filename,
        file_size=size,
        submitted_at=time.time(),
        pipeline=choice.pipeline.name,
        options=choice.options,
        owner=choice.owner,
        request_id=subject("request_id"),
        trace=tracing.context(),
        callback_url=choice.callback_url,
    )
