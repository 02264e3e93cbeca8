"""Who is let in, and that a service which would let in everybody does not start by accident."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blurline.access.admission import SETTINGS, Admission, is_loopback, open_admission
from blurline.access.apikeys import new_key
from blurline.access.caller import ANYBODY
from blurline.api.app import create_app
from blurline.errors import ForbiddenError, SettingsError, UnauthorizedError
from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings, load_settings
from tests.callers import key_file
from tests.commands import Cli, check_refused
from tests.issuer import AUDIENCE, ISSUER, public_pem
from tests.issuer import new_key as new_private_key
from tests.parts import ROOT

TOKENS = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}


def admission(**settings: Any) -> Admission:
    return open_admission(load_settings(**settings))


def complaint(**settings: Any) -> str:
    """The one line that says why the service does not start."""
    with pytest.raises(SettingsError) as caught:
        admission(**settings)
    assert "\n" not in caught.value.message
    return caught.value.message


# Starting


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "::1"])
def test_on_this_machine_alone_nobody_is_asked(host: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not admission(host=host).on
    assert admission(host=host).caller([], local=True) is ANYBODY
    assert caplog.records == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "api.example", "10.1.2.3", ""])  # noqa: S104
def test_an_open_address_without_keys_is_refused_with_what_to_do(host: str) -> None:
    said = complaint(host=host)
    for word in (f"HOST={host}", "API_KEYS_FILE", "blurline keys new", "JWT_", "ACCESS=off"):
        assert word in said
    assert (ROOT / "docs/access.md").is_file()


def test_the_api_does_not_start_on_an_open_address_without_keys(tmp_path: Path) -> None:
    settings = load_settings(host="0.0.0.0", data_dir=tmp_path)  # noqa: S104
    with pytest.raises(SettingsError, match="API_KEYS_FILE"):
        create_app(settings, pipelines(settings))


def test_the_whole_service_does_not_start_on_an_open_address_without_keys(
    cli: Cli, tmp_path: Path
) -> None:
    end = cli("up", "--host", "0.0.0.0", "--data-dir", tmp_path / "data")  # noqa: S104
    check_refused(end, "API_KEYS_FILE")
    assert not (tmp_path / "data").exists()


@pytest.mark.process
def test_the_server_process_says_in_one_line_why_it_does_not_start(tmp_path: Path) -> None:
    environment = {**os.environ, "HOST": "0.0.0.0", "DATA_DIR": str(tmp_path)}  # noqa: S104
    done = subprocess.run(
        [sys.executable, "-c", "import api_server"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("blurline: HOST=0.0.0.0")


def test_an_open_service_without_keys_is_said_loudly(caplog: pytest.LogCaptureFixture) -> None:
    found = admission(host="0.0.0.0", access="OFF")  # noqa: S104

    assert not found.on
    assert found.caller([], local=False) is ANYBODY
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "NOBODY IS ASKED" in record.getMessage()


def test_off_and_keys_contradict_each_other(tmp_path: Path) -> None:
    assert "ACCESS=off" in complaint(access="off", api_keys_file=key_file(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"jwt_issuer": ISSUER},
        {"jwt_audience": AUDIENCE},
        {"jwt_jwks_url": "https://issuer.example/jwks"},
        {"jwt_jwks_url": "https://issuer.example/jwks", "jwt_issuer": ISSUER},
        {"jwt_jwks_url": "https://issuer.example/jwks", "jwt_audience": AUDIENCE},
        {"jwt_jwks_url": "https://a.example", "jwt_key_file": Path("keys"), **TOKENS},
        {"jwt_secret_file": Path("secret"), "jwt_key_file": Path("keys"), **TOKENS},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_v9_1_3_half_a_set_up_of_tokens_is_refused(settings: dict[str, Any]) -> None:
    said = complaint(**settings)
    for word in ("JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL"):
        assert word in said


@pytest.mark.parametrize(
    "url", ["http://issuer.example/jwks", "ftp://issuer.example", "https://", "file:///keys", "x"]
)
def test_v9_1_3_keys_are_not_fetched_over_a_wire_that_others_can_write_to(url: str) -> None:
    assert "https://" in complaint(jwt_jwks_url=url, **TOKENS)


def test_v9_1_3_a_key_file_is_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    assert "key.pem" in complaint(jwt_key_file=path, **TOKENS)
    path.write_bytes(public_pem(new_private_key("EdDSA")))
    assert admission(jwt_key_file=path, host="0.0.0.0", **TOKENS).on  # noqa: S104
    assert "key.pem" in complaint(jwt_secret_file=path, **TOKENS)


def test_the_settings_that_decide_are_settings() -> None:
    assert set(SETTINGS) <= set(Settings.model_fields)


# Asking


def test_other_machines_are_refused_where_nobody_is_asked() -> None:
    """However uvicorn was told to listen: `HOST` may not be what it got."""
    with pytest.raises(ForbiddenError, match="own machine"):
        admission().caller([], local=False)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("LOCALHOST", True),
        ("::ffff:192.0.2.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("127.0.0.1.example", False),
        ("localhost.example", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_which_addresses_are_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_is_taken_with_the_scheme_in_any_case(tmp_path: Path, scheme: str) -> None:
    key, line = new_key("a", ["read"])
    found = admission(api_keys_file=key_file(tmp_path, line), host="0.0.0.0")  # noqa: S104
    assert found.caller([f"{scheme} {key}"], local=False).id == "key-a"
    assert found.caller([f"{scheme}  {key} "], local=True).id == "key-a"


def test_without_a_good_key_nobody_is_known(tmp_path: Path) -> None:
    key, line = new_key("a", ["read"])
    found = admission(api_keys_file=key_file(tmp_path, line))
    digest = line.split()[2]
    for headers in ([], [""], ["Bearer"], ["Bearer "], [key], [f"Basic {key}"], [f"Token {key}"]):
        with pytest.raises(UnauthorizedError) as caught:
            found.caller(headers, local=True)
        assert key not in caught.value.message
    for wrong in (key[:-1], key + "x", key.upper(), "blk_", digest, f"blk_{digest}", "a.b.c"):
        with pytest.raises(UnauthorizedError) as caught:
            found.caller([f"Bearer {wrong}"], local=True)
        assert caught.value.invalid
        assert wrong not in caught.value.message
    with pytest.raises(UnauthorizedError):
        found.caller([f"Bearer {key}", f"Bearer {key}"], local=True)
