"""Tokens (JWT, RFC 7519) that somebody else issues and this service verifies."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt

from blurline.access.caller import Caller, Scope, known_scopes
from blurline.access.jwks import TokenKeys
from blurline.errors import UnauthorizedError

ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA", "HS256"})
"""All that may ever be used; a key is good for one of them only."""

TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What `typ` may say in a token that has one (RFC 9068, 2.1)."""

REQUIRED = ["exp", "iss", "aud", "sub"]
LEEWAY_SECONDS = 30
"""By how much the clocks of issuer and service may differ."""

LONGEST = 8192
"""Characters of a token above which it is not looked at."""

ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tells who sent a token.

    Attributes:
        issuer, audience: what `iss` has to be, and what `aud` has to be or to hold.
        scope_claim: name of the claim that holds scopes, as words of a text or as a list.
    """

    keys: TokenKeys
    issuer: str
    audience: str
    scope_claim: str = "scope"

    def caller(self, token: str) -> Caller:
        """Who the token stands for, once signature, times, issuer and audience are proved.

        Raises:
            UnauthorizedError: it is not a token of that issuer for this service, at this time. The
                message quotes nothing of it.
            AccessUnavailableError: the issuer's keys can't be had.
        """
        if len(token) > LONGEST:
            raise _refused()
        try:
            claims = self._claims(token)
            subject = claims["sub"].encode()
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("the token has expired", invalid=True) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            # Their texts may quote the token.
            raise _refused() from None
        if not subject:
            raise _refused()
        # The subject may be a person's name or address, and ids are kept; `iss` and `sub` together
        # are what is never given to another one (ASVS 10.3.3).
        digest = sha256(self.issuer.encode() + b"\0" + subject).hexdigest()
        return Caller(f"jwt-{digest[:ID_DIGITS]}", _scopes(claims.get(self.scope_claim)))

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, kind = header.get("alg"), header.get("typ", "JWT")
        # An extension that is critical (`crit`) is one that is not known here.
        if algorithm not in ALGORITHMS or str(kind).lower() not in TYPES or "crit" in header:
            raise _refused()
        key = self.keys.find(header.get("kid"), algorithm)
        if key is None:
            raise _refused()
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=self.audience,
            issuer=self.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED},
        )


def _scopes(claim: Any) -> frozenset[Scope]:
    words = claim.split() if isinstance(claim, str) else claim
    return (
        known_scopes(w for w in words if isinstance(w, str))
        if isinstance(words, list)
        else (frozenset())
    )


def _refused() -> UnauthorizedError:
    return UnauthorizedError("the token is not valid for this service", invalid=True)
