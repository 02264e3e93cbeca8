"""Tokens: whose signature, for whom, for how long. Names carry the OWASP ASVS 5.0 requirement."""

import json
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from blurline.access.caller import Scope
from blurline.access.jwks import FileKeys, UrlKeys, parse_public_keys, parse_secret
from blurline.access.tokens import ALGORITHMS, LEEWAY_SECONDS, LONGEST, Tokens
from blurline.errors import SettingsError
from tests.issuer import (
    ASYMMETRIC,
    AUDIENCE,
    ISSUER,
    Issuer,
    claims,
    jwk,
    new_key,
    part,
    public_pem,
    refused,
    rsa_key,
    signed_by_hand,
)

# Signature and algorithm


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_v9_1_1_a_token_that_the_issuer_signed_is_good(
    issuer: Issuer, tokens: Tokens, algorithm: str
) -> None:
    caller = tokens.caller(issuer.token(algorithm, algorithm))

    assert caller.scopes == {Scope.SUBMIT, Scope.READ}


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_v9_1_1_what_was_changed_after_signing_is_refused(
    issuer: Issuer, tokens: Tokens, algorithm: str
) -> None:
    header, _, signature = issuer.token(algorithm, algorithm).split(".")

    refused(tokens, f"{header}.{part(claims(scope='admin'))}.{signature}")
    refused(tokens, f"{header}.{part(claims())}.")
    refused(tokens, f"{header}.{part(claims())}.{part(bytes(64))}")


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_v9_1_1_a_key_of_somebody_else_under_the_same_id_is_refused(
    tokens: Tokens, algorithm: str
) -> None:
    refused(tokens, jwt.encode(claims(), new_key(algorithm), algorithm, {"kid": algorithm}))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_v9_1_2_alg_none_is_refused(tokens: Tokens, name: str) -> None:
    for header in ({"alg": name}, {"alg": name, "kid": "RS256"}, {"alg": name, "typ": "JWT"}):
        refused(tokens, f"{part(header)}.{part(claims())}.")
        refused(tokens, f"{part(header)}.{part(claims())}.{part(b'signature')}")


def test_v9_1_2_a_token_without_an_algorithm_is_refused(tokens: Tokens) -> None:
    for header in ({}, {"alg": None}, {"alg": ["RS256"]}, {"alg": {"a": 1}}, {"alg": 256}):
        refused(tokens, f"{part(header)}.{part(claims())}.{part(b'signature')}")


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_v9_1_2_a_public_key_is_never_taken_for_the_secret_of_an_hmac(
    issuer: Issuer, tokens: Tokens, algorithm: str, tmp_path: Path
) -> None:
    key = issuer.keys[algorithm]
    path = tmp_path / "key.pem"
    path.write_bytes(public_pem(key))
    from_file = Tokens(FileKeys(path, parse_public_keys), ISSUER, AUDIENCE)
    published = json.dumps(jwk(key, algorithm)).encode()
    for secret in (public_pem(key), public_pem(key).strip(), published, issuer.answer()):
        for name in ("HS256", "hs256", "HS512"):
            token = signed_by_hand({"alg": name, "kid": algorithm}, secret)
            refused(tokens, token)
            refused(from_file, token)


def test_v9_1_2_a_key_is_good_for_one_algorithm_only(issuer: Issuer, tokens: Tokens) -> None:
    for algorithm in ("RS384", "RS512", "PS256"):
        refused(tokens, jwt.encode(claims(), issuer.keys["RS256"], algorithm, {"kid": "RS256"}))
    for algorithm in ASYMMETRIC:
        for kid in set(ASYMMETRIC) - {algorithm}:
            token = jwt.encode(claims(), issuer.keys[algorithm], algorithm, {"kid": kid})
            refused(tokens, token)


def test_v9_1_2_with_a_secret_only_hs256_is_taken(tmp_path: Path) -> None:
    secret, path = secrets.token_bytes(32).hex().encode(), tmp_path / "secret"
    path.write_bytes(secret + b"\n")
    tokens = Tokens(FileKeys(path, parse_secret), ISSUER, AUDIENCE)

    assert tokens.caller(jwt.encode(claims(), secret, "HS256")).id
    for algorithm in ("HS384", "HS512"):
        refused(tokens, jwt.encode(claims(), secret + secret, algorithm))
    for algorithm in ASYMMETRIC:
        refused(tokens, jwt.encode(claims(), new_key(algorithm), algorithm))
    refused(tokens, f"{part({'alg': 'none'})}.{part(claims())}.")
    refused(tokens, jwt.encode(claims(), secrets.token_bytes(32), "HS256"))


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 31 + b"\n", public_pem(rsa_key())])
def test_v9_1_2_what_is_no_secret_is_refused_at_the_start(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(SettingsError):
        FileKeys(path, parse_secret)


def test_v9_1_2_the_list_of_algorithms_is_short() -> None:
    assert {*ASYMMETRIC, "HS256"} == ALGORITHMS


# What a token says


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": None},
        {"exp": 0},
        {"exp": "soon"},
        {"exp": [4_000_000_000]},
        {"exp": float("inf")},
        {"exp": -float("inf")},
        {"nbf": "never"},
        {"nbf": float("inf")},
    ],
    ids=str,
)
def test_v9_2_1_a_token_is_good_only_in_its_time(
    issuer: Issuer, tokens: Tokens, wrong: dict[str, Any]
) -> None:
    refused(tokens, issuer.token("EdDSA", "EdDSA", **wrong))


@pytest.mark.parametrize(
    ("claim", "seconds_from_now"),
    [
        ("exp", -LEEWAY_SECONDS - 5),
        ("nbf", LEEWAY_SECONDS + 60),
        ("iat", LEEWAY_SECONDS + 60),
    ],
)
def test_v9_2_1_a_token_is_refused_after_its_time_and_before_it(
    issuer: Issuer, tokens: Tokens, claim: str, seconds_from_now: int
) -> None:
    when = {claim: int(time.time()) + seconds_from_now}
    refused(tokens, issuer.token("EdDSA", "EdDSA", **when))


def test_v9_2_1_clocks_may_differ_a_little(issuer: Issuer, tokens: Tokens) -> None:
    now = int(time.time())
    assert tokens.caller(issuer.token("EdDSA", "EdDSA", exp=now - 5, nbf=now - 60))
    assert tokens.caller(issuer.token("EdDSA", "EdDSA", nbf=now + 10, iat=now + 10))


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_v9_2_2_access_tokens_are_taken(issuer: Issuer, tokens: Tokens, kind: str) -> None:
    header = {"kid": "EdDSA", "typ": kind}
    assert tokens.caller(jwt.encode(claims(), issuer.keys["EdDSA"], "EdDSA", header))


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "x", "at+jwt "])
def test_v9_2_2_tokens_for_another_purpose_are_refused(
    issuer: Issuer, tokens: Tokens, kind: str
) -> None:
    header = {"kid": "EdDSA", "typ": kind}
    refused(tokens, jwt.encode(claims(), issuer.keys["EdDSA"], "EdDSA", header))


@pytest.mark.parametrize(
    "audience",
    [None, "", "other", "blurline2", "Blurline", [], ["other"], [["blurline"]], 7, {"blurline": 1}],
    ids=str,
)
def test_v9_2_3_a_token_for_another_service_is_refused(
    issuer: Issuer, tokens: Tokens, audience: Any
) -> None:
    refused(tokens, issuer.token("EdDSA", "EdDSA", aud=audience))


def test_v9_2_3_a_token_may_be_for_several_services(issuer: Issuer, tokens: Tokens) -> None:
    assert tokens.caller(issuer.token("EdDSA", "EdDSA", aud=["other", AUDIENCE]))


@pytest.mark.parametrize("name", [None, "", "https://other.example", f"{ISSUER}/", ISSUER.upper()])
def test_v10_3_1_a_token_of_another_issuer_is_refused(
    issuer: Issuer, tokens: Tokens, name: str | None
) -> None:
    token = claims(iss=name)
    refused(tokens, jwt.encode(token, issuer.keys["EdDSA"], "EdDSA", {"kid": "EdDSA"}))


def test_v10_3_3_a_caller_is_the_issuer_and_its_subject_and_the_id_names_nobody(
    issuer: Issuer, tokens: Tokens
) -> None:
    first, again, other = (
        tokens.caller(issuer.token("EdDSA", "EdDSA", sub=subject)).id
        for subject in ("alice@example.org", "alice@example.org", "bob@example.org")
    )
    elsewhere = Tokens(UrlKeys(issuer.url), "https://b.example", AUDIENCE)
    foreign = elsewhere.caller(issuer.token("EdDSA", "EdDSA", iss="https://b.example")).id

    assert first == again
    assert len({first, other, foreign}) == 3
    assert first is not None
    assert first.startswith("jwt-")
    assert "alice" not in first


@pytest.mark.parametrize("subject", [None, "", 7, ["alice"], "\ud800"])
def test_v10_3_3_a_token_without_a_subject_is_refused(
    issuer: Issuer, tokens: Tokens, subject: Any
) -> None:
    refused(tokens, issuer.token("EdDSA", "EdDSA", sub=subject))


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("submit read", {"submit", "read"}),
        ("read:original delete admin", {"read:original", "delete", "admin"}),
        (["submit", "delete"], {"submit", "delete"}),
        ("openid profile submit", {"submit"}),
        ("SUBMIT submit,read read:", set()),
        (["submit", 7, None, ["read"]], {"submit"}),
        (None, set()),
        ("", set()),
        (7, set()),
        ({"submit": True}, set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_v10_3_2_a_token_grants_the_scopes_that_it_names(
    issuer: Issuer, tokens: Tokens, claim: Any, scopes: set[str]
) -> None:
    assert tokens.caller(issuer.token("EdDSA", "EdDSA", scope=claim)).scopes == scopes


def test_scopes_may_stand_in_another_claim(issuer: Issuer) -> None:
    tokens = Tokens(UrlKeys(issuer.url), ISSUER, AUDIENCE, "scp")
    token = issuer.token("EdDSA", "EdDSA", scope="admin", scp=["read"])
    assert tokens.caller(token).scopes == {"read"}


# What is no token


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",
        "\xff.\xff.\xff",
        "x" * (LONGEST + 1),
        f"{part(b'[' * 5000)}.{part({})}.{part(b'')}",
        f"{part([])}.{part({})}.{part(b'')}",
        f"{part(7)}.{part({})}.{part(b'')}",
    ],
    ids=range(10),
)
def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    refused(tokens, text)


def test_a_signed_text_that_holds_no_claims_is_refused(issuer: Issuer, tokens: Tokens) -> None:
    key = issuer.keys["EdDSA"]
    for payload in (b"", b"[]", b"7", b"null", b"{", b"[" * 4000, b'{"exp": 1e999}'):
        refused(tokens, jwt.api_jws.encode(payload, key, "EdDSA", {"kid": "EdDSA"}))


def test_an_extension_that_is_critical_is_refused(issuer: Issuer, tokens: Tokens) -> None:
    header = {"kid": "EdDSA", "crit": ["exp"], "exp": 1}
    refused(tokens, jwt.encode(claims(), issuer.keys["EdDSA"], "EdDSA", header))
