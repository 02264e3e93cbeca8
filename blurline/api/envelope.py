"""What every request and every answer has, whatever the route: an id, headers, an end."""

import logging
import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blurline.api.errors import error_response
from blurline.errors import BlurlineError
from blurline.log import about, outline

REQUEST_ID = "X-Request-ID"
SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What is taken over from a caller: it comes into logs, so it can't hold spaces or line ends."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
"""On each answer that does not say otherwise itself."""

UNEXPECTED = "something went wrong on our side; the log of the service says more"

log = logging.getLogger(__name__)


def stamp(headers: MutableHeaders, request_id: str) -> None:
    """Give an answer what all of them have."""
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers[REQUEST_ID] = request_id


class Envelope:
    """ASGI middleware: gives each request an id, and its answer the id and the headers.

    The outermost of all, so that errors and preflight answers have them too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; every line that is logged on the way names its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if SANE_ID.fullmatch(given) else str(uuid4())

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                stamp(MutableHeaders(scope=message), request_id)
            await send(message)

        with about(request_id=request_id):
            await self._app(scope, receive, stamped)


class LastResort:
    """ASGI middleware: an error that nobody expected is logged without its words, and answered.

    The innermost, since a server that hears of such an error would log its message, and with it
    perhaps what was sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            BlurlineError: the answer had begun, so all that is left is to break it off.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            log.error("a request met an error that nobody expected: %s", outline(error))
            if begun:
                raise BlurlineError("the answer was broken off") from None
            await error_response(BlurlineError(UNEXPECTED))(scope, receive, send)
