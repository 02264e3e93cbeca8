"""Who is let in: by key, by token, or everybody on this machine."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from blurline.access import apikeys
from blurline.access.caller import ANYBODY, Caller, Scope
from blurline.access.jwks import FileKeys, TokenKeys, UrlKeys, parse_public_keys, parse_secret
from blurline.access.tokens import Tokens
from blurline.access.watched import WatchedFile
from blurline.errors import ForbiddenError, SettingsError, UnauthorizedError
from blurline.settings import Settings

SETTINGS = (
    "access",
    "api_keys_file",
    "jwt_jwks_url",
    "jwt_key_file",
    "jwt_secret_file",
    "jwt_issuer",
    "jwt_audience",
)
"""The settings that decide who is let in."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admission:
    """Tells callers apart, or lets in everybody if neither keys nor tokens are set up.

    Attributes:
        anywhere: without keys and tokens, whether callers on other machines are let in as well.
    """

    keys: WatchedFile[apikeys.Keys] | None = None
    tokens: Tokens | None = None
    anywhere: bool = False

    @property
    def on(self) -> bool:
        """Whether callers are asked who they are."""
        return self.keys is not None or self.tokens is not None

    @property
    def several(self) -> bool:
        """Whether more than one caller may hand pictures in; an issuer may have any number."""
        if self.tokens is not None or self.keys is None:
            return self.tokens is not None
        callers = self.keys.value().values()
        return len({caller.id for caller in callers if caller.may(Scope.SUBMIT)}) > 1

    def caller(self, authorization: Sequence[str], *, local: bool) -> Caller:
        """Who sends a request.

        Args:
            authorization: the values of its `Authorization` headers.
            local: whether it came in by an address that other machines do not reach.

        Raises:
            UnauthorizedError: it has no key or token, or not a good one.
            ForbiddenError: nobody is asked, and the caller may be on another machine.
            AccessUnavailableError: the keys can't be had at the moment.
        """
        if self.on:
            return self._known(_credential(authorization))
        if local or self.anywhere:
            return ANYBODY
        raise ForbiddenError(
            "this service asks nobody who they are, so it serves its own machine only"
        )

    def _known(self, credential: str) -> Caller:
        if credential.startswith(apikeys.PREFIX):
            keys = {} if self.keys is None else self.keys.value()
            caller = apikeys.find(keys, credential)
            if caller is None:
                raise UnauthorizedError("the key is not known here", invalid=True)
            return caller
        if self.tokens is None:
            raise UnauthorizedError("only keys are taken here, no tokens", invalid=True)
        return self.tokens.caller(credential)


def open_admission(settings: Settings) -> Admission:
    """Who the settings let in.

    Raises:
        SettingsError: they contradict each other, a file of keys can't be used, or other machines
            would be let in without being asked while nobody has said that this is meant.
    """
    keys = settings.api_keys_file and WatchedFile(settings.api_keys_file, apikeys.parse_keys)
    admission = Admission(keys or None, _tokens(settings), settings.access == "off")
    if admission.on and settings.access == "off":
        raise SettingsError("ACCESS=off contradicts keys or tokens that are set up: leave one out")
    if admission.on:
        return admission
    if settings.access == "off":
        log.warning(
            "ACCESS=off: NOBODY IS ASKED WHO THEY ARE. Whoever reaches %s can fetch all results, "
            "delete all jobs and hand pictures in",
            settings.host,
        )
    elif not is_loopback(settings.host):
        raise SettingsError(
            f"HOST={settings.host} opens the API to other machines, but nobody would be asked who "
            "they are: set API_KEYS_FILE (`blurline keys new NAME --scopes submit,read --file "
            "FILE` makes a key) or the JWT_ settings, or say ACCESS=off if something in front of "
            "the API asks; see docs/access.md"
        )
    return admission


def is_loopback(host: str) -> bool:
    """Whether the address is one that only the machine itself reaches."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _tokens(settings: Settings) -> Tokens | None:
    sources = {
        "JWT_JWKS_URL": settings.jwt_jwks_url,
        "JWT_KEY_FILE": settings.jwt_key_file,
        "JWT_SECRET_FILE": settings.jwt_secret_file,
    }
    given = [name for name, value in sources.items() if value]
    issuer, audience = settings.jwt_issuer, settings.jwt_audience
    if not given and not issuer and not audience:
        return None
    if len(given) != 1 or not issuer or not audience:
        raise SettingsError(
            f"tokens need JWT_ISSUER, JWT_AUDIENCE and one of {', '.join(sources)}: the issuer's "
            "keys decide who comes in, so there is one place for them"
        )
    return Tokens(_token_keys(settings), issuer, audience, settings.jwt_scope_claim)


def _token_keys(settings: Settings) -> TokenKeys:
    if settings.jwt_jwks_url:
        url = urlsplit(settings.jwt_jwks_url)
        near = url.scheme == "http" and is_loopback(url.hostname or "")
        if not near and (url.scheme != "https" or not url.hostname):
            raise SettingsError(
                "JWT_JWKS_URL has to begin with https://, since who can change the "
                "answer on its way decides who comes in"
            )
        return UrlKeys(settings.jwt_jwks_url)
    if settings.jwt_key_file:
        return FileKeys(settings.jwt_key_file, parse_public_keys)
    return FileKeys(settings.jwt_secret_file or Path(), parse_secret)


def _credential(authorization: Sequence[str]) -> str:
    """The key or token that the request brings.

    Raises:
        UnauthorizedError: it brings none, or more than one.
    """
    if len(authorization) > 1:
        raise UnauthorizedError("send one Authorization header", invalid=True)
    scheme, _, credential = (authorization or [""])[0].partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise UnauthorizedError("say who you are: `Authorization: Bearer` and a key or a token")
    return credential.strip()
