"""By which names the API may be asked, and from whose pages: what browsers can be talked into.

A browser carries out what a page of elsewhere tells it, and it reaches addresses that the author of
that page does not. A name that leads to the author first and then to this machine makes the page
one of ours (DNS rebinding); a form needs no leave to be sent anywhere. Where callers show keys or
tokens neither helps: the browser has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from blurline.access.admission import Admission, is_loopback
from blurline.api.errors import error_response
from blurline.errors import ForbiddenError

ANY_PAGE = "*"
CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")
"""Methods that are safe (RFC 9110, 9.2.1). Pages of elsewhere can't read what they answer."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """Which requests come from where they may.

    Attributes:
        admission: who is let in; where it asks nobody, names and pages are looked at.
        hosts: names beside those of this machine, in small letters.
        pages: origins whose pages may use the API.
    """

    admission: Admission
    hosts: frozenset[str]
    pages: Sequence[str]

    def check(self, scope: Scope) -> None:
        """Return if the request may pass.

        Raises:
            ForbiddenError: it names another host, or a page of elsewhere has sent it.
        """
        headers = Headers(scope=scope)
        if not all(self._is_ours(host, scope) for host in headers.getlist("host")):
            raise ForbiddenError("this service is not asked by that name, see ALLOWED_HOSTS")
        if self.admission.on or scope["method"] in CHANGES_NOTHING:
            return
        if not self._may_send(headers):
            raise ForbiddenError("a page of elsewhere may not do this, see CORS_ORIGINS")

    def _is_ours(self, host: str, scope: Scope) -> bool:
        """Whether the API may be asked by this Host: always, if nothing says otherwise."""
        only_local = not self.admission.on and not self.admission.anywhere
        if not self.hosts and (not only_local or _by_unix_socket(scope)):
            return True
        name = name_of(host)
        # Where others are let in, probes ask by address. Only a name can be made to lie.
        known = is_loopback(name) or name == _own_address(scope) or name in self.hosts
        return known or (not only_local and _is_address(name))

    def _may_send(self, headers: Headers) -> bool:
        """Whether no page of elsewhere is behind it: by the Fetch standard and RFC 6454."""
        origins = [origin.lower() for origin in headers.getlist("origin")]
        if ANY_PAGE in self.pages or (origins and set(origins) <= set(self.pages)):
            return True
        site = headers.get("sec-fetch-site", "")
        if site in ("same-origin", "cross-site"):
            return site == "same-origin"
        own = headers.get("host", "").lower()
        return all(origin.partition("://")[2] == own for origin in origins)


class Door:
    """ASGI middleware: answers 403 to requests that `Visitors` does not let pass."""

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app = app
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "http":
            try:
                self._visitors.check(scope)
            except ForbiddenError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def name_of(host: str) -> str:
    """The name or address in a Host, in small letters, without port, brackets and a final dot."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _own_address(scope: Scope) -> str | None:
    """The address of this machine at which the request came in."""
    server = scope.get("server")
    return None if server is None else server[0]


def _by_unix_socket(scope: Scope) -> bool:
    """Whether the request came in by a Unix socket, which no browser reaches by itself."""
    server = scope.get("server")
    return server is not None and server[1] is None
