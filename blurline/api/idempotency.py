"""The header `Idempotency-Key`, by which a caller marks the tries of one request.

It is that of the IETF draft `draft-ietf-httpapi-idempotency-key-header`: a text of the caller's own
choice, which it sends again with each try of the same request.
"""

import re

from starlette.datastructures import Headers

from blurline.api.errors import RequestError

HEADER, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"
LONGEST_KEY = 255
KEY = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_KEY}}}")


def key_of(headers: Headers) -> str | None:
    """The request's `Idempotency-Key`, with or without the quotes of the draft; None without one.

    Raises:
        RequestError: there are several, or it is empty, too long, or not printable ASCII.
    """
    found = headers.getlist(HEADER)
    if not found:
        return None
    text = found[0].strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(found) > 1 or not KEY.fullmatch(text):
        raise RequestError(
            f"{HEADER} must be one text of 1 to {LONGEST_KEY} printable characters without spaces"
        )
    return text
