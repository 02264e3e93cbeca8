"""Taking pictures in: judged, known again or not, stored, then queued, in this order."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from blurline import metrics, tracing
from blurline.errors import QueueUnavailableError, TemporaryError
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.intake.backpressure import BackPressure
from blurline.intake.deduplication import CLAIMS, Deduplication
from blurline.intake.fingerprints import Fingerprints, JobRequest, digest_of
from blurline.jobs.job import Asset, JobError, JobSpec
from blurline.log import subject
from blurline.queue.claims import Fingerprint
from blurline.queue.jobqueue import Submission
from blurline.queue.queues import Queues
from blurline.stages.pipeline import Pipeline, chain_of, check_options, output_size
from blurline.storage import keys
from blurline.storage.vault import OriginalsVault


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that can be taken in: its bytes, its sender's name for it, its kind, and what its
    content is told apart by."""

    data: bytes
    filename: str
    kind: Kind
    digest: bytes


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
class Intake:
    """The way of a picture into the queue. All methods block; none keeps pixels."""

    originals: OriginalsVault
    queues: Queues
    fingerprints: Fingerprints
    deduplication: Deduplication
    backpressure: Mapping[str, BackPressure]
    pipelines: Mapping[str, Pipeline]
    defaults: Mapping[str, str]
    limits: Limits

    def choose(
        self, pipelines: str, texts: Mapping[str, str], owner: str | None = None
    ) -> JobRequest:
        """The caller's words as a request that can be served; the job will belong to `owner`.

        Raises:
            OptionError: an unknown pipeline, or options that its table refuses.
            ModelMissingError: a network is missing that the request needs.
            QueueUnavailableError: it can't be asked which networks the workers have.
        """
        chain = chain_of(self.pipelines, pipelines)
        options = chain.options.read(texts, self.defaults)
        check_options(chain, options)
        loaded = self.backpressure[chain.queue].load.loaded_models()
        if loaded is not None:
            chain.check_models(options, loaded)
        return JobRequest(chain, options, owner)

    def judge(self, data: bytes, filename: str, request: JobRequest) -> Upload:
        """The picture, if it can be treated as is asked for, by its header alone.

        Raises:
            PictureError: it is no picture, of no supported kind, or too large, or what is asked for
                would make too large a picture of it.
        """
        header = read_header(data, self.limits)
        output_size(
            request.chain, *header.upright_size, request.options, self.limits.max_output_pixels
        )
        return Upload(data, filename, header.kind, digest_of(data))

    def take_in(
        self, data: bytes, filename: str, request: JobRequest, key: str | None = None
    ) -> Entry:
        """Judge one picture, store it and queue it, unless that was done already.

        Args:
            key: the caller's `Idempotency-Key`.

        Raises:
            PictureError: what `judge` raises.
            IdempotencyMismatchError: the key was sent with something else.
            QueueFullError: the queue takes no more at the moment.
            QueueUnavailableError, StoreUnavailableError: try again later. What is stored by then
                stays if Redis can't say whether it is queued: the next try finds it.
        """
        picture = self.judge(data, filename, request)
        fingerprint = self.fingerprints.of_picture(picture.digest, request, key)
        pressure = self.backpressure[request.chain.queue]
        if fingerprint is None:
            pressure.check(request.owner)
        for _ in range(CLAIMS):
            entry = self.store_once(fingerprint, picture, request)
            if entry.replayed:
                metrics.UPLOADS.labels(pressure.queue.name, "replayed").inc()
                return entry
            (place,) = self.submit([entry.spec])
            if place in (Submission.FULL, Submission.SHARE):
                raise pressure.full(place)
            if place.taken:
                return entry
        raise QueueUnavailableError("the same picture is being given up elsewhere; try again")

    def store_once(
        self, fingerprint: Fingerprint | None, picture: Upload, request: JobRequest
    ) -> Entry:
        """The picture under its fingerprint's id, stored unless the job of an earlier one stands.

        Raises:
            IdempotencyMismatchError: the fingerprint's key was sent with something else.
            QueueFullError: the queue takes no more at the moment.
            QueueUnavailableError, StoreUnavailableError: try again later.
        """
        if fingerprint is None:
            spec = _spec(str(uuid4()), picture, request)
        else:
            pressure = self.backpressure[request.chain.queue]
            job_id, stands = self.deduplication.resolve(fingerprint, pressure, request.owner)
            spec = _spec(job_id, picture, request)
            if stands:
                return Entry(picture.filename, spec, replayed=True)
        self._store(spec, picture.data)
        return Entry(picture.filename, spec)

    def keep(self, data: bytes, filename: str, request: JobRequest) -> JobSpec:
        """Judge the picture and store it for a caller who waits; the job has to be submitted then.

        Raises:
            PictureError: what `judge` raises.
            StoreUnavailableError: it could not be stored.
        """
        job_id = keys.new_id(fleeting=True)
        spec = _spec(job_id, self.judge(data, filename, request), request)
        self._store(spec, data)
        return spec

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        """Queue jobs of one pipeline whose pictures are stored; those that are not are removed.

        Raises:
            QueueUnavailableError: Redis is away; the pictures stay, since it may have heard of them
        """
        if not specs:
            return []
        pressure = self._pressure_on(specs[0])
        with tracing.span("enqueue", jobs=len(specs)):
            places = pressure.queue.submit(specs, shared=pressure.shared())
        self.forget([s for s, place in zip(specs, places, strict=True) if not place.taken])
        taken = sum(place.taken for place in places)
        metrics.UPLOADS.labels(pressure.queue.name, "taken").inc(taken)
        return places

    def submit_one(self, spec: JobSpec) -> None:
        """Queue one job.

        Raises:
            QueueFullError: the queue has become full meanwhile.
            QueueUnavailableError: Redis is away.
        """
        (place,) = self.submit([spec])
        if not place.taken:
            raise self._pressure_on(spec).full(place)

    def forget(self, specs: Sequence[JobSpec]) -> None:
        """Remove stored pictures that were not queued, as far as Redis and the store allow.

        Another process may have the same picture under the same id and queue it. So one goes only
        when Redis has said that its job is not queued and never will be. Else it stays, for the
        next try or the reconciler.
        """
        if not specs:
            return
        with suppress(TemporaryError):
            free = set(self.queues.give_up(spec.job_id for spec in specs))
            for spec in specs:
                if spec.job_id in free:
                    self.originals.forget(spec.job_id, spec.kind)

    def _pressure_on(self, spec: JobSpec) -> BackPressure:
        return self.backpressure[self.queues.of(spec.pipeline).name]

    def _store(self, spec: JobSpec, data: bytes) -> None:
        try:
            with tracing.span("store original", job_id=spec.job_id):
                self.originals.put(spec.job_id, spec.kind, data, spec.to_order())
        except TemporaryError:
            self.forget([spec])
            raise


def _spec(job_id: str, picture: Upload, request: JobRequest) -> JobSpec:
    return JobSpec(
        job_id=job_id,
        input=Asset(
            keys.original(job_id, picture.kind),
            picture.kind.content_type,
            len(picture.data),
            picture.digest.hex(),
        ),
        filename=picture.filename,
        submitted_at=time.time(),
        pipeline=request.chain.name,
        options=request.options,
        owner=request.owner,
        request_id=subject("request_id"),
        trace=tracing.context(),
        callback_url=request.callback_url,
    )
