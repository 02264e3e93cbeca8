"""What `blurline verify` says of a picture and its certificate, and how it ends."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from blurline.certificate.certificate import CertifiedFile, issue
from blurline.certificate.signing import SigningKey, load_signing_key, public_key_place
from tests.commands import Cli, Ended
from tests.unit.certificate.test_certificate import PICTURE, certificate


@dataclass(frozen=True)
class Issued:
    """A picture, its certificate, and the data folder of the service that signed it."""

    picture: Path
    certificate: Path
    data_dir: Path
    key: SigningKey

    @property
    def public(self) -> Path:
        return public_key_place(self.data_dir)


@pytest.fixture
def verify(cli: Cli) -> Cli:
    return partial(cli, "verify")


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    key = load_signing_key(None, tmp_path / "data")
    found = Issued(tmp_path / "blurred.jpg", tmp_path / "certificate.json", tmp_path / "data", key)
    found.picture.write_bytes(PICTURE)
    found.certificate.write_bytes(issue(certificate(key), key))
    return found


def check_said(end: Ended, code: int, start: str) -> None:
    """It ended so, with one line on the one side and none on the other."""
    said, silent = (end.err, end.out) if code == 2 else (end.out, end.err)
    assert (end.code, silent) == (code, "")
    (line,) = said.splitlines()
    assert line.startswith(start)


def test_a_valid_pair_is_said_with_job_time_and_key(verify: Cli, issued: Issued) -> None:
    end = verify(issued.picture, issued.certificate, "--key", issued.public)
    check_said(end, 0, "valid: ")
    named = certificate(issued.key)
    for words in (named.job_id, named.time, issued.key.key_id):
        assert words in end.out


def test_the_key_can_be_that_of_a_data_folder(verify: Cli, issued: Issued) -> None:
    end = verify(issued.picture, issued.certificate, "--data-dir", issued.data_dir)
    check_said(end, 0, "valid: ")


def test_the_key_is_that_of_the_usual_data_folder(
    verify: Cli, issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(issued.data_dir))
    check_said(verify(issued.picture, issued.certificate), 0, "valid: ")


def test_a_changed_picture_is_said(verify: Cli, issued: Issued) -> None:
    issued.picture.write_bytes(PICTURE + b"\0")
    end = verify(issued.picture, issued.certificate, "--key", issued.public)
    check_said(end, 1, "altered: the picture")


def test_a_changed_certificate_is_said(verify: Cli, issued: Issued) -> None:
    issued.certificate.write_bytes(issued.certificate.read_bytes().replace(b"passed", b"failed"))
    end = verify(issued.picture, issued.certificate, "--key", issued.public)
    check_said(end, 1, "altered: the certificate")


def test_another_key_is_said(verify: Cli, issued: Issued, tmp_path: Path) -> None:
    load_signing_key(None, tmp_path / "other")
    end = verify(issued.picture, issued.certificate, "--data-dir", tmp_path / "other")
    check_said(end, 1, "wrong key: ")


@pytest.mark.parametrize("content", [b"", b"{}", PICTURE, json.dumps({"a": 1}).encode()])
def test_what_is_no_certificate_can_not_be_checked(
    verify: Cli, issued: Issued, content: bytes
) -> None:
    issued.certificate.write_bytes(content)
    end = verify(issued.picture, issued.certificate, "--key", issued.public)
    check_said(end, 2, f"blurline: {issued.certificate}: ")


@pytest.mark.parametrize("missing", ["picture", "certificate", "public"])
def test_a_missing_file_can_not_be_checked(verify: Cli, issued: Issued, missing: str) -> None:
    path: Path = getattr(issued, missing)
    path.unlink()
    end = verify(issued.picture, issued.certificate, "--data-dir", issued.data_dir)
    check_said(end, 2, f"blurline: {path}: No such file")


def test_a_file_without_a_key_can_not_be_used(verify: Cli, issued: Issued) -> None:
    end = verify(issued.picture, issued.certificate, "--key", issued.picture)
    check_said(end, 2, f"blurline: {issued.picture} holds no Ed25519 public key")


def test_two_keys_are_one_too_many(verify: Cli, issued: Issued) -> None:
    words = ("--key", issued.public, "--data-dir", issued.data_dir)
    check_said(
        verify(issued.picture, issued.certificate, *words), 2, "blurline: --key and --data-dir"
    )


def test_checking_makes_no_key(verify: Cli, issued: Issued, tmp_path: Path) -> None:
    end = verify(issued.picture, issued.certificate, "--data-dir", tmp_path / "nothing")
    check_said(end, 2, "blurline: ")
    assert not (tmp_path / "nothing").exists()


def test_a_certificate_of_another_picture_is_said(verify: Cli, issued: Issued) -> None:
    other = replace(
        certificate(issued.key), outputs=(CertifiedFile("picture.jpg", "primary", "0" * 64),)
    )
    issued.certificate.write_bytes(issue(other, issued.key))
    end = verify(issued.picture, issued.certificate, "--key", issued.public)
    check_said(end, 1, "altered: the picture")
