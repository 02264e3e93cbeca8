"""Where the end of a job may be reported to: URLs, and the addresses behind their names.

Whoever hands in a picture chooses the URL, and the service can reach what the caller can't: its own
host, its neighbours, the metadata server of its cloud. So what counts is the address that is
connected to, and only public ones are allowed unless a setting names others.
"""

import re
from base64 import b64decode
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from blurline.errors import OptionError, SettingsError
from blurline.settings import Settings
from blurline.webhooks.addresses import address_of, is_metadata, is_public

SECRET_PREFIX = "whsec_"  # noqa: S105 - what stands before a secret
LEAST_SECRET, MOST_SECRET = 24, 64
"""Bytes of a secret, by Standard Webhooks."""

LONGEST_URL = 2000
PRINTABLE = re.compile(r"[!-~]+")

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)
"""Names as they are asked for (RFC 1035, 2.3.1), internationalised ones in their ASCII form."""

NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)\.?", re.IGNORECASE)
"""What resolvers read as an IPv4 address, however it is written (WHATWG's URL, 3.5)."""


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """What may be posted to: `networks` besides public addresses, and plain HTTP or not."""

    allow_http: bool = False
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def check(self, url: str) -> None:
        """Return if the URL can be taken. Its name is resolved only when it is posted to.

        Raises:
            OptionError: it can't, for a reason that does not quote it.
        """
        schemes = ("https", "http") if self.allow_http else ("https",)
        if len(url) > LONGEST_URL or not PRINTABLE.fullmatch(url):
            raise OptionError(f"callback_url must be at most {LONGEST_URL} printable characters")
        # What posts to the URL reads it; the API's start need not wait for that.
        import httpx

        try:
            parsed = httpx.URL(url)
            # `host` would be decoded, for which not every name is made.
            host, port = parsed.raw_host.decode("ascii").strip("[]"), parsed.port
        except (httpx.InvalidURL, ValueError):
            raise OptionError("callback_url is no URL") from None
        if parsed.scheme not in schemes or not host:
            raise OptionError(f"callback_url must begin with {' or '.join(schemes)}://, and a host")
        if port is not None and not 0 < port < 65536:
            raise OptionError("callback_url names no port")
        if parsed.userinfo or parsed.fragment:
            raise OptionError("callback_url must hold neither a password nor a #fragment")
        if _is_address(host):
            if not self.allows(host):
                raise OptionError("callback_url names an address that nothing is posted to")
        elif not HOST.fullmatch(host) or NUMBER.fullmatch(host):
            raise OptionError("callback_url names no host")

    def allows(self, address: str) -> bool:
        """Whether a connection to that IP address may be made."""
        ip = address_of(address)
        if is_metadata(ip):
            return False
        return is_public(ip) or any(ip in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """How ends of jobs are reported. Its text does not show the key."""

    rules: CallbackRules
    key: bytes = field(repr=False)


def webhooks_of(settings: Settings) -> Webhooks | None:
    """What the settings say of webhooks; None if they have no secret, and so none are sent.

    Raises:
        SettingsError: the secret or `WEBHOOK_ALLOWED_NETWORKS` can't be used.
    """
    if settings.webhook_secret is None:
        return None
    return Webhooks(_rules(settings), _key(settings.webhook_secret))


def _rules(settings: Settings) -> CallbackRules:
    parts = (part.strip() for part in (settings.webhook_allowed_networks or "").split(","))
    try:
        networks = tuple(ip_network(part) for part in parts if part)
    except ValueError as error:
        raise SettingsError(
            "WEBHOOK_ALLOWED_NETWORKS: write networks such as 10.20.0.0/16,fd12:3456::/32"
        ) from error
    return CallbackRules(settings.webhook_allow_http, networks)


def callback_of(url: str, settings: Settings) -> str | None:
    """What a caller wrote as `callback_url`, checked; None where nothing is written.

    Raises:
        OptionError: the service sends no webhooks, or not to there.
    """
    if not url:
        return None
    webhooks = webhooks_of(settings)
    if webhooks is None:
        raise OptionError("callback_url can't be taken: this service sends no webhooks")
    webhooks.rules.check(url)
    return url


def _key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not LEAST_SECRET <= len(key) <= MOST_SECRET:
        raise SettingsError(
            f"WEBHOOK_SECRET must be base64 of {LEAST_SECRET} to {MOST_SECRET} bytes, with or "
            f"without {SECRET_PREFIX} before it: `openssl rand -base64 32` makes one"
        )
    return key


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
