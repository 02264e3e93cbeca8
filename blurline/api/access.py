"""Who may use a route: what stands between a request and the work behind it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer, SecurityScopes

from blurline.access.admission import Admission, is_loopback
from blurline.access.caller import ANYBODY, Caller, Scope
from blurline.access.rate import RateLimit
from blurline.errors import ForbiddenError

KEY = HTTPBearer(
    scheme_name="key",
    bearerFormat="blk_...",
    description="An API key of this service.",
    auto_error=False,
)
TOKEN = HTTPBearer(
    scheme_name="token",
    bearerFormat="JWT",
    description="A token of the issuer that this service trusts.",
    auto_error=False,
)


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides which requests are served. `rate` is None where requests are not limited."""

    admission: Admission
    rate: RateLimit | None
    open_metrics: bool

    @property
    def at_once(self) -> bool:
        """Whether `admit` waits for nothing."""
        return self.rate is None and not self.admission.on

    def admit(self, request: Request, scope: Scope) -> Caller:
        """Who sends the request, who may do so. It may wait for Redis or an issuer of tokens.

        Raises:
            UnauthorizedError: the caller is not known.
            RateLimitedError: it has sent too many requests.
            ForbiddenError: it lacks the scope.
            AccessUnavailableError: who it is can't be told at the moment.
        """
        headers = request.headers.getlist("authorization")
        caller = self.admission.caller(headers, local=is_local(request))
        if self.rate is not None:
            self.rate.take(caller)
        if not caller.may(scope):
            raise ForbiddenError(f"this asks for the scope {scope}, which you do not have")
        return caller

    def count(self, caller: Caller, pictures: int) -> None:
        """Count the pictures of a request that was admitted, beyond the first. It may wait for
        Redis.

        Raises:
            RateLimitedError: these are too many of late.
        """
        if self.rate is not None and pictures > 1:
            self.rate.take(caller, pictures - 1)


def is_local(request: Request) -> bool:
    """Whether the address at which the request came in is one of this machine alone.

    It is the connection's own address, not one that a header names.
    """
    server = request.scope.get("server")
    if server is None:
        return False
    host, port = server
    unix_socket = port is None and "/" in host
    return unix_socket or is_loopback(host)


async def admitted(
    request: Request,
    scopes: SecurityScopes,
    key: Annotated[Any, Security(KEY)],
    token: Annotated[Any, Security(TOKEN)],
) -> Caller:
    """The caller, who has the one scope that the route asks for; `Guard.admit` says what it raises.

    `key` and `token` are there for the API's description; the guard reads the header itself.
    """
    guard: Guard = request.app.state.guard
    (scope,) = scopes.scopes
    if guard.at_once:
        return guard.admit(request, Scope(scope))
    return await run_in_threadpool(guard.admit, request, Scope(scope))


async def scraping(
    request: Request,
    scopes: SecurityScopes,
    key: Annotated[Any, Security(KEY)],
    token: Annotated[Any, Security(TOKEN)],
) -> Caller:
    """Like `admitted`, unless the metrics are open to everybody."""
    if request.app.state.guard.open_metrics:
        return ANYBODY
    return await admitted(request, scopes, key, token)


Submitter = Annotated[Caller, Security(admitted, scopes=[Scope.SUBMIT.value])]
Reader = Annotated[Caller, Security(admitted, scopes=[Scope.READ.value])]
OriginalReader = Annotated[Caller, Security(admitted, scopes=[Scope.READ_ORIGINAL.value])]
Deleter = Annotated[Caller, Security(admitted, scopes=[Scope.DELETE.value])]
Watcher = Annotated[Caller, Security(scraping, scopes=[Scope.ADMIN.value])]
"""What a route names as the type of its caller, to ask for that scope."""
