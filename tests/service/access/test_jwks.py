"""Where the keys of tokens come from, and how they change. Names carry the ASVS 5.0 requirement."""

import base64
import json
import secrets
import threading
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from blurline.access import jwks
from blurline.access.jwks import FileKeys, UrlKeys, parse_public_keys
from blurline.access.tokens import Tokens
from blurline.errors import AccessUnavailableError, SettingsError
from tests.issuer import (
    ASYMMETRIC,
    AUDIENCE,
    ISSUER,
    Issuer,
    claims,
    issuing,
    jwk,
    new_key,
    part,
    public_pem,
    refused,
    rsa_key,
    signed_by_hand,
    weak_rsa_key,
)


def test_v9_1_3_keys_that_the_token_brings_along_are_not_looked_at(tokens: Tokens) -> None:
    """With `jku` and `x5u` somebody else's server would be asked."""
    mine = new_key("RS256")
    with issuing() as other:
        other.keys["RS256"] = mine
        for extra in (
            {"jku": other.url},
            {"x5u": other.url},
            {"jwk": jwk(mine)},
            {"jwk": jwk(mine, "RS256"), "jku": other.url},
            {"x5c": [base64.b64encode(public_pem(mine)).decode()]},
        ):
            for kid in ("RS256", "mine"):
                refused(tokens, jwt.encode(claims(), mine, "RS256", {"kid": kid, **extra}))
        assert other.asked == 0


def test_v9_1_3_a_key_id_is_a_name_and_no_path(tokens: Tokens) -> None:
    for kid in ("../../../dev/null", "/dev/null", "RS256\0", "' OR 1=1 --", "", "*", "x" * 2000):
        refused(tokens, signed_by_hand({"alg": "HS256", "kid": kid}, b""))
        refused(tokens, jwt.encode(claims(), new_key("EdDSA"), "EdDSA", {"kid": kid}))
    for wrong in (7, ["RS256"], {"kid": "RS256"}):
        refused(tokens, signed_by_hand({"alg": "HS256", "kid": wrong}, b""))


def test_v9_1_3_secrets_private_weak_and_foreign_keys_of_a_set_are_not_used(
    issuer: Issuer, tokens: Tokens
) -> None:
    weak, encrypting, other = weak_rsa_key(), rsa_key(), generate_private_key(SECP384R1())
    secret = secrets.token_bytes(32)
    listed = [
        jwk(weak, "weak"),
        jwk(encrypting, "encrypting", use="enc"),
        jwk(rsa_key(), "fixed", alg="RS512"),
        jwk(other, "p384"),
        {"kty": "oct", "kid": "oct", "k": part(secret)},
        {"kty": ["RSA"]},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {**jwk(rsa_key(), "private"), "d": "AQAB"},
        "no key",
    ]
    good = jwk(issuer.keys["EdDSA"], "EdDSA", key_ops=["verify"], alg="EdDSA", use="sig")
    issuer.document = json.dumps({"keys": [*listed, good]}).encode()

    assert tokens.caller(issuer.token("EdDSA", "EdDSA"))
    refused(tokens, jwt.encode(claims(), encrypting, "RS256", {"kid": "encrypting"}))
    refused(tokens, signed_by_hand({"alg": "HS256", "kid": "oct"}, secret))
    assert [key.kid for key in jwks.parse_jwks(issuer.answer())] == ["EdDSA"]


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b'{"keys": 7}', b'{"keys": []}', b"<html>", b"[" * 100_000, b" " * 1_000_001],
)
def test_v9_1_3_an_issuer_whose_answer_is_no_key_set_lets_nobody_in(
    issuer: Issuer, tokens: Tokens, document: bytes
) -> None:
    token = issuer.token("RS256", "RS256")
    issuer.document = document

    with pytest.raises(AccessUnavailableError):
        tokens.caller(token)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_v9_1_3_a_redirection_or_an_error_is_no_key_set(
    issuer: Issuer, tokens: Tokens, status: int
) -> None:
    issuer.status = status
    with pytest.raises(AccessUnavailableError):
        tokens.caller(issuer.token("RS256", "RS256"))
    assert issuer.asked == 1


@pytest.mark.parametrize("form", ["pem", "jwks"])
@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_v9_1_3_keys_may_come_from_a_file_which_may_change(
    algorithm: str, form: str, tmp_path: Path
) -> None:
    path = tmp_path / "keys"

    def publish(key: Any) -> None:
        text = json.dumps({"keys": [jwk(key, "one")]}).encode()
        path.write_bytes(public_pem(key) if form == "pem" else text)

    old, new = new_key(algorithm), new_key(algorithm)
    publish(old)
    tokens = Tokens(FileKeys(path, parse_public_keys), ISSUER, AUDIENCE)
    before, after = (jwt.encode(claims(), key, algorithm, {"kid": "one"}) for key in (old, new))
    assert tokens.caller(before)
    refused(tokens, after)

    publish(new)

    assert tokens.caller(after)
    refused(tokens, before)


def test_v9_1_3_a_file_that_holds_no_usable_key_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    p384 = generate_private_key(SECP384R1())
    for content in (b"", b"{}", b"-----BEGIN", public_pem(weak_rsa_key()), public_pem(p384)):
        path.write_bytes(content)
        with pytest.raises(SettingsError):
            FileKeys(path, parse_public_keys)
    with pytest.raises(SettingsError):
        FileKeys(tmp_path / "none", parse_public_keys)


# Rotation


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_v9_1_3_a_new_key_of_the_issuer_is_known_by_its_id_at_once(issuer: Issuer) -> None:
    clock = Clock()
    tokens = Tokens(UrlKeys(issuer.url, clock), ISSUER, AUDIENCE)
    assert tokens.caller(issuer.token("ES256", "ES256"))
    issuer.add("next", "ES256")
    clock.now += jwks.PAUSE_SECONDS

    assert tokens.caller(issuer.token("next", "ES256"))
    assert tokens.caller(issuer.token("ES256", "ES256"))
    assert issuer.asked == 2


def test_v9_1_3_a_key_that_the_issuer_withdraws_is_refused_soon(issuer: Issuer) -> None:
    clock = Clock()
    tokens = Tokens(UrlKeys(issuer.url, clock), ISSUER, AUDIENCE)
    withdrawn = issuer.token("ES256", "ES256")
    assert tokens.caller(withdrawn)
    del issuer.keys["ES256"]
    clock.now += jwks.FRESH_SECONDS + 1

    refused(tokens, withdrawn)
    assert tokens.caller(issuer.token("RS256", "RS256"))


def test_v9_1_3_made_up_key_ids_do_not_flood_the_issuer(issuer: Issuer) -> None:
    tokens = Tokens(UrlKeys(issuer.url, Clock()), ISSUER, AUDIENCE)
    forged = new_key("EdDSA")
    for number in range(50):
        refused(tokens, jwt.encode(claims(), forged, "EdDSA", {"kid": f"kid-{number}"}))
    assert issuer.asked == 1


def test_an_issuer_that_is_away_for_a_while_locks_nobody_out(issuer: Issuer) -> None:
    clock = Clock()
    tokens = Tokens(UrlKeys(issuer.url, clock), ISSUER, AUDIENCE)
    assert tokens.caller(issuer.token("RS256", "RS256"))
    issuer.status = 503

    clock.now += jwks.FRESH_SECONDS + 1
    assert tokens.caller(issuer.token("RS256", "RS256"))
    clock.now += jwks.STALE_SECONDS
    with pytest.raises(AccessUnavailableError):
        tokens.caller(issuer.token("RS256", "RS256"))
    issuer.status = 200
    clock.now += jwks.PAUSE_SECONDS
    assert tokens.caller(issuer.token("RS256", "RS256"))


def test_many_first_tokens_at_once_ask_the_issuer_once(issuer: Issuer, tokens: Tokens) -> None:
    token, found = issuer.token("EdDSA", "EdDSA"), []
    threads = [
        threading.Thread(target=lambda: found.append(tokens.caller(token))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert issuer.asked == 1


def test_without_a_key_id_the_only_key_of_the_algorithm_is_taken(
    issuer: Issuer, tokens: Tokens
) -> None:
    token = jwt.encode(claims(), issuer.keys["EdDSA"], "EdDSA")
    assert tokens.caller(token)
    issuer.add("other", "EdDSA")

    refused(Tokens(UrlKeys(issuer.url), ISSUER, AUDIENCE), token)
