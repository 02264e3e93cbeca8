"""Keys that tokens are verified with: from an issuer's URL, or from a file.

Keys come from the place that the settings name and from nowhere else: what a token says of keys
(`jku`, `jwk`, `x5u`, `x5c`) is never looked at. Each key is good for one algorithm, which its own
type decides, so that a token can't talk the service into another one.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from blurline.access.watched import WatchedFile
from blurline.errors import AccessUnavailableError, SettingsError

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
LEAST_RSA_BITS = 2048  # RFC 7518, 3.3
LEAST_SECRET_BYTES = 32  # RFC 7518, 3.2

FRESH_SECONDS = 300.0
"""For how long the keys of a URL are used before it is asked again."""

STALE_SECONDS = 3600.0
"""For how long they are used while the URL does not answer."""

PAUSE_SECONDS = 10.0
"""Least time between two questions, so that made-up key ids are no way to flood the issuer."""

FETCH_SECONDS = 5.0
LARGEST = 1_000_000
"""Bytes of an issuer's answer above which it is not read."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key and the one algorithm that it verifies; `kid` is None where it has no id."""

    kid: str | None
    algorithm: str
    key: PublicKey | bytes


class TokenKeys(Protocol):
    """Where the key of a token is looked for."""

    def find(self, kid: str | None, algorithm: str) -> VerifyingKey | None:
        """The one key of that id and algorithm; None if there is none, or no telling which.

        Raises:
            AccessUnavailableError: the keys can't be had at the moment.
        """


class FileKeys:
    """Keys in a file: a JWKS, a public key as PEM, or the secret of HS256."""

    def __init__(self, path: Path, parse: Callable[[bytes], tuple[VerifyingKey, ...]]) -> None:
        """Read the file.

        Raises:
            SettingsError: it can't be used.
        """
        self._file = WatchedFile(path, parse)

    def find(self, kid: str | None, algorithm: str) -> VerifyingKey | None:
        """See `TokenKeys.find`."""
        return select(self._file.value(), kid, algorithm)


class UrlKeys:
    """The JWKS at a URL, which is fetched when the first token comes. Threads may share one.

    It is asked again after `FRESH_SECONDS`, and for a key id that it did not name before, so that
    an issuer may change its keys at any time.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = Lock()
        self._keys: tuple[VerifyingKey, ...] = ()
        self._answered: float | None = None
        self._asked: float | None = None

    def find(self, kid: str | None, algorithm: str) -> VerifyingKey | None:
        """See `TokenKeys.find`."""
        if self._age() > FRESH_SECONDS:
            self._ask()
        if self._age() > STALE_SECONDS:
            raise AccessUnavailableError("the keys of the tokens' issuer can't be had")
        found = select(self._keys, kid, algorithm)
        if found is None and kid is not None:
            self._ask()
            found = select(self._keys, kid, algorithm)
        return found

    def _age(self) -> float:
        """Seconds since the issuer has answered."""
        return float("inf") if self._answered is None else self._clock() - self._answered

    def _ask(self) -> None:
        """Fetch the keys, unless that was tried just now; who has older ones does not wait."""
        if not self._lock.acquire(blocking=self._answered is None):
            return
        try:
            now = self._clock()
            if self._asked is not None and now - self._asked < PAUSE_SECONDS:
                return
            self._asked = now
            self._keys = parse_jwks(_fetch(self._url))
            self._answered = self._clock()
        except (OSError, SettingsError, ValueError) as error:
            log.warning("no keys from JWT_JWKS_URL: %s", type(error.__cause__ or error).__name__)
        finally:
            self._lock.release()


def select(keys: Iterable[VerifyingKey], kid: str | None, algorithm: str) -> VerifyingKey | None:
    """The one of the keys for a token of that key id and algorithm; None if it is not one.

    A token that names no key may have any; a key without an id is taken where none has the id.
    """
    fitting = [key for key in keys if key.algorithm == algorithm]
    if kid is not None:
        named = [key for key in fitting if key.kid == kid]
        fitting = named or [key for key in fitting if key.kid is None]
    return fitting[0] if len(fitting) == 1 else None


def parse_public_keys(content: bytes) -> tuple[VerifyingKey, ...]:
    """The keys of a file that holds a JWKS, or one public key as PEM.

    Raises:
        SettingsError: it holds no key that tokens can be verified with.
    """
    if not content.lstrip().startswith(b"-----"):
        return parse_jwks(content)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError("the file holds no public key as PEM") from None
    algorithm = _algorithm(key)
    if algorithm is None or not isinstance(key, PublicKey):
        raise SettingsError("the key is not RSA of 2048 bits or more, P-256, or Ed25519")
    return (VerifyingKey(None, algorithm, key),)


def parse_jwks(content: bytes) -> tuple[VerifyingKey, ...]:
    """The keys of a JWKS (RFC 7517) that are public and for RS256, ES256 or EdDSA; others are left.

    Raises:
        SettingsError: there is no such key.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise SettingsError("the key set is not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = tuple(filter(None, map(_from_jwk, listed if isinstance(listed, list) else [])))
    if not keys:
        raise SettingsError("the key set has no public key for RS256, ES256 or EdDSA")
    return keys


def parse_secret(content: bytes) -> tuple[VerifyingKey, ...]:
    """The secret of HS256; white space around it does not count.

    Raises:
        SettingsError: it is too short to be one.
    """
    secret = content.strip()
    if len(secret) < LEAST_SECRET_BYTES:
        raise SettingsError(
            f"a secret for HS256 has at least {LEAST_SECRET_BYTES} bytes: "
            "`openssl rand -base64 48` makes one"
        )
    if secret.startswith(b"-----"):
        raise SettingsError("a PEM file is no secret: name it as JWT_KEY_FILE")
    return (VerifyingKey(None, "HS256", secret),)


def _from_jwk(jwk: Any) -> VerifyingKey | None:
    """The key, if it is one to verify with."""
    if not isinstance(jwk, dict) or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    try:
        if "verify" not in jwk.get("key_ops", ["verify"]):
            return None
        key = READERS[jwk["kty"]](jwk)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        return None
    algorithm, kid = _algorithm(key), jwk.get("kid")
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    return VerifyingKey(kid if isinstance(kid, str) else None, algorithm, key)


def _algorithm(key: Any) -> str | None:
    """The one algorithm that the key is used for, if any."""
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else None


def _fetch(url: str) -> bytes:
    """What is at the URL. A redirection is not followed, since it may lead anywhere.

    Raises:
        OSError: the issuer can't be reached.
        ValueError: it does not answer with keys.
    """
    # A tenth of the API's start, which most services have no use for.
    import httpx

    content = b""
    try:
        with httpx.stream("GET", url, timeout=FETCH_SECONDS, follow_redirects=False) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError("the issuer does not answer with its keys")
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > LARGEST:
                    raise ValueError("the issuer's answer is too large")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError("the issuer can't be reached") from error
    return content
