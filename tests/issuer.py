"""An issuer of tokens as it is met outside: keys that change, and their JWKS at a URL."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from blurline.access.tokens import Tokens
from blurline.errors import UnauthorizedError

ISSUER = "https://issuer.example"
AUDIENCE = "blurline"
ASYMMETRIC = ("RS256", "ES256", "EdDSA")

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


RSA_KEYS: list[RSAPrivateKey] = []
"""Made once, since each takes a while; they are handed out in turn."""


def rsa_key() -> RSAPrivateKey:
    """Another key than the five before it."""
    if len(RSA_KEYS) < 6:
        RSA_KEYS.append(generate_rsa_key(65537, 2048))
    else:
        RSA_KEYS.append(RSA_KEYS.pop(0))
    return RSA_KEYS[-1]


@cache
def weak_rsa_key() -> RSAPrivateKey:
    """A key that is too short by today's rules."""
    return generate_rsa_key(65537, 1024)  # noqa: S505 - to be refused


def new_key(algorithm: str) -> PrivateKey:
    """A private key for the algorithm."""
    if algorithm == "RS256":
        return rsa_key()
    return (
        generate_private_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()
    )


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: PrivateKey, kid: str | None = None, **others: Any) -> dict[str, Any]:
    """The public half as an issuer publishes it."""
    if isinstance(key, RSAPrivateKey):
        content = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, EllipticCurvePrivateKey):
        content = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        content = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    content.pop("key_ops", None)
    return {**content, **({} if kid is None else {"kid": kid}), **others}


def claims(**others: Any) -> dict[str, Any]:
    """What a good token says; others that are None are left out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice@example.org",
        "scope": "submit read",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
    }
    return {name: value for name, value in {**good, **others}.items() if value is not None}


def part(content: Any) -> str:
    """A part of a token that is put together by hand."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Issuer:
    """Keys by their id, and how often they were asked for."""

    url: str = ""
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    asked: int = 0
    status: int = 200
    document: bytes | None = None

    def add(self, kid: str, algorithm: str) -> PrivateKey:
        """A new key under that id."""
        self.keys[kid] = new_key(algorithm)
        return self.keys[kid]

    def token(self, kid: str, algorithm: str, **others: Any) -> str:
        """A token signed with the key of that id."""
        return jwt.encode(claims(**others), self.keys[kid], algorithm, headers={"kid": kid})

    def answer(self) -> bytes:
        """The JWKS."""
        if self.document is not None:
            return self.document
        return json.dumps({"keys": [jwk(key, kid) for kid, key in self.keys.items()]}).encode()


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer whose JWKS is served over HTTP."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            content = issuer.answer()
            self.send_response(issuer.status)
            if issuer.status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
