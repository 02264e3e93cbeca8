"""Routes of one job or batch: how it goes, what came of it, what was sent, and its end."""

from fastapi import FastAPI, Request, Response

from blurline.api.access import Deleter, OriginalReader, Reader
from blurline.api.download import Rationed, called, hand_out, in_memory, in_store
from blurline.api.errors import RequestError
from blurline.api.openapi import guarded, in_part
from blurline.api.reports import checked_id
from blurline.api.schemas import BatchProgress, StatusAnswer
from blurline.api.service import Service
from blurline.imaging.kind import Kind
from blurline.jobs.job import JobRecord, Result
from blurline.storage import keys
from blurline.treatment.outputs import Role


def install_jobs(app: FastAPI, service: Service) -> None:
    """Serve `/status`, `/batch`, `/result`, `/certificate`, and what the audit trail notes."""

    @app.get(
        "/status/{job_id}",
        tags=["pictures"],
        summary="Where a job is, and its results",
        responses=guarded(404),
    )
    def status(job_id: str, caller: Reader) -> StatusAnswer:
        return service.reports.status(job_id, caller)

    @app.get(
        "/batch/{batch_id}",
        tags=["pictures"],
        summary="How far a batch is",
        responses=guarded(404),
    )
    def batch(batch_id: str, caller: Reader) -> BatchProgress:
        return service.reports.batch(batch_id, caller)

    @app.get(
        "/result/{job_id}",
        tags=["pictures"],
        summary="The picture that came of it",
        response_class=Response,
        description="Its `ETag` stands for its bytes, so that it can be kept, asked for in part "
        "(`Range`), and gone on with where it broke off. It is sent as fast as it is read.",
        responses={**in_part(kind.written.content_type for kind in Kind), **guarded(404, 409)},
    )
    def result(job_id: str, request: Request, caller: Reader) -> Response:
        record = service.reports.record(job_id, caller)
        return handed_out(request, record, record.primary)

    @app.get(
        "/result/{job_id}/{name}",
        tags=["pictures"],
        summary="A file that came of the job, by its name among `results.outputs`",
        response_class=Response,
        responses={**in_part(kind.written.content_type for kind in Kind), **guarded(404, 409)},
    )
    def named_result(job_id: str, name: str, request: Request, caller: Reader) -> Response:
        record = service.reports.record(job_id, caller)
        for output in record.outputs:
            if output.name == name:
                return handed_out(request, record, output)
        raise RequestError("the job has no such file", code="not_found")

    def handed_out(request: Request, record: JobRecord, output: Result) -> Response:
        ending = output.name.rpartition(".")[2]
        beside = "" if output.role is Role.PRIMARY else f"{output.name.rpartition('.')[0]}."
        name = called(record.filename, f"{beside}{ending}")
        content = in_store(service.store, output.key, output.media_type, name)
        if content is None:
            raise RequestError("the picture is not in the store any more", code="not_found")
        return hand_out(request, content)

    @app.get(
        "/certificate/{job_id}",
        tags=["pictures"],
        summary="The signed certificate of what came of it",
        response_class=Response,
        responses={**in_part(["application/json"]), **guarded(404, 409)},
    )
    def certificate(job_id: str, request: Request, caller: Reader) -> Response:
        record = service.reports.record(job_id, caller)
        # The bytes as they were signed: any other spelling of the same JSON would not verify.
        content = service.store.get(keys.certificate(record.job_id, record.slot))
        if content is None:
            raise RequestError("the certificate is not in the store any more", code="not_found")
        name = called(record.filename, "certificate.json")
        return hand_out(request, in_memory(content, "application/json", name))

    _install_audited(app, service)


def _install_audited(app: FastAPI, service: Service) -> None:
    """Serve `/original` and the deletion of a job, of which the audit trail has each."""

    @app.get(
        "/original/{job_id}",
        tags=["pictures"],
        summary="The picture as it was sent; each time is noted in the audit trail",
        description="Only for callers with the scope `read:original`, which no other one includes. "
        "While the service asks nobody who they are, it answers 403. It is decrypted as a "
        "whole, also for a part of it, so only a few are handed out at a time.",
        response_class=Response,
        responses={**in_part(kind.content_type for kind in Kind), **guarded(404)},
    )
    def original(job_id: str, request: Request, caller: OriginalReader) -> Response:
        def read() -> Response:
            picture, kind = service.originals.read(job_id, caller)
            content = in_memory(picture, kind.content_type, f"{job_id.lower()}.{kind.extension}")
            return hand_out(request, content, "no-store")

        return Rationed(service.originals.places, read)

    @app.delete(
        "/jobs/{job_id}",
        tags=["pictures"],
        summary="Delete all that is kept of a job; the answer is a signed receipt",
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}, **guarded(404)},
    )
    def delete(job_id: str, caller: Deleter) -> Response:
        owner = service.reports.owner(job_id, caller)
        receipt = service.deletion.delete(checked_id(job_id, "job"), actor=caller.id, owner=owner)
        return Response(receipt, media_type="application/json")
