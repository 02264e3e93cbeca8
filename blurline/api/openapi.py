"""The API's description of itself, where FastAPI can't know it."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI

from blurline.api.errors import STATUS_OF_CODE
from blurline.api.forms import TEXT_BYTES
from blurline.api.idempotency import HEADER, LONGEST_KEY, REPLAYED
from blurline.api.schemas import ErrorAnswer
from blurline.imaging.kind import OutputFormat
from blurline.imaging.metadata import MetadataPolicy
from blurline.redaction.styles import Style
from blurline.settings import Settings
from blurline.stages.frame import OnFailure, Quality
from blurline.stages.options import LEAST_THRESHOLD, POLYGONS, THRESHOLD_EXAMPLE, ZONES_EXAMPLE
from blurline.stages.pipeline import Pipeline


def describe_errors_in_our_shape(app: FastAPI) -> None:
    """Take out the 422 that FastAPI promises for every id: ids are text, so it never comes."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        for operations in document["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the error answers."""
    return {
        status: {
            "model": ErrorAnswer,
            "description": ", ".join(
                code for code, known in STATUS_OF_CODE.items() if known == status
            ),
        }
        for status in statuses
    }


def guarded(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route that asks who calls: those of every such route, and these."""
    return errors(*sorted({*statuses, 401, 403, 429, 503}))


def in_part(content_types: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that hands out a file, whole, in part, or to who has it already."""
    content: dict[str, Any] = {content_type: {} for content_type in content_types}
    return {
        200: {"content": content},
        206: {"content": content, "description": "The bytes that `Range` asks for"},
        304: {"description": "It is the one that `If-None-Match` names"},
        **errors(412, 416),
    }


def form_schema(
    field: str, *, many: bool, pipelines: Mapping[str, Pipeline], settings: Settings
) -> dict[str, Any]:
    """OpenAPI's description of an upload's form, which is read by hand to keep its limits."""
    targets = sorted({name for pipeline in pipelines.values() for name in pipeline.targets})
    picture = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {
        field: {"type": "array", "items": picture} if many else picture,
        "targets": {
            "type": "string",
            "description": "what to blur, comma-separated, of: " + ", ".join(targets),
            "default": settings.default_targets,
            "examples": ["face,license_plate,person"],
        },
        "style": {
            "type": "string",
            "description": "how it is blurred",
            "enum": [style.value for style in Style],
            "default": settings.default_style,
        },
        "quality": {
            "type": "string",
            "description": "how closely the networks look; closer finds more and takes longer",
            "enum": [quality.value for quality in Quality],
            "default": settings.default_quality,
        },
        "threshold": {
            "type": "string",
            "description": f"least confidence of what is blurred, {LEAST_THRESHOLD} to 1: a number "
            "for all targets, or one for each; without it each quality level has its own",
            "default": settings.default_threshold or "",
            "examples": [THRESHOLD_EXAMPLE, "0.3"],
        },
        "ignore_zones": _zones(
            "nothing is blurred that is found wholly inside one of these polygons",
            settings.default_ignore_zones,
        ),
        "redact_zones": _zones(
            "these polygons are blurred whatever they show", settings.default_redact_zones
        ),
        "metadata": {
            "type": "string",
            "description": "what of the file's metadata stays: time, place and camera too, only "
            "orientation and colour profile, or none",
            "enum": [policy.value for policy in MetadataPolicy],
            "default": settings.default_metadata,
        },
        "on_failure": {
            "type": "string",
            "description": "whether a picture that can't be treated fails or is redacted as a "
            "whole",
            "enum": [choice.value for choice in OnFailure],
            "default": settings.default_on_failure,
        },
        "output_format": {
            "type": "string",
            "description": "the kind of the result's file; `same` is the original's, with PNG for "
            "GIF and JPEG for HEIC",
            "enum": [choice.value for choice in OutputFormat],
            "default": settings.default_output_format,
        },
        "pipeline": {
            "type": "string",
            "description": "which stages the picture goes through",
            "enum": list(pipelines),
            "default": settings.default_pipeline,
        },
    }
    if settings.webhook_secret:
        properties["callback_url"] = {
            "type": "string",
            "description": "where the end of each job is reported to, signed; without it nowhere",
            "default": "",
            "examples": ["https://photos.example.org/blurline"],
        }
    for name in properties.keys() & TEXT_BYTES.keys():
        properties[name]["maxLength"] = TEXT_BYTES[name]
    schema = {"type": "object", "required": [field], "properties": properties}
    return {
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
    }


def replayed() -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the header that says that nothing new was taken in."""
    description = "`true`: this is a job that was there already; nothing was stored or queued"
    header = {"description": description, "schema": {"type": "string", "enum": ["true"]}}
    return {202: {"headers": {REPLAYED: header}}}


_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "a text of your own, sent again with each try of the same upload, so that it is "
    "taken in once; the same text with another upload is answered 422",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_KEY,
        "pattern": "^[!-~]+$",
        "examples": ["0f3c6d9a-5b1e-4b53-9d55-6c2f1f2f7a10"],
    },
}


def _zones(description: str, default: str) -> dict[str, Any]:
    return {
        "type": "string",
        "description": f"{description}; JSON of points x, y in shares of the upright picture's "
        "width and height",
        "contentMediaType": "application/json",
        "contentSchema": POLYGONS.json_schema(),
        "default": default,
        "examples": [ZONES_EXAMPLE],
    }


def picture_schema(field: str) -> dict[str, Any]:
    """OpenAPI's description of a form that holds one picture and nothing else."""
    properties = {field: {"type": "string", "format": "binary"}}
    schema = {"type": "object", "required": [field], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
