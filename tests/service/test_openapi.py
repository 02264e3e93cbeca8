"""The service's description of itself: valid, complete, with examples, and true."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator

from blurline.api.errors import STATUS_OF_CODE
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.settings import load_settings
from blurline.stages.defaults import default_texts
from blurline.stages.frame import Quality
from blurline.stages.pipeline import all_options
from tests.parts import Taking, ended, eventually, upload

PIPELINES = pipelines(load_settings())
TARGETS = {target for pipeline in PIPELINES.values() for target in pipeline.targets}

ASKING = {401, 403, 429, 503}
"""What a route may answer that asks who calls."""

ROUTES = {
    ("post", "/upload"): {400, 413, 415, 422, *ASKING},
    ("post", "/batch-upload"): {400, 413, 422, *ASKING},
    ("get", "/batch/{batch_id}"): {404, *ASKING},
    ("get", "/status/{job_id}"): {404, *ASKING},
    ("get", "/result/{job_id}"): {404, 409, 412, 416, *ASKING},
    ("get", "/result/{job_id}/{name}"): {404, 409, 412, 416, *ASKING},
    ("get", "/pipelines"): ASKING,
    ("get", "/certificate/{job_id}"): {404, 409, 412, 416, *ASKING},
    ("get", "/original/{job_id}"): {404, 412, 416, *ASKING},
    ("delete", "/jobs/{job_id}"): {404, *ASKING},
    ("post", "/blur/"): {400, 409, 413, 415, 422, *ASKING},
    ("post", "/detect/"): {400, 409, 413, 415, 422, *ASKING},
    ("get", "/stats"): ASKING,
    ("get", "/queue-status"): ASKING,
    ("get", "/health"): {503},
    ("get", "/metrics"): ASKING,
}
"""Every route with the statuses of its errors."""

OTHERS = (
    "/result/{job_id}",
    "/result/{job_id}/{name}",
    "/certificate/{job_id}",
    "/original/{job_id}",
    "/jobs/{job_id}",
    "/blur/",
    "/metrics",
)
"""Paths whose answers are pictures, signed files or text, which have no schema."""

JSON_ROUTES = [route for route in ROUTES if route[1] not in OTHERS]
NAMES = tuple(all_options(PIPELINES))


@pytest.fixture(scope="module")
def document(taking: Taking) -> dict[str, Any]:
    answer = taking.client.get("/openapi.json")
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside the value, itself included."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or the one that it refers to."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def json_schema(document: dict[str, Any], route: tuple[str, str], status: int) -> dict[str, Any]:
    """The schema of an answer, with all that it refers to."""
    method, path = route
    answer = document["paths"][path][method]["responses"][str(status)]
    schema = resolved(document, answer["content"]["application/json"]["schema"])
    return {**schema, "components": document["components"]}


def operation(document: dict[str, Any], route: tuple[str, str]) -> dict[str, Any]:
    method, path = route
    found: dict[str, Any] = document["paths"][path][method]
    return found


def check(document: dict[str, Any], route: tuple[str, str], answer: httpx.Response) -> None:
    """The answer is what the document says of it, and has no field that is not in there."""
    schema = json_schema(document, route, answer.status_code)
    Draft202012Validator(schema).validate(answer.json())
    assert set(answer.json()) <= set(schema["properties"])


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for node in nodes(document):
        if "$ref" in node:
            assert node["$ref"].startswith("#/components/schemas/")
            assert resolved(document, node)


def test_every_route_is_described_and_no_other(document: dict[str, Any]) -> None:
    described = {
        (method, path) for path, methods in document["paths"].items() for method in methods
    }

    assert described == set(ROUTES)
    for route in ROUTES:
        assert operation(document, route)["summary"]
        assert operation(document, route)["tags"]


@pytest.mark.parametrize("route", ROUTES, ids="-".join)
def test_every_error_of_a_route_is_described(
    document: dict[str, Any], route: tuple[str, str]
) -> None:
    answers = operation(document, route)["responses"]

    assert {int(status) for status in answers if status >= "400"} == ROUTES[route]
    for status in ROUTES[route]:
        schema = answers[str(status)]["content"]["application/json"]["schema"]
        assert answers[str(status)]["description"]
        if route[1] != "/health":
            assert set(resolved(document, schema)["properties"]) == {"error"}


def test_every_code_of_an_error_is_named_where_it_can_come_from(document: dict[str, Any]) -> None:
    named = " ".join(
        answer["description"]
        for route in ROUTES
        for answer in operation(document, route)["responses"].values()
    )

    general = {"bad_request", "method_not_allowed", "head_too_large"}
    assert [code for code in STATUS_OF_CODE if code not in named and code not in general] == []


@pytest.mark.parametrize("route", JSON_ROUTES, ids="-".join)
def test_every_answer_is_shown_by_an_example(
    document: dict[str, Any], route: tuple[str, str]
) -> None:
    (success,) = (int(s) for s in operation(document, route)["responses"] if s.startswith("2"))
    schema = json_schema(document, route, success)

    examples = schema.get("examples") or [
        example for field in schema["properties"].values() for example in field.get("examples", ())
    ]

    assert examples


def test_errors_are_shown_by_an_example(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["ErrorBody"]["properties"]

    assert properties["code"]["examples"][0] in STATUS_OF_CODE
    assert properties["message"]["examples"]


def test_every_example_is_one(document: dict[str, Any]) -> None:
    found = 0
    for node in nodes(document):
        for example in node.get("examples", ()) if isinstance(node.get("examples"), list) else ():
            Draft202012Validator({**node, "components": document["components"]}).validate(example)
            found += 1
    assert found


@pytest.mark.parametrize(("path", "field"), [("/upload", "file"), ("/batch-upload", "files")])
def test_the_form_of_an_upload_is_described(
    document: dict[str, Any], path: str, field: str
) -> None:
    body = document["paths"][path]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    properties = schema["properties"]

    assert body["required"] is True
    assert schema["required"] == [field]
    assert set(properties) == {field, "pipeline", *NAMES}
    picture = properties[field]["items"] if field == "files" else properties[field]
    assert picture["format"] == "binary"
    assert properties["style"]["enum"] == [style.value for style in Style]
    assert properties["quality"]["enum"] == [quality.value for quality in Quality]
    assert properties["pipeline"]["examples"] == list(PIPELINES)
    assert all(target in properties["targets"]["description"] for target in TARGETS)


@pytest.mark.parametrize("path", ["/upload", "/batch-upload"])
@pytest.mark.parametrize("option", [*NAMES, "pipeline"])
def test_every_option_says_what_it_does_and_what_is_done_without_it(
    document: dict[str, Any], path: str, option: str
) -> None:
    body = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
    field = body["schema"]["properties"][option]

    assert field["description"]
    own = "" if option == "pipeline" else all_options(PIPELINES)[option].default
    assert field["default"] == (default_texts(load_settings()).get(option) or own)
    assert field.get("examples") or field["enum"]


@pytest.mark.parametrize("option", ["ignore_zones", "redact_zones"])
def test_the_limits_of_zones_are_those_that_hold(document: dict[str, Any], option: str) -> None:
    body = document["paths"]["/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]
    field = body["schema"]["properties"][option]
    schema = Draft202012Validator(field["contentSchema"])
    corner = [[0, 0], [1, 0], [1, 1]]
    for example in (*field["examples"], field["default"]):
        schema.validate(json.loads(example))
    for refused in ([corner[:2]], [[*corner, [1, 2]]], [corner] * 21, [corner * 34], corner):
        assert not schema.is_valid(refused)


@pytest.mark.parametrize("option", NAMES)
def test_every_example_of_an_option_is_one_that_is_taken(
    document: dict[str, Any], option: str
) -> None:
    body = document["paths"]["/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]
    having = [pipeline for pipeline in PIPELINES.values() if option in pipeline.options]
    field, defaults = body["schema"]["properties"][option], default_texts(load_settings())
    for example in (*field.get("examples", []), *field.get("enum", [])):
        for pipeline in having:
            assert pipeline.options.read({option: example}, defaults)


def test_what_the_routes_answer_is_what_the_document_says(
    document: dict[str, Any], client: httpx.Client, small_jpeg: bytes, bus: bytes
) -> None:
    taken = client.post("/upload", files={"file": ("a.jpg", small_jpeg)})
    check(document, ("post", "/upload"), taken)
    completed = taken.json()["job_id"]
    failed = upload(client, bus[: len(bus) // 2])
    files = [("files", ("a.jpg", small_jpeg)), ("files", ("b.jpg", b"plain words"))]
    batch = client.post("/batch-upload", files=files)
    check(document, ("post", "/batch-upload"), batch)
    for job_id in (completed, failed):
        ended(client, job_id)
        check(document, ("get", "/status/{job_id}"), client.get(f"/status/{job_id}"))
    progress = f"/batch/{batch.json()['batch_id']}"
    eventually(lambda: client.get(progress).json()["done"], "the batch is done")
    check(document, ("get", "/batch/{batch_id}"), client.get(progress))
    for path in ("/pipelines", "/stats", "/queue-status", "/health"):
        check(document, ("get", path), client.get(path))
    check(document, ("get", "/result/{job_id}"), client.get(f"/result/{failed}"))
    check(document, ("get", "/status/{job_id}"), client.get("/status/unknown"))
    check(document, ("post", "/upload"), client.post("/upload"))


def test_the_form_of_a_direct_blur_holds_a_picture_and_nothing_else(
    document: dict[str, Any],
) -> None:
    body = operation(document, ("post", "/blur/"))["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]

    assert body["required"] is True
    assert schema["required"] == ["picture"] == list(schema["properties"])
    assert schema["properties"]["picture"]["format"] == "binary"


@pytest.mark.parametrize(
    ("method", "path"), [("get", "/certificate/{job_id}"), ("delete", "/jobs/{job_id}")]
)
def test_signed_files_are_described_as_json(
    document: dict[str, Any], method: str, path: str
) -> None:
    content = operation(document, (method, path))["responses"]["200"]["content"]

    assert list(content) == ["application/json"]


def test_the_kinds_of_results_are_described(
    document: dict[str, Any], client: httpx.Client, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)

    kinds = operation(document, ("get", "/result/{job_id}"))["responses"]["200"]["content"]

    assert client.get(f"/result/{job_id}").headers["Content-Type"] in kinds
    assert "application/json" not in kinds


def test_the_page_of_the_description_is_served(taking: Taking) -> None:
    answer = taking.client.get("/docs")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")


def test_the_page_of_the_description_loads_nothing_from_elsewhere(taking: Taking) -> None:
    """A foreign script on it would see the keys that callers type in."""
    answer = taking.client.get("/docs")
    assert "//" not in answer.headers["Content-Security-Policy"]
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]*)"', answer.text)
    assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css"} <= set(loaded)
    for address in loaded:
        assert address.startswith("data:") or taking.client.get(f"/{address}").status_code == 200
