"""What every answer carries, whatever it answers: an id, security headers, CORS where asked."""

import logging
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import httpx
import pytest

from blurline.api.reports import Reports
from blurline.errors import SettingsError
from blurline.settings import load_settings
from tests.parts import NOBODY, Start, Taking, refusal

PAGE = "https://photos.example.org"
MARK = "planted-words"
ASKED = ["/health", "/docs", "/openapi.json", "/metrics", "/nowhere", "/status/x", "/stats"]


@pytest.fixture
def client(taking: Taking) -> httpx.Client:
    return taking.client


@pytest.fixture
def broken(
    idle_client: Start, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[httpx.Client, str]]:
    """A client, and a path at which the service fails by a fault of its own."""

    def fail(*arguments: Any) -> None:
        raise KeyError(MARK)

    def start(**settings: Any) -> tuple[httpx.Client, str]:
        monkeypatch.setattr(Reports, "status", fail)
        return idle_client(**settings), f"/status/{NOBODY}"

    return start


def check_guarded(answer: httpx.Response) -> None:
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "no-store" in headers["Cache-Control"]
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["X-Request-ID"])


@pytest.mark.parametrize("path", ASKED)
def test_every_answer_is_guarded(client: httpx.Client, path: str) -> None:
    check_guarded(client.get(path))


def test_refusals_of_every_kind_are_guarded(client: httpx.Client) -> None:
    check_guarded(client.post("/upload", files={"file": ("a", b"no picture")}))
    check_guarded(client.post("/upload", content=b"no form"))
    check_guarded(client.put("/upload"))
    check_guarded(client.options("/upload", headers={"Origin": PAGE}))


def test_an_error_that_nobody_expected_is_guarded_and_told_without_its_words(
    broken: Callable[..., tuple[httpx.Client, str]], caplog: pytest.LogCaptureFixture
) -> None:
    client, path = broken()

    answer = client.get(path)

    assert refusal(answer) == (500, "internal_error")
    check_guarded(answer)
    assert MARK not in answer.text
    assert "KeyError" in caplog.text
    assert MARK not in caplog.text
    assert not [record for record in caplog.records if record.exc_info], "no words come with it"


def test_requests_have_ids_of_their_own(client: httpx.Client) -> None:
    ids = {client.get("/health").headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("given", ["7f3a", "a" * 64, "01J9ZK.web-3_b"])
def test_a_callers_id_is_taken_over(client: httpx.Client, given: str) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'x"y', "-x", "é", "../x", "a,b"])
def test_an_id_that_could_disturb_a_log_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/health", headers={"X-Request-ID": given.encode()})
    check_guarded(answer)
    assert answer.headers["X-Request-ID"] != given


def test_requests_are_logged_by_route_and_readers_only_for_debugging(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "blurline")
    client.get("/metrics")
    client.get(f"/status/{MARK}")
    client.post("/upload", files={"file": (MARK, b"no picture")})
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "api" in r.name]
    starts = [(level, line.partition(" in ")[0]) for level, line in lines]
    assert starts == [
        ("DEBUG", "GET /metrics: 200"),
        ("INFO", "GET /status/{job_id}: 404"),
        ("INFO", "POST /upload: 400"),
    ]
    assert MARK not in caplog.text


def test_a_page_of_elsewhere_may_not_use_the_api(client: httpx.Client) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    for answer in (
        client.get("/health", headers={"Origin": PAGE}),
        client.options("/upload", headers=asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_only_the_pages_of_the_setting_may_use_the_api(
    broken: Callable[..., tuple[httpx.Client, str]],
) -> None:
    client, failing = broken(cors_origins=f"{PAGE}, http://127.0.0.1:3000")
    for path in ("/stats", "/nowhere", failing):
        answer = client.get(path, headers={"Origin": PAGE})
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        check_guarded(answer)
        other = client.get(path, headers={"Origin": "https://elsewhere.example.org"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_a_browser_may_ask_first(idle_client: Start) -> None:
    client = idle_client(cors_origins=PAGE)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "DELETE"}
    answer = client.options("/jobs/x", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    check_guarded(answer)
    asked["Origin"] = "https://elsewhere.example.org"
    assert client.options("/jobs/x", headers=asked).status_code == 400


@pytest.mark.parametrize("origins", ["photos.example.org", f"{PAGE}/", "null", f"{PAGE},ftp://x"])
def test_what_is_no_origin_is_a_wrong_setting(origins: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        load_settings(cors_origins=origins)


def test_the_page_of_the_description_runs_only_scripts_that_its_policy_names(
    client: httpx.Client,
) -> None:
    page = client.get("/docs")
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";")
    )
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert scripts
    for script in scripts:
        digest = b64encode(sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy["script-src"]
    assert policy["script-src"].split()[0] == "'self'"
    for source in re.findall(r'<script src="([^"]+)"', page.text):
        assert ":" not in source
    assert "unsafe" not in policy["script-src"]
    assert not re.findall(r"\son\w+=", page.text)
    described = re.search(r"url: '([^']+)'", page.text)
    assert described
    assert client.get(str(page.url.join(described[1]))).json()["openapi"]
