"""What a certificate promises: any change of it or of the picture shows, and any other key."""

import json
import os
import stat
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from blurline.certificate import keyfile
from blurline.certificate.canonical import canonical, utc_text
from blurline.certificate.certificate import (
    Certificate,
    CertifiedFile,
    ModelUse,
    RedactedPicture,
    Region,
    TransformedPicture,
    issue,
    regions_of,
    verify,
)
from blurline.certificate.signing import (
    Finding,
    SigningKey,
    key_id_of,
    load_public_key,
    load_signing_key,
    public_key_place,
    public_pem,
    signed_file,
)
from blurline.errors import OptionError, SettingsError
from blurline.imaging.encode import encode
from blurline.imaging.kind import Kind
from blurline.models.wheels import sha256
from blurline.redaction.styles import Style
from blurline.stages.frame import Quality, Redaction
from blurline.storage.masterkeys import load_master_keys
from tests.parts import ROOT, drawing

PICTURE = encode(drawing(16, 12), Kind.JPEG, 90)
MASK = b"a mask"
KEY = SigningKey(Ed25519PrivateKey.generate())


def certificate(key: SigningKey = KEY, **others: Any) -> Certificate:
    """A certificate of `PICTURE` with something in every field."""
    filled = Certificate(
        job_id="0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11",
        time="2026-03-01T12:00:00.000Z",
        inputs=(sha256(b"original"),),
        outputs=(
            CertifiedFile("picture.jpg", "primary", sha256(PICTURE)),
            CertifiedFile("mask.png", "mask", sha256(MASK)),
        ),
        pipeline="blur,upscale",
        options={"targets": ["face"], "scale": 2},
        networks=(ModelUse("centerface", sha256(b"weights"), {"face": 0.3}, "bf16"),),
        claim=RedactedPicture(
            metadata_policy="strip",
            quality=Quality.BALANCED,
            style=Style.MOSAIC,
            regions=(
                Region("face", (1, 2, 8, 9), 0.8125),
                Region("zone", (0, 0, 4, 4), 1.0, ((0.0, 0.0), (4.0, 0.0), (4.0, 3.5))),
            ),
            path_taken="re-encoded",
            second_look="passed",
            afterwards=("upscale",),
        ),
        blurline="0.1.0",
        key_id=key.key_id,
        supersedes="7f2b7c1e-90f4-4f7c-8f68-5d1f0e8c5a20",
    )
    return replace(filled, **others)


def with_one_bit_flipped(data: bytes) -> Iterator[bytes]:
    """The data once for each of its bits, with that bit flipped."""
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


# Checking


def test_an_untouched_pair_is_valid_and_the_certificate_comes_back_whole() -> None:
    verdict = verify(PICTURE, issue(certificate(), KEY), KEY.public)
    assert (verdict.finding, verdict.certificate) == (Finding.VALID, certificate())


def test_each_file_that_came_of_a_job_is_proved_and_no_other() -> None:
    file = issue(certificate(), KEY)
    assert verify(MASK, file, KEY.public).finding is Finding.VALID
    assert verify(b"original", file, KEY.public).finding is Finding.ALTERED


def test_a_transformed_picture_is_not_claimed_to_be_redacted() -> None:
    made = certificate(claim=TransformedPicture(("upscale", "enhance")))
    verdict = verify(PICTURE, issue(made, KEY), KEY.public)
    assert (verdict.finding, verdict.certificate) == (Finding.VALID, made)


EARLIER = {
    "format": "blurline.certificate/1",
    "job_id": "0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11",
    "time": "2026-03-01T12:00:00.000Z",
    "input_sha256": sha256(b"original"),
    "output_sha256": sha256(PICTURE),
    "models": [
        {"name": "centerface", "sha256": sha256(b"weights"), "thresholds": {"face": 0.3}},
    ],
    "metadata_policy": "minimal",
    "quality": "balanced",
    "style": "mosaic",
    "regions": [{"target": "face", "box": [1, 2, 8, 9], "confidence": 0.8125, "polygon": None}],
    "path_taken": "lossless",
    "second_look": "passed",
    "blurline": "0.1.0",
    "key_id": KEY.key_id,
}


def test_a_certificate_of_the_release_before_is_still_proved() -> None:
    """It knew one redacted picture; and the releases before it did not tell the arithmetic."""
    file = signed_file("certificate", EARLIER, KEY)
    verdict = verify(PICTURE, file, KEY.public)
    assert verdict.finding is Finding.VALID
    found = verdict.certificate
    assert found is not None
    assert isinstance(found.claim, RedactedPicture)
    assert found.inputs == (sha256(b"original"),)
    assert [region.target for region in found.claim.regions] == ["face"]
    assert [network.precision for network in found.networks] == [""]
    assert verify(b"original", file, KEY.public).finding is Finding.ALTERED


def test_any_flipped_bit_of_the_picture_is_noticed() -> None:
    file = issue(certificate(), KEY)
    findings = [verify(data, file, KEY.public).finding for data in with_one_bit_flipped(PICTURE)]
    assert len(findings) == 8 * len(PICTURE)
    assert set(findings) == {Finding.ALTERED}


def test_any_flipped_bit_of_the_certificate_is_noticed() -> None:
    file = issue(certificate(), KEY)
    verdicts = [verify(PICTURE, data, KEY.public) for data in with_one_bit_flipped(file)]
    assert len(verdicts) == 8 * len(file)
    assert Finding.VALID not in {verdict.finding for verdict in verdicts}
    assert {verdict.certificate for verdict in verdicts} == {None}


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.replace(b",", b", ", 1),
        lambda file: file + b"\n",
        lambda file: b"\xef\xbb\xbf" + file,
        lambda file: file.replace(b'{"certificate"', b'{"certificate":{},"certificate"', 1),
        lambda file: file[:-1] + b',"verified":true}',
        lambda file: file.replace(b"0.8125", b"0.81250", 1),
        lambda file: file.decode().encode("utf-16"),
    ],
    ids=["space", "line end", "mark", "double member", "new member", "spelling", "encoding"],
)
def test_a_certificate_that_is_only_written_differently_is_not_valid(
    change: Callable[[bytes], bytes],
) -> None:
    file = issue(certificate(), KEY)
    assert change(file) != file
    assert verify(PICTURE, change(file), KEY.public).finding in (
        Finding.ALTERED,
        Finding.MALFORMED,
    )


@pytest.mark.parametrize("field", asdict(certificate()))
def test_a_changed_field_is_noticed(field: str) -> None:
    content = json.loads(issue(certificate(), KEY))
    content["certificate"][field] = "another"
    verdict = verify(PICTURE, canonical(content), KEY.public)
    assert verdict.finding is (Finding.WRONG_KEY if field == "key_id" else Finding.ALTERED)


def test_a_certificate_by_another_key_is_told_apart() -> None:
    other = SigningKey(Ed25519PrivateKey.generate())
    assert verify(PICTURE, issue(certificate(other), other), KEY.public).finding is (
        Finding.WRONG_KEY
    )


def test_a_certificate_by_another_key_that_names_the_right_one_is_not_believed() -> None:
    other = SigningKey(Ed25519PrivateKey.generate())
    forged = json.loads(issue(certificate(other), other))
    forged["certificate"]["key_id"] = forged["key_id"] = KEY.key_id
    forged["public_key"] = public_pem(other.public).decode()
    assert verify(PICTURE, canonical(forged), KEY.public).finding is Finding.ALTERED


def test_a_signature_for_another_use_makes_no_certificate() -> None:
    content = {**asdict(certificate()), "format": "blurline.deletion-receipt/1"}
    file = signed_file("certificate", content, KEY)
    assert verify(PICTURE, file, KEY.public).finding is Finding.MALFORMED


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        PICTURE,
        b'{"certificate":{}}',
        b'{"certificate":[],"signature":""}',
        b'{"certificate":{"key_id":"a"},"signature":"?"}',
        b'{"certificate":{"key_id":"a"},"signature":1}',
        b'{"certificate":{"key_id":"a","x":NaN},"signature":""}',
        b'{"certificate":{"key_id":"a","x":1e999},"signature":""}',
        b'{"certificate":{"key_id":"\\ud800"},"signature":""}',
        b'{"certificate":' + b"[" * 100_000,
        b'{"certificate":' + b"9" * 10_000,
    ],
    ids=range(14),
)
def test_what_is_no_certificate_is_malformed(file: bytes) -> None:
    assert verify(PICTURE, file, KEY.public).finding is Finding.MALFORMED


def test_who_issues_a_certificate_can_not_name_another_key() -> None:
    with pytest.raises(ValueError, match="another key"):
        issue(certificate(key_id="0" * 16), KEY)


@pytest.mark.process
def test_the_signature_can_be_checked_by_any_other_program(tmp_path: Path) -> None:
    file = json.loads(issue(certificate(), KEY))
    (tmp_path / "key.pem").write_bytes(public_pem(KEY.public))
    (tmp_path / "signature").write_bytes(b64decode(file["signature"]))
    # For a certificate whose numbers are all plain, this is all there is to the canonical form.
    numbers = json.dumps(file["certificate"], sort_keys=True, separators=(",", ":"))
    (tmp_path / "content").write_text(numbers)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
    try:
        done = subprocess.run(
            [*command, "-in", "content", "-sigfile", "signature"], cwd=tmp_path, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl command here")
    assert done.returncode == 0, done.stderr


def test_regions_are_those_of_the_frame() -> None:
    redactions = (
        Redaction("face", 0.812549, (1, 2, 8, 9)),
        Redaction("zone", 1.0, (0, 0, 4, 4), ((0.04, 0.06), (4.0, 0.0), (4.0, 3.5))),
    )
    assert regions_of(redactions) == (
        Region("face", (1, 2, 8, 9), 0.8125),
        Region("zone", (0, 0, 4, 4), 1.0, ((0.0, 0.1), (4.0, 0.0), (4.0, 3.5))),
    )


# Canonical JSON


def test_the_example_of_the_standard_is_written_as_it_says() -> None:
    # RFC 8785, 3.2.2 and 3.2.3, without the numbers that are refused here.
    value = {
        "numbers": [4.50, 2e-3],
        "string": '\u20ac$\x0f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    text = '{"literals":[null,true,false],"numbers":[4.5,0.002],"string":"€$\\u000f\\nA\'B'
    assert canonical(value).decode() == text + '\\"\\\\\\\\\\"/"}'


def test_members_are_sorted_as_the_standard_sorts_them() -> None:
    # RFC 8785, 3.2.3: by UTF-16 code units, in which an emoji comes before U+FB33.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    expected = ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names)))) == expected


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.0, b"1"), (-0.0, b"0"), (0.0001, b"0.0001"), (2**53 - 1, b"9007199254740991")],
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float, text: bytes) -> None:
    assert canonical(number) == text


@pytest.mark.parametrize("number", [1e-5, 2**53, -(2**53), 1e16, float("nan"), float("inf")])
def test_numbers_that_could_be_spelled_differently_are_refused(number: float) -> None:
    with pytest.raises(ValueError):
        canonical(number)


def test_times_are_told_in_utc() -> None:
    summer = timezone(timedelta(hours=2))
    assert utc_text(datetime(2026, 7, 1, 1, 30, tzinfo=summer)) == "2026-06-30T23:30:00.000Z"
    assert utc_text(datetime(2026, 7, 1, tzinfo=UTC)) == "2026-07-01T00:00:00.000Z"
    with pytest.raises(ValueError, match="time zone"):
        utc_text(datetime(2026, 7, 1))


# Keys


def test_a_key_that_nobody_brought_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = load_signing_key(None, tmp_path)
    assert load_signing_key(None, tmp_path).key_id == key.key_id
    secret = tmp_path / "keys" / "signing.pem"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in secret.parent.iterdir()) == [
        "signing.pem",
        "signing.pub.pem",
    ]


def test_the_public_half_lies_beside_the_key_and_checks_what_it_signs(tmp_path: Path) -> None:
    key = load_signing_key(None, tmp_path)
    public = load_public_key(public_key_place(tmp_path))
    assert verify(PICTURE, issue(certificate(key), key), public).finding is Finding.VALID
    assert b"PRIVATE" not in public_key_place(tmp_path).read_bytes()
    assert stat.S_IMODE(public_key_place(tmp_path).stat().st_mode) == 0o644


def test_a_public_half_that_is_lost_or_of_another_key_is_written_anew(tmp_path: Path) -> None:
    key = load_signing_key(None, tmp_path)
    for damage in (b"", public_pem(KEY.public)):
        public_key_place(tmp_path).write_bytes(damage)
        load_signing_key(None, tmp_path)
        assert key_id_of(load_public_key(public_key_place(tmp_path))) == key.key_id


def test_a_key_file_of_ones_own_is_used(tmp_path: Path) -> None:
    brought = load_signing_key(None, tmp_path / "other")
    place = tmp_path / "other" / "keys" / "signing.pem"
    assert load_signing_key(place, tmp_path).key_id == brought.key_id
    assert not (tmp_path / "keys").exists()


def test_a_key_file_that_is_missing_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_signing_key(tmp_path / "mine.pem", tmp_path)
    assert list(tmp_path.iterdir()) == []


def pem(private: Any, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    content: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        public_pem(KEY.public),
        pem(KEY.private, b"password"),
        pem(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["empty", "nonsense", "public", "password", "rsa"],
)
def test_a_file_without_a_usable_key_is_a_wrong_setting(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(SettingsError, match="Ed25519 private key"):
        load_signing_key(tmp_path / "key.pem", tmp_path)


@pytest.mark.parametrize("content", [b"", pem(KEY.private)], ids=["empty", "private"])
def test_a_file_without_a_public_key_is_a_wrong_option(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(OptionError, match="no Ed25519 public key"):
        load_public_key(tmp_path / "key.pem")


def test_a_key_never_shows_its_secret() -> None:
    secret = KEY.private.private_bytes_raw()
    for text in (repr(KEY), str(KEY)):
        assert secret.hex() not in text
        assert "private" not in text


def test_of_many_makers_one_wins_and_all_get_its_key(tmp_path: Path) -> None:
    barrier = Barrier(16)

    def make(number: int) -> bytes:
        barrier.wait()
        return keyfile.made_once(tmp_path / "keys" / "a.key", lambda: b"%d" % number * 5000)

    with ThreadPoolExecutor(16) as pool:
        got = set(pool.map(make, range(16)))
    assert got == {(tmp_path / "keys" / "a.key").read_bytes()}
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["a.key"]


STARTING = """
import sys
from pathlib import Path
from blurline.certificate.signing import load_signing_key
from blurline.storage.masterkeys import load_master_keys
print("ready", flush=True)
sys.stdin.readline()
folder = Path(sys.argv[1])
wrapped = load_master_keys(None, folder).wrap(bytes(32), b"")
print(load_signing_key(None, folder).key_id, wrapped.hex())
"""


@pytest.mark.process
def test_processes_that_start_at_once_share_their_keys(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STARTING, str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate()[0].split() for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert {key_id for key_id, _ in answers} == {load_signing_key(None, tmp_path).key_id}
    masters = load_master_keys(None, tmp_path)
    assert [masters.unwrap(bytes.fromhex(wrapped), b"") for _, wrapped in answers] == [
        bytes(32)
    ] * 3
