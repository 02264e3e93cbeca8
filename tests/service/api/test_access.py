"""Who may do what over HTTP. Names carry the OWASP ASVS 5.0 requirement where one fits."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import Request
from redis import Redis

from blurline.access import jwks
from blurline.access.caller import Caller, Scope
from blurline.api.access import is_local
from blurline.api.app import create_app
from blurline.api.docs import SCRIPT, STYLE
from blurline.jobs.job import JobError, failed
from blurline.jobs.records import open_records
from blurline.pipeline_architecture import pipelines
from blurline.storage.objects import open_store
from tests.callers import House, bearer, key_settings
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.parts import NOBODY, ROOT, files_below, job_spec, refusal, serving, settings_for, upload
from tests.service.test_privacy import holding

ROUTES = {
    ("POST", "/upload"): Scope.SUBMIT,
    ("POST", "/batch-upload"): Scope.SUBMIT,
    ("POST", "/blur/"): Scope.SUBMIT,
    ("POST", "/detect/"): Scope.SUBMIT,
    ("GET", "/status/{job_id}"): Scope.READ,
    ("GET", "/batch/{batch_id}"): Scope.READ,
    ("GET", "/result/{job_id}"): Scope.READ,
    ("GET", "/result/{job_id}/{name}"): Scope.READ,
    ("GET", "/pipelines"): Scope.READ,
    ("GET", "/certificate/{job_id}"): Scope.READ,
    ("GET", "/stats"): Scope.READ,
    ("GET", "/queue-status"): Scope.READ,
    ("GET", "/original/{job_id}"): Scope.READ_ORIGINAL,
    ("DELETE", "/jobs/{job_id}"): Scope.DELETE,
    ("GET", "/metrics"): Scope.ADMIN,
}
"""The scope that each route asks for."""

OPEN = {"/health", "/docs", f"/docs/{SCRIPT}", f"/docs/{STYLE}", "/openapi.json"}
"""Paths that ask for none."""


def path_of(route: str, job_id: str = NOBODY) -> str:
    return route.format(job_id=job_id, batch_id=job_id, name="picture.jpg")


# Every route


def test_v8_2_1_every_route_asks_who_calls_but_those_that_are_named(tmp_path: Path) -> None:
    """A route that somebody adds and forgets to guard fails here."""
    settings = settings_for("redis://127.0.0.1:1", tmp_path)
    app = create_app(settings, pipelines(settings))
    described = app.openapi()["paths"]
    asking = {
        (method.upper(), path)
        for path, methods in described.items()
        for method, operation in methods.items()
        if operation.get("security")
    }
    assert asking == set(ROUTES)
    assert {getattr(route, "path", "") for route in app.routes} - {p for _, p in ROUTES} == OPEN


def test_v8_2_1_without_a_key_every_route_is_answered_401(house: House) -> None:
    for method, route in ROUTES:
        answer = house.client.request(method, path_of(route))
        assert refusal(answer) == (401, "unauthorized"), route
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_v8_2_1_with_a_bad_key_every_route_is_answered_401(house: House) -> None:
    bad = {"alice": house.keys["alice"] + "x"}
    for method, route in ROUTES:
        answer = replace(house, keys=bad).request(method, path_of(route), "alice")
        assert refusal(answer) == (401, "unauthorized"), route
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("scope", Scope)
def test_v8_2_1_a_scope_opens_its_own_routes_and_no_others(house: House, scope: Scope) -> None:
    caller = Caller("key-x", frozenset({scope}))
    for (method, route), asked in ROUTES.items():
        answer = house.request(method, path_of(route), f"only-{scope.replace(':', '-')}")
        if caller.may(asked):
            assert answer.status_code not in (401, 403), (route, answer.text)
        else:
            assert refusal(answer) == (403, "forbidden"), route


def test_v8_3_1_who_may_not_upload_is_told_before_the_picture_is_read(
    house: House, small_jpeg: bytes
) -> None:
    picture = {"file": ("a.jpg", small_jpeg * 400)}
    assert refusal(house.client.post("/upload", files=picture)) == (401, "unauthorized")
    answer = house.request("POST", "/upload", "only-read", files=picture)
    assert refusal(answer) == (403, "forbidden")
    assert files_below(house.settings.data_dir / "store") == []


def test_v8_3_1_a_caller_can_not_name_itself(house: House, small_jpeg: bytes) -> None:
    job_id = house.upload(small_jpeg, "alice")
    for header in ("X-Forwarded-User", "X-Caller", "Owner", "X-API-Key"):
        headers = {**bearer(house.keys["bob"]), header: "key-alice"}
        assert house.client.get(f"/status/{job_id}", headers=headers).status_code == 404
    answer = house.client.get(f"/status/{job_id}", params={"token": house.keys["alice"]})
    assert answer.status_code == 401


def test_v8_1_1_the_page_on_access_names_the_scope_of_every_route() -> None:
    page = (ROOT / "docs/access.md").read_text()
    table = page.split("## What scopes allow")[1].split("##")[0]
    rows = re.findall(r"^\| (`[^|]+) \| `([a-z:]+)` \|$", table, re.MULTILINE)
    said = {
        tuple(route.split()): scope
        for routes, scope in rows
        for route in re.findall(r"`([^`]+)`", routes)
    }
    assert said == ROUTES


# Tokens


@pytest.fixture
def token_client(redis_url: str, tmp_path: Path, issuer: Issuer) -> Iterator[httpx.Client]:
    settings = settings_for(
        redis_url, tmp_path, jwt_jwks_url=issuer.url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE
    )
    with serving(settings) as client:
        yield client


def test_v10_3_2_a_token_opens_what_its_scopes_allow(
    token_client: httpx.Client, issuer: Issuer, small_jpeg: bytes
) -> None:
    alice, bob = (bearer(issuer.token("ES256", "ES256", sub=name)) for name in ("alice", "bob"))
    files = {"file": ("a.jpg", small_jpeg)}
    job_id = token_client.post("/upload", files=files, headers=alice).json()["job_id"]

    assert token_client.get(f"/status/{job_id}", headers=alice).status_code == 200
    assert refusal(token_client.get(f"/status/{job_id}", headers=bob)) == (404, "not_found")
    answer = token_client.delete(f"/jobs/{job_id}", headers=alice)
    assert refusal(answer) == (403, "forbidden")


def test_v9_2_1_a_token_that_has_expired_is_answered_401(
    token_client: httpx.Client, issuer: Issuer
) -> None:
    token = issuer.token("ES256", "ES256", exp=int(time.time()) - 3600)
    answer = token_client.get("/stats", headers=bearer(token))
    assert refusal(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_v9_1_3_the_issuer_may_change_its_keys_while_the_service_runs(
    token_client: httpx.Client, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "PAUSE_SECONDS", 0)
    assert token_client.get("/stats", headers=bearer(issuer.token("ES256", "ES256"))).is_success
    issuer.add("second", "EdDSA")
    assert token_client.get("/stats", headers=bearer(issuer.token("second", "EdDSA"))).is_success


def test_while_the_issuer_is_away_the_answer_is_503(
    token_client: httpx.Client, issuer: Issuer
) -> None:
    issuer.status = 500
    answer = token_client.get("/stats", headers=bearer(issuer.token("ES256", "ES256")))
    assert refusal(answer) == (503, "access_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_keys_and_tokens_may_be_used_side_by_side(
    redis_url: str, tmp_path: Path, issuer: Issuer
) -> None:
    granted, path = key_settings(tmp_path, {"alice": "read"})
    tokens = {"jwt_jwks_url": issuer.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    with serving(settings_for(redis_url, tmp_path, api_keys_file=path, **tokens)) as client:
        for credential in (granted["alice"], issuer.token("ES256", "ES256")):
            assert client.get("/stats", headers=bearer(credential)).status_code == 200


# Rates


def test_v2_4_1_who_sends_too_much_is_told_when_to_come_back(
    redis_url: str, tmp_path: Path
) -> None:
    granted, path = key_settings(tmp_path, {"alice": "read", "bob": "read", "carol": "submit"})
    settings = settings_for(redis_url, tmp_path, api_keys_file=path, rate_limit="3/hour")
    with serving(settings) as client:
        house = House(client, settings, granted)
        assert [house.get("/stats", "alice").status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = house.get("/stats", "alice")
        assert refusal(answer) == (429, "rate_limited")
        assert 3500 < int(answer.headers["Retry-After"]) <= 3600
        assert house.get("/stats", "bob").status_code == 200
        statuses = [house.get("/stats", "carol").status_code for _ in range(4)]
        assert statuses == [403, 403, 403, 429]
        assert client.get("/health").status_code == 200


def test_results_can_be_fetched_while_redis_can_not_count(
    tmp_path: Path, house: House, small_jpeg: bytes
) -> None:
    job_id = house.treated(small_jpeg, "alice")
    update = {"redis_url": f"unix://{tmp_path}/nobody.sock", "rate_limit": "1/hour"}
    with serving(house.settings.model_copy(update=update)) as client:
        for _ in range(2):
            answer = client.get(f"/result/{job_id}", headers=bearer(house.keys["alice"]))
            assert answer.status_code == 200


# Health and metrics


def test_health_is_open(house: House) -> None:
    assert house.client.get("/health").json()["dependencies"]["redis"]["status"] == "ok"


def test_metrics_may_be_opened(redis_url: str, house: House) -> None:
    assert house.get("/metrics", "admin").status_code == 200
    opened = house.settings.model_copy(update={"open_metrics": True})
    with serving(opened) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/stats").status_code == 401


# Without keys


async def answers(app: Any, address: str) -> list[httpx.Response]:
    """What the app says to who came in by that address."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{address}:8000") as client:
        return [await client.get(path) for path in (f"/status/{NOBODY}", "/health", "/metrics")]


@pytest.mark.parametrize(
    ("access", "address", "statuses"),
    [
        ("auto", "127.0.0.1", [404, 200, 200]),
        ("auto", "192.0.2.7", [403, 200, 403]),
        ("off", "192.0.2.7", [404, 200, 200]),
    ],
)
def test_without_keys_only_the_machine_itself_is_served_wherever_the_server_listens(
    redis_url: str, tmp_path: Path, access: str, address: str, statuses: list[int]
) -> None:
    """`uvicorn api_server:app --host 0.0.0.0` does not tell the settings."""
    settings = settings_for(redis_url, tmp_path, access=access)
    app = create_app(settings, pipelines(settings))
    found = asyncio.run(answers(app, address))
    assert [answer.status_code for answer in found] == statuses


@pytest.mark.parametrize(
    ("server", "local"),
    [
        (("127.0.0.1", 8000), True),
        (("::1", 8000), True),
        (("/run/blurline.sock", None), True),
        (("192.0.2.7", 8000), False),
        (("192.0.2.7", None), False),
        (("0.0.0.0", 8000), False),  # noqa: S104
        (("localhost.example", 8000), False),
        (None, False),
    ],
)
def test_v8_3_1_which_requests_come_from_the_machine_itself_no_header_decides(
    server: tuple[str, int | None] | None, local: bool
) -> None:
    headers = [(b"host", b"127.0.0.1"), (b"x-forwarded-for", b"127.0.0.1")]
    request = Request({"type": "http", "server": server, "headers": headers})
    assert is_local(request) is local


def test_without_keys_everything_belongs_to_nobody(
    idle_client: Callable[..., httpx.Client], tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client()
    owned = job_spec(owner="key-alice")
    error = JobError("corrupt_image", "the picture's data is damaged")
    settings = settings_for("", tmp_path)
    records = open_records(settings, open_store(settings))
    records.commit(failed(owned, error, time.time()))

    job_id = upload(client, small_jpeg)

    assert client.get(f"/status/{job_id}").status_code == 200
    assert client.get(f"/status/{owned.job_id}").json()["status"] == "failed"
    assert client.delete(f"/jobs/{uuid4()}").status_code == 200


# What stays secret


def test_v16_2_5_no_key_and_no_token_is_written_anywhere(
    redis_url: str, tmp_path: Path, issuer: Issuer, small_jpeg: bytes, capsys: Any, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    granted, path = key_settings(tmp_path, {"alice": "submit,read,delete,admin"})
    chosen = {"jwt_jwks_url": issuer.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    settings = settings_for(
        redis_url, tmp_path, api_keys_file=path, rate_limit="100/hour", log_level="debug", **chosen
    )
    token = issuer.token("ES256", "ES256", sub="alice@example.org", scope="submit read")
    broken = token[:-6]
    wrong = granted["alice"] + "wrong"
    said = []
    with serving(settings) as client:
        for credential in (granted["alice"], token, broken, wrong, f"Bearer {token}"):
            for method, route in ROUTES:
                files = {"file": ("a.jpg", small_jpeg)} if route == "/upload" else None
                answer = client.request(
                    method, path_of(route), headers=bearer(credential), files=files
                )
                said.append(answer.text + str(answer.headers))
    with Redis.from_url(redis_url) as redis:
        said += [str(value) for value in holding(redis)]
    said += [file.read_bytes().decode("latin-1") for file in files_below(tmp_path / "store")]
    said += [caplog.text, *capsys.readouterr()]
    secrets = [granted["alice"], wrong, "alice@example.org", *token.split("."), *broken.split(".")]
    for text in said:
        assert not [secret for secret in secrets if secret in text]
    assert any("key-alice" in text for text in said)


# The description


def test_the_description_names_the_scope_of_every_route(house: House) -> None:
    document = house.client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "key": "http",
        "token": "http",
    }
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer"}
    for (method, path), scope in ROUTES.items():
        operation = document["paths"][path][method.lower()]
        assert operation["security"] == [{"key": [scope]}, {"token": [scope]}]
        assert {"401", "403", "429", "503"} <= set(operation["responses"])
    assert "security" not in document["paths"]["/health"]["get"]
