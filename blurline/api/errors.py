"""Every error as one JSON shape: `{"error": {"code", "message"}}`."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from blurline.errors import BlurlineError, PictureError, TooManyError, UnauthorizedError

STATUS_OF_CODE = {
    "no_file": 400,
    "not_an_image": 400,
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_ready": 409,
    "job_failed": 409,
    "precondition_failed": 412,
    "too_many_bytes": 413,
    "too_many_pixels": 413,
    "too_many_files": 413,
    "unsupported_kind": 415,
    "animation": 415,
    "bad_range": 416,
    "bad_option": 422,
    "model_missing": 422,
    "idempotency_mismatch": 422,
    "queue_full": 429,
    "rate_limited": 429,
    "head_too_large": 431,
    "queue_unavailable": 503,
    "store_unavailable": 503,
    "access_unavailable": 503,
    "busy": 503,
}
"""The HTTP status of each error code that a request can be answered with; all others are 500."""

RETRY_SECONDS = 5
"""What `Retry-After` says while Redis or the store is away."""


class RequestError(BlurlineError):
    """A request that can't be served for a reason of HTTP's own.

    With `hang_up` the connection ends with the answer: the sender would go on with what nobody
    reads.
    """

    code = "bad_request"

    def __init__(self, message: str, *, code: str | None = None, hang_up: bool = False) -> None:
        super().__init__(message, code=code)
        self.hang_up = hang_up


def error_response(error: BlurlineError) -> JSONResponse:
    """The answer to a request that ended in `error`."""
    # What is wrong with a picture is never a fault of ours, whatever its code.
    otherwise = 400 if isinstance(error, PictureError) else 500
    status = STATUS_OF_CODE.get(error.code, otherwise)
    headers = {}
    if isinstance(error, TooManyError):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, UnauthorizedError):
        # RFC 6750, 3.1: who has sent nothing is not told of an error.
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if error.invalid else "Bearer"
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, RequestError) and error.hang_up:
        headers["Connection"] = "close"
    content = {"error": {"code": error.code, "message": error.message}}
    return JSONResponse(content, status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make the app answer every error in the one shape, its framework's own included."""

    @app.exception_handler(BlurlineError)
    async def of_ours(request: Request, error: BlurlineError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return error_response(RequestError(f"{place}: {first['msg']}", code="bad_option"))

    @app.exception_handler(HTTPException)
    async def of_framework(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        response = error_response(RequestError(str(error.detail), code=code))
        response.headers.update(error.headers or {})
        if response.headers.get("Allow") == "GET":
            response.headers["Allow"] = "GET, HEAD"  # which has a route of its own, see `heads`
        return response
