"""The FastAPI application: routes, and nothing behind them."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import starmap

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.cors import CORSMiddleware

from blurline import __version__
from blurline.access.admission import open_admission
from blurline.access.caller import Caller
from blurline.access.rate import RateLimit
from blurline.api.access import Deleter, Guard, OriginalReader, Reader, Submitter, Watcher
from blurline.api.batches import Batches, BatchPlace
from blurline.api.deletion import Deletion
from blurline.api.direct import Direct
from blurline.api.docs import install_docs
from blurline.api.earlier import Earlier
from blurline.api.envelope import REQUEST_ID, Envelope, LastResort
from blurline.api.errors import RequestError, install_error_handlers
from blurline.api.forms import (
    check_fields,
    files_of,
    open_desk,
    safe_filename,
    text_of,
)
from blurline.api.identity import HEADER, REPLAYED, Choice, Identity, digest_of, key_of
from blurline.api.intake import Entry, Intake
from blurline.api.multipart import Form
from blurline.api.openapi import (
    describe_errors_in_our_shape,
    form_schema,
    guarded,
    picture_schema,
    replayed,
)
from blurline.api.originals import OriginalDesk
from blurline.api.places import Places
from blurline.api.reports import Reports, checked_id
from blurline.api.schemas import (
    BatchAnswer,
    BatchEntry,
    BatchProgress,
    ErrorBody,
    HealthAnswer,
    QueueAnswer,
    StatsAnswer,
    StatusAnswer,
    UploadAnswer,
)
from blurline.api.spool import Spool, SpooledFile
from blurline.api.telemetry import Page, RequestMetrics, SharedCollector, traced_life
from blurline.api.vitals import Vitals
from blurline.audit import AuditTrail
from blurline.certificate.signing import load_signing_key
from blurline.imaging.header import Limits, limits_of, too_many_bytes
from blurline.imaging.kind import Kind
from blurline.jobs.callback import callback_of, webhooks_of
from blurline.jobs.job import JobError, JobSpec, JobStatus
from blurline.jobs.records import Records
from blurline.queue.claims import Claims
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.jobqueue import JobQueue
from blurline.queue.presence import Presence
from blurline.queue.stats import Stats
from blurline.settings import Settings
from blurline.stages.options import NAMES, OptionText, default_pipeline, default_text
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.masterkeys import load_master_keys
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault

BATCH_PARALLEL = 8
"""Files of one batch that are judged and stored at a time."""

NO_PLACE = JobError(
    "queue_full", "the queue took no more of this batch; send this file again later"
)


def create_app(settings: Settings, pipelines: Mapping[str, Pipeline]) -> FastAPI:
    """The service for these settings; it connects to Redis and the store on first use.

    Raises:
        SettingsError: the store or Redis can't be reached for lack of a usable setting, what
            holds for an upload that does not say can't be done, or nothing says who may come in.
    """
    admission = open_admission(settings)
    defaults = default_text(settings, default_pipeline(settings, pipelines).targets)
    webhooks_of(settings)  # so that a wrong setting ends the start, not an upload
    store, redis = open_store(settings), connect(settings.redis_url or DEFAULT_URL)
    limits, desk = limits_of(settings), open_desk(settings)
    longest = settings.max_filename_length
    records, queue = Records(store), JobQueue(redis, settings)
    stats, presence = Stats(redis), Presence(redis)
    originals, capacity = open_vault(settings, store), settings.max_queue_size
    reports = Reports(originals, records, queue)
    vitals = Vitals(store, queue, stats, presence, pipelines, capacity)
    places = Places(queue, vitals, capacity, settings.max_queue_seconds)
    masters = load_master_keys(settings.master_key_file, settings.data_dir)
    identity = Identity(masters.derived(b"identity"), settings.content_identity)
    earlier = Earlier(Claims(redis, settings), places, records, settings.keep_results_days)
    intake = Intake(
        originals,
        queue,
        identity,
        earlier,
        places,
        vitals,
        pipelines,
        defaults,
        limits,
    )
    batches = Batches(intake, records, identity, earlier, places)
    key = load_signing_key(settings.signing_key, settings.data_dir)
    trail = AuditTrail(store)
    deletion = Deletion(store, originals, records, queue, trail, key)
    original_desk = OriginalDesk(reports, records, originals, trail)
    direct = Direct(intake, places, records, store, deletion, settings.blur_wait)
    page = Page(settings, SharedCollector(redis, vitals, stats, presence))

    app = FastAPI(
        title="blurline",
        version=__version__,
        summary="Blurs faces and number plates in pictures, then lists the objects that are left.",
        description="Upload pictures, ask how they go, fetch the blurred ones. Every error has "
        'the shape `{"error": {"code", "message"}}`.',
        lifespan=traced_life,
        docs_url=None,
        redoc_url=None,
    )
    rate = RateLimit(redis, settings.rate_limit) if settings.rate_limit else None
    app.state.guard = Guard(admission, rate, settings.open_metrics)
    # The last one is the outermost.
    app.add_middleware(LastResort)
    app.add_middleware(RequestMetrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", REQUEST_ID, HEADER),
            expose_headers=("Retry-After", REQUEST_ID, REPLAYED),
        )
    app.add_middleware(Envelope)
    install_error_handlers(app)
    install_docs(app)

    @app.post(
        "/upload",
        status_code=202,
        tags=["pictures"],
        summary="Hand in one picture",
        responses={**guarded(400, 413, 415, 422), **replayed()},
        openapi_extra=form_schema("file", many=False, pipelines=pipelines, settings=settings),
    )
    async def upload(request: Request, response: Response, caller: Submitter) -> UploadAnswer:
        key = key_of(request.headers)
        async with desk.form(request, max_bytes=limits.max_bytes, max_files=1) as form:
            files = files_of(form, "file")
            if len(files) > 1:
                raise RequestError("send one file, or use /batch-upload", code="too_many_files")
            if files[0].size > limits.max_bytes:
                raise too_many_bytes(limits)
            filename = safe_filename(files[0].filename, longest)

            def accept(data: bytes) -> Entry:
                choice = _choose(intake, form, settings, "file", caller)
                return intake.take_in(data, filename, choice, key)

            async with desk.spool.in_memory(files[0]) as data:
                entry = await run_in_threadpool(accept, data)
        spec = entry.spec
        _say_if_replayed(response, entry.replayed)
        return UploadAnswer(
            job_id=spec.job_id,
            filename=spec.filename,
            file_size=spec.file_size,
            status=JobStatus.SUBMITTED,
            message=f"ask /status/{spec.job_id} how it goes",
        )

    @app.post(
        "/batch-upload",
        status_code=202,
        tags=["pictures"],
        summary="Hand in many pictures; a bad one does not sink the others",
        responses={**guarded(400, 413, 422), **replayed()},
        openapi_extra=form_schema("files", many=True, pipelines=pipelines, settings=settings),
    )
    async def batch_upload(request: Request, response: Response, caller: Submitter) -> BatchAnswer:
        key = key_of(request.headers)
        most = settings.max_batch_files
        most_bytes = settings.max_batch_bytes
        async with desk.form(request, max_bytes=most_bytes, max_files=most) as form:
            files = files_of(form, "files")
            if len(files) > most:
                raise RequestError(f"a batch holds at most {most} files", code="too_many_files")
            choice = await run_in_threadpool(_choose, intake, form, settings, "files", caller)
            digests = await _digests(files, desk.spool) if key else []
            place = await run_in_threadpool(batches.place, digests, choice, key)
            entries = await _keep_all(batches, files, choice, place, limits, desk.spool, longest)
        taken = await run_in_threadpool(batches.submit, place, entries, caller.id)
        jobs = [_batch_entry(entry, taken) for entry in entries]
        accepted = sum(job.job_id is not None for job in jobs)
        goods = [entry.replayed for entry in entries if isinstance(entry.outcome, JobSpec)]
        _say_if_replayed(response, all(goods) and (place.again or bool(goods)))
        return BatchAnswer(
            batch_id=place.batch_id,
            submitted=accepted,
            rejected=len(jobs) - accepted,
            jobs=jobs,
        )

    @app.get(
        "/status/{job_id}",
        tags=["pictures"],
        summary="Where a job is, and its results",
        responses=guarded(404),
    )
    def status(job_id: str, caller: Reader) -> StatusAnswer:
        return reports.status(job_id, caller)

    @app.get(
        "/batch/{batch_id}",
        tags=["pictures"],
        summary="How far a batch is",
        responses=guarded(404),
    )
    def batch(batch_id: str, caller: Reader) -> BatchProgress:
        return reports.batch(batch_id, caller)

    @app.get(
        "/result/{job_id}",
        tags=["pictures"],
        summary="The blurred picture",
        response_class=Response,
        responses={
            200: {"content": {kind.written.content_type: {} for kind in Kind}},
            **guarded(404, 409),
        },
    )
    def result(job_id: str, caller: Reader) -> Response:
        record = reports.record(job_id, caller)
        picture = store.get(keys.processed(record.job_id, record.kind))
        if picture is None:
            raise RequestError("the picture is not in the store any more", code="not_found")
        return Response(picture, media_type=record.kind.written.content_type)

    @app.get(
        "/certificate/{job_id}",
        tags=["pictures"],
        summary="The signed certificate of the blurred picture",
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}, **guarded(404, 409)},
    )
    def certificate(job_id: str, caller: Reader) -> Response:
        record = reports.record(job_id, caller)
        # The bytes as they were signed: any other spelling of the same JSON would not verify.
        content = store.get(keys.certificate(record.job_id))
        if content is None:
            raise RequestError("the certificate is not in the store any more", code="not_found")
        return Response(content, media_type="application/json")

    @app.get(
        "/original/{job_id}",
        tags=["pictures"],
        summary="The picture as it was sent; each time is noted in the audit trail",
        description="Only for callers with the scope `read:original`, which no other one includes. "
        "While the service asks nobody who they are, it answers 403.",
        response_class=Response,
        responses={200: {"content": {kind.content_type: {} for kind in Kind}}, **guarded(404)},
    )
    def original(job_id: str, caller: OriginalReader) -> Response:
        picture, kind = original_desk.read(job_id, caller)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        return Response(picture, media_type=kind.content_type, headers=headers)

    @app.delete(
        "/jobs/{job_id}",
        tags=["pictures"],
        summary="Delete all that is kept of a job; the answer is a signed receipt",
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}, **guarded(404)},
    )
    def delete(job_id: str, caller: Deleter) -> Response:
        owner = reports.owner(job_id, caller)
        receipt = deletion.delete(checked_id(job_id, "job"), actor=caller.id, owner=owner)
        return Response(receipt, media_type="application/json")

    @app.post(
        "/blur/",
        tags=["pictures"],
        summary="Blur one picture and wait for it, as Panoramax's servers ask",
        response_class=Response,
        responses={
            200: {"content": {kind.written.content_type: {} for kind in Kind}},
            **guarded(400, 409, 413, 415, 422),
        },
        openapi_extra=picture_schema("picture"),
    )
    async def blur(request: Request, caller: Submitter) -> Response:
        async with desk.form(request, max_bytes=limits.max_bytes, max_files=1) as form:
            files = files_of(form, "picture")
            if len(files) > 1:
                raise RequestError("send one picture at a time", code="too_many_files")
            filename = safe_filename(files[0].filename, longest)
            async with desk.spool.in_memory(files[0]) as data:
                text = OptionText(metadata="keep")
                spec = await run_in_threadpool(direct.hand_in, data, filename, text, caller.id)
        del data
        picture, kind = await direct.picture_of(spec)
        return Response(picture, media_type=kind.content_type)

    @app.get("/stats", tags=["service"], summary="The service in figures", responses=guarded())
    def stats_route(caller: Reader) -> StatsAnswer:
        return vitals.stats()

    @app.get("/queue-status", tags=["service"], summary="What waits and runs", responses=guarded())
    def queue_status(caller: Reader) -> QueueAnswer:
        return vitals.queue()

    @app.get(
        "/health",
        tags=["service"],
        summary="Whether everything that the service needs is there",
        responses={503: {"model": HealthAnswer, "description": "Redis or the store is away"}},
    )
    def health(response: Response) -> HealthAnswer:
        answer = vitals.health()
        response.status_code = 503 if answer.status == "down" else 200
        return answer

    @app.get(
        "/metrics",
        tags=["service"],
        summary="Prometheus metrics",
        response_class=Response,
        responses=guarded(),
    )
    def prometheus(caller: Watcher) -> Response:
        return Response(page.text(), media_type=CONTENT_TYPE_LATEST)

    describe_errors_in_our_shape(app)
    return app


def _choose(intake: Intake, form: Form, settings: Settings, files: str, caller: Caller) -> Choice:
    """The form's options, with the settings' defaults for what it leaves out or leaves empty."""
    check_fields(form, {files, "pipeline", "callback_url", *NAMES})
    pipeline = text_of(form, "pipeline").lower() or settings.default_pipeline
    text = OptionText(**{name: text_of(form, name) for name in NAMES})
    choice = intake.choose(pipeline, text, caller.id)
    return replace(choice, callback_url=callback_of(text_of(form, "callback_url"), settings))


async def _keep_all(
    batches: Batches,
    files: list[SpooledFile],
    choice: Choice,
    place: BatchPlace,
    limits: Limits,
    spool: Spool,
    longest: int,
) -> list[Entry]:
    """Store the good pictures, a few at a time; none of them if the store goes away meanwhile."""
    parallel = asyncio.Semaphore(BATCH_PARALLEL)

    async def keep(number: int, file: SpooledFile) -> Entry:
        filename = safe_filename(file.filename, longest)
        if file.size > limits.max_bytes:
            error = too_many_bytes(limits)
            return Entry(filename, JobError(error.code, error.message))
        async with parallel, spool.in_memory(file) as data:
            return await run_in_threadpool(
                batches.keep_or_reject, data, filename, choice, place, number
            )

    results = await asyncio.gather(*starmap(keep, enumerate(files)), return_exceptions=True)
    entries = [result for result in results if isinstance(result, Entry)]
    for result in results:
        if isinstance(result, BaseException):
            kept = [entry.spec for entry in entries if entry.stored]
            await run_in_threadpool(batches.intake.forget, kept)
            raise result
    return entries


async def _digests(files: list[SpooledFile], spool: Spool) -> list[bytes]:
    """What the files' contents are told apart by."""
    digests = []
    for file in files:
        async with spool.in_memory(file) as data:
            digests.append(await run_in_threadpool(digest_of, data))
    return digests


def _say_if_replayed(response: Response, replayed: bool) -> None:
    if replayed:
        response.headers[REPLAYED] = "true"


def _batch_entry(entry: Entry, taken: Collection[str]) -> BatchEntry:
    """The answer for one file; `taken` are the ids of the jobs that were queued."""
    outcome = entry.outcome
    if isinstance(outcome, JobSpec) and outcome.job_id in taken:
        return BatchEntry(
            filename=entry.filename,
            job_id=outcome.job_id,
            status=JobStatus.SUBMITTED.value,
            error=None,
        )
    reason = NO_PLACE if isinstance(outcome, JobSpec) else outcome
    error = ErrorBody(code=reason.code, message=reason.message)
    return BatchEntry(filename=entry.filename, job_id=None, status="rejected", error=error)
