"""The API's description of itself, where FastAPI can't know it."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI

from blurline.api.errors import STATUS_OF_CODE
from blurline.api.forms import text_bytes
from blurline.api.idempotency import HEADER, LONGEST_KEY, REPLAYED
from blurline.api.schemas import ErrorAnswer
from blurline.settings import Settings
from blurline.stages.defaults import default_texts
from blurline.stages.optiontable import Option
from blurline.stages.pipeline import Pipeline, all_options

SCHEMAS = "#/components/schemas/"
"""Where a document of OpenAPI 3.1 keeps the shapes that it names."""


def describe_errors_in_our_shape(app: FastAPI) -> None:
    """Describe the shape of all errors once, for the routes' `errors` to name.

    The 422 that FastAPI promises for every id is taken out: ids are text, so it never comes.
    """
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        for operations in document["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        error = ErrorAnswer.model_json_schema(ref_template=SCHEMAS + "{model}")
        schemas |= {**error.pop("$defs"), ErrorAnswer.__name__: error}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the error answers.

    It names their shape, for which FastAPI would make a validator for each status of each route.
    """
    return {
        status: {
            "content": {"application/json": {"schema": {"$ref": SCHEMAS + ErrorAnswer.__name__}}},
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
    picture = {"type": "string", "format": "binary"}
    options, defaults = all_options(pipelines), default_texts(settings)
    properties: dict[str, Any] = {
        field: {"type": "array", "items": picture} if many else picture,
        **{
            name: _option(option, defaults.get(name) or option.default, _of(name, pipelines))
            for name, option in options.items()
        },
        "pipeline": {
            "type": "string",
            "description": "which stages the picture goes through: one of "
            f"{', '.join(pipelines)}, or several, separated by commas; one that blurs comes first",
            "default": settings.default_pipeline,
            "examples": list(pipelines),
        },
    }
    if settings.webhook_secret:
        properties["callback_url"] = {
            "type": "string",
            "description": "where the end of each job is reported to, signed; without it nowhere",
            "default": "",
            "examples": ["https://photos.example.org/blurline"],
        }
    for name, longest in text_bytes(options).items():
        if name in properties:
            properties[name]["maxLength"] = longest
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


def _option(option: Option[Any], default: str, whose: str) -> dict[str, Any]:
    """An option as a field; where it is not of every pipeline the description says of which."""
    described: dict[str, Any] = {
        "type": "string",
        "description": f"{option.help}{whose}",
        "default": default,
    }
    if option.words:
        described["enum"] = [str(word) for word in option.words]
    if option.example:
        described["examples"] = [option.example]
    return {**described, **option.schema}


def _of(name: str, pipelines: Mapping[str, Pipeline]) -> str:
    having = [pipeline.name for pipeline in pipelines.values() if name in pipeline.options]
    return "" if len(having) == len(pipelines) else f" (of {', '.join(having)})"


def picture_schema(field: str) -> dict[str, Any]:
    """OpenAPI's description of a form that holds one picture and nothing else."""
    properties = {field: {"type": "string", "format": "binary"}}
    schema = {"type": "object", "required": [field], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
