"""Tokens: whose signature, for whom, for how long. Names carry the OWASP ASVS 5.0 requirement."""

import base64
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from blurline.access import jwks
from blurline.access.caller import Scope
from blurline.access.jwks import FileKeys, UrlKeys, parse_public_keys, parse_secret
from blurline.access.tokens import ALGORITHMS, LEEWAY_SECONDS, LONGEST, Tokens
from blurline.errors import AccessUnavailableError, SettingsError, UnauthorizedError
from tests.issuer import (
    AUDIENCE,
    ISSUER,
    Issuer,
    claims,
    issuing,
    jwk,
    new_key,
    part,
    public_pem,
    rsa_key,
    weak_rsa_key,
)

ASYMMETRIC = ("RS256", "ES256", "EdDSA")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer with a key for each algorithm, under the algorithm's name."""
    with issuing() as issuer:
        for algorithm in ASYMMETRIC:
            issuer.add(algorithm, algorithm)
        yield issuer


@pytest.fixture
def tokens(issuer: Issuer) -> Tokens:
    return Tokens(UrlKeys(issuer.url), ISSUER, AUDIENCE)


def signed_by_hand(header: dict[str, Any], secret: bytes, **others: Any) -> str:
    """A token with that header, and an HMAC as its signature."""
    signing_input = f"{part(header)}.{part(claims(**others))}"
    return f"{signing_input}.{part(hmac.digest(secret, signing_input.encode(), sha256))}"


def refused(tokens: Tokens, token: str) -> None:
    """The token is refused, in words that quote nothing of it."""
    with pytest.raises(UnauthorizedError) as caught:
        tokens.caller(token)
    assert caught.value.invalid
    assert caught.value.message in (
        "the token is not valid for this service",
        "the token has expired",
    )
    assert caught.value.__cause__ is None


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


# Where keys come from


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
