"""HEAD answers what GET answers, without its body."""

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from blurline.api.app import create_app
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from tests.callers import House, bearer
from tests.parts import NOBODY, Taking
from tests.sockets import head, said_to

CHANGING = ("date", "x-request-id")
"""Headers that no two answers have in common."""


def test_every_route_that_answers_get_answers_head() -> None:
    settings = load_settings()
    routes = create_app(settings, pipelines(settings)).routes
    methods: dict[str, set[str]] = {}
    for route in routes:
        if isinstance(route, APIRoute | Route):
            methods.setdefault(route.path, set()).update(route.methods or ())
    for path, known in methods.items():
        assert ("GET" in known) == ("HEAD" in known), path


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/docs/swagger-ui.css",
        "/openapi.json",
        "/status/x",
        f"/status/{NOBODY}",
        f"/batch/{NOBODY}",
        f"/result/{NOBODY}",
        f"/original/{NOBODY}",
        "/nowhere",
    ],
)
def test_head_says_what_get_says(taking: Taking, path: str) -> None:
    asked = taking.client.get(path, headers={"Accept-Encoding": "identity"})
    told = taking.client.head(path, headers={"Accept-Encoding": "identity"})

    assert told.status_code == asked.status_code
    assert told.content == b""
    kept = [{k: v for k, v in a.headers.items() if k not in CHANGING} for a in (asked, told)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("path", ["/health", "/queue-status", "/stats", "/metrics"])
def test_head_says_how_sums_go_that_change_meanwhile(taking: Taking, path: str) -> None:
    asked, told = taking.client.get(path), taking.client.head(path)
    assert told.status_code == asked.status_code == 200
    assert told.content == b""
    assert int(told.headers["Content-Length"]) > 0
    apart = {*CHANGING, "content-length"}
    kept = [{k: v for k, v in a.headers.items() if k not in apart} for a in (asked, told)]
    assert kept[0] == kept[1]


def test_head_is_let_in_as_get_is(house: House) -> None:
    assert house.client.head("/stats").status_code == 401
    assert house.client.head("/stats", headers=bearer(house.keys["only-submit"])).status_code == 403
    assert house.client.head("/stats", headers=bearer(house.keys["alice"])).status_code == 200


def test_nothing_follows_the_head_on_the_wire(taking: Taking) -> None:
    said = said_to(taking.client, head("HEAD /openapi.json"), head("HEAD /x", "Connection: close"))
    assert said.count(b"HTTP/1.1 ") == 2
    assert said.endswith(b"\r\n\r\n")
    assert b"{" not in said


def test_a_refused_method_is_told_of_both(taking: Taking) -> None:
    answer = taking.client.put("/status/x")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"
