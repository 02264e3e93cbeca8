"""The routes that blur, or only look, while their caller waits."""

from typing import Annotated

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from blurline.access.caller import Caller
from blurline.api.access import Submitter
from blurline.api.direct import PIPELINE
from blurline.api.download import hand_over
from blurline.api.errors import RequestError
from blurline.api.forms import files_of, safe_filename
from blurline.api.openapi import guarded, picture_schema
from blurline.api.panoramax import MULTIPART, Blurred, boxes_of, in_parts, wants_parts
from blurline.api.schemas import DetectAnswer
from blurline.api.service import Service
from blurline.imaging.kind import Kind


def install_direct(app: FastAPI, service: Service) -> None:
    """Serve `/blur/` and `/detect/`."""
    targets = service.pipelines[PIPELINE].targets
    models = {name: target.model for name, target in targets.items()}

    @app.get("/blur/", include_in_schema=False)
    def ready() -> dict[str, str]:
        return {"message": "POST a picture in the field `picture`"}

    @app.post(
        "/blur/",
        tags=["pictures"],
        summary="Blur one picture and wait for it, as Panoramax's servers ask",
        description="The picture comes back upright. With `Accept: multipart/form-data` the answer "
        "has two parts: `metadata`, JSON whose `annotations` say what was blurred, and `image`.",
        response_class=Response,
        responses={
            200: {
                "content": {kind.written.content_type: {} for kind in Kind} | {MULTIPART: {}},
            },
            **guarded(400, 409, 413, 415, 422),
        },
        openapi_extra=picture_schema("picture"),
    )
    async def blur(
        request: Request, caller: Submitter, accept: Annotated[str, Header()] = "*/*"
    ) -> Response:
        blurred = await _blurred(service, request, caller)
        content = in_parts(blurred, models) if wants_parts(accept) else blurred.picture
        return hand_over(content, blurred.remove)

    @app.post(
        "/detect/",
        tags=["pictures"],
        summary="Say what would be blurred in one picture, as SGBlur's detection service does",
        responses=guarded(400, 409, 413, 415, 422),
        openapi_extra=picture_schema("picture"),
    )
    async def detect(
        request: Request, caller: Submitter, cls: Annotated[str, Query(max_length=100)] = ""
    ) -> DetectAnswer:
        blurred = await _blurred(service, request, caller)
        await run_in_threadpool(blurred.remove)
        return boxes_of(blurred, cls)


async def _blurred(service: Service, request: Request, caller: Caller) -> Blurred:
    """The request's picture, blurred."""
    desk, direct, limits = service.desk, service.direct, service.limits
    async with desk.form(request, "picture", max_bytes=limits.max_bytes, max_files=1) as form:
        files = files_of(form, "picture")
        if len(files) > 1:
            raise RequestError("send one picture at a time", code="too_many_files")
        filename = safe_filename(files[0].filename, service.settings.max_filename_length)
        async with desk.spool.in_memory(files[0]) as data:
            texts = {"metadata": "keep"}
            spec = await run_in_threadpool(direct.hand_in, data, filename, texts, caller.id)
    del data
    return await direct.picture_of(spec)
