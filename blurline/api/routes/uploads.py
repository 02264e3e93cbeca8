"""The routes that take pictures in, one or many."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from itertools import starmap

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from blurline.access.caller import Caller
from blurline.api.access import Submitter
from blurline.api.errors import RequestError
from blurline.api.forms import (
    CALLBACK,
    PIPELINE,
    check_fields,
    files_of,
    safe_filename,
    text_of,
)
from blurline.api.idempotency import REPLAYED, key_of
from blurline.api.multipart import Form
from blurline.api.openapi import form_schema, guarded, replayed
from blurline.api.schemas import BatchAnswer, BatchEntry, ErrorBody, UploadAnswer
from blurline.api.service import Service
from blurline.api.spool import Spool, SpooledFile
from blurline.imaging.header import too_many_bytes
from blurline.intake.batches import BatchPlace
from blurline.intake.fingerprints import JobRequest, digest_of
from blurline.intake.intake import Entry
from blurline.jobs.job import JobError, JobSpec, JobStatus
from blurline.stages.pipeline import chain_of
from blurline.webhooks.rules import callback_of

BATCH_PARALLEL = 8
"""Files of one batch that are judged and stored at a time."""

NO_PLACE = JobError(
    "queue_full", "the queue took no more of this batch; send this file again later"
)


def install_uploads(app: FastAPI, service: Service) -> None:
    """Serve `/upload` and `/batch-upload`."""
    pipelines, settings = service.pipelines, service.settings

    @app.post(
        "/upload",
        status_code=202,
        tags=["pictures"],
        summary="Hand in one picture",
        responses={**guarded(400, 413, 415, 422), **replayed()},
        openapi_extra=form_schema("file", many=False, pipelines=pipelines, settings=settings),
    )
    async def upload(request: Request, response: Response, caller: Submitter) -> UploadAnswer:
        entry = await _take_one(service, request, caller)
        spec = entry.spec
        _say_if_replayed(response, entry.replayed)
        return UploadAnswer(
            job_id=spec.job_id,
            filename=spec.filename,
            file_size=spec.input.size,
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
        place, entries = await _take_many(service, request, caller)
        taken = await run_in_threadpool(service.batches.submit, place, entries, caller.id)
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


async def _take_one(service: Service, request: Request, caller: Caller) -> Entry:
    """The request's one picture, taken in."""
    key, limits, desk = key_of(request.headers), service.limits, service.desk
    async with desk.form(request, "file", max_bytes=limits.max_bytes, max_files=1) as form:
        files = files_of(form, "file")
        if len(files) > 1:
            raise RequestError("send one file, or use /batch-upload", code="too_many_files")
        if files[0].size > limits.max_bytes:
            raise too_many_bytes(limits)
        filename = safe_filename(files[0].filename, service.settings.max_filename_length)

        def accept(data: bytes) -> Entry:
            wanted = _choose(service, form, "file", caller)
            return service.intake.take_in(data, filename, wanted, key)

        async with desk.spool.in_memory(files[0]) as data:
            return await run_in_threadpool(accept, data)


async def _take_many(
    service: Service, request: Request, caller: Caller
) -> tuple[BatchPlace, list[Entry]]:
    """The request's batch and what became of each of its files, none of which is queued yet."""
    key, settings, desk = key_of(request.headers), service.settings, service.desk
    most = settings.max_batch_files
    async with desk.form(
        request, "files", max_bytes=settings.max_batch_bytes, max_files=most
    ) as form:
        files = files_of(form, "files")
        if len(files) > most:
            raise RequestError(f"a batch holds at most {most} files", code="too_many_files")
        await run_in_threadpool(service.guard.count, caller, len(files))
        wanted = await run_in_threadpool(_choose, service, form, "files", caller)
        digests = await _digests(files, desk.spool) if key else []
        place = await run_in_threadpool(service.batches.place, digests, wanted, key)
        return place, await _keep_all(service, files, wanted, place)


def _choose(service: Service, form: Form, files: str, caller: Caller) -> JobRequest:
    """The form's options, with the settings' defaults for what it leaves out or leaves empty."""
    settings, known = service.settings, service.desk.options
    pipelines = text_of(form, PIPELINE).lower() or settings.default_pipeline
    options = chain_of(service.pipelines, pipelines).options
    check_fields(form, {files, PIPELINE, CALLBACK, *options})
    texts = {name: text_of(form, name, once=known[name].once) for name in options}
    wanted = service.intake.choose(pipelines, texts, caller.id)
    callback_url = callback_of(text_of(form, CALLBACK, once=True), settings)
    return replace(wanted, callback_url=callback_url)


async def _keep_all(
    service: Service, files: list[SpooledFile], wanted: JobRequest, place: BatchPlace
) -> list[Entry]:
    """Store the good pictures, a few at a time; none of them if the store goes away meanwhile."""
    limits, parallel = service.limits, asyncio.Semaphore(BATCH_PARALLEL)

    async def keep(number: int, file: SpooledFile) -> Entry:
        filename = safe_filename(file.filename, service.settings.max_filename_length)
        if file.size > limits.max_bytes:
            error = too_many_bytes(limits)
            return Entry(filename, JobError(error.code, error.message))
        async with parallel, service.desk.spool.in_memory(file) as data:
            return await run_in_threadpool(
                service.batches.keep_or_reject, data, filename, wanted, place, number
            )

    results = await asyncio.gather(*starmap(keep, enumerate(files)), return_exceptions=True)
    entries = [result for result in results if isinstance(result, Entry)]
    for result in results:
        if isinstance(result, BaseException):
            kept = [entry.spec for entry in entries if entry.stored]
            await run_in_threadpool(service.intake.forget, kept)
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
