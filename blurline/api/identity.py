"""What an upload is known again by, so that one that was sent twice becomes one job.

The header `Idempotency-Key` is that of the IETF draft `draft-ietf-httpapi-idempotency-key-header`:
a text of the caller's own choice, which it sends again with each try of the same request.
"""

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter
from starlette.datastructures import Headers

from blurline.api.errors import RequestError
from blurline.imaging.kind import OutputFormat
from blurline.queue.claims import Mark
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline

HEADER, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"
LONGEST_KEY = 255
KEY = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_KEY}}}")

_OPTIONS = TypeAdapter(Options)
_NEW = {"output_format": OutputFormat.SAME, "upright": False}
"""Options that were not always there, and what held before."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a caller chose: a pipeline, options for it, and where to report the end to.

    `owner` is the id of that caller, None where nobody was asked.
    """

    pipeline: Pipeline
    options: Options
    owner: str | None = None
    callback_url: str | None = None


class Noun(StrEnum):
    """What an upload holds."""

    PICTURE = "picture"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Identity:
    """Gives uploads their marks.

    Attributes:
        secret: that all processes of the API share; it keeps what was sent out of the marks.
        by_content: whether uploads without a key are known again too.
    """

    secret: bytes
    by_content: bool

    def of_picture(self, digest: bytes, choice: Choice, key: str | None) -> Mark | None:
        """The mark of a single picture; None if it is not to be known again.

        Args:
            digest: of the picture's file, by `digest_of`.
        """
        if key is not None:
            return self._by_key(Noun.PICTURE, [digest], choice, [key])
        if not self.by_content:
            return None
        words = ["content", choice.owner, *_sent(Noun.PICTURE, [digest], choice)]
        return Mark(self._keyed(words), "")

    def of_batch(self, digests: Sequence[bytes], choice: Choice, key: str) -> Mark:
        """The mark of a batch that has a key."""
        return self._by_key(Noun.BATCH, digests, choice, [key])

    def of_file(self, digest: bytes, choice: Choice, key: str | None, number: int) -> Mark | None:
        """The mark of a file of a batch: of its place in it if the batch has a key."""
        if key is None:
            return self.of_picture(digest, choice, None)
        return self._by_key(Noun.PICTURE, [digest], choice, [key, number])

    def _by_key(
        self, noun: Noun, digests: Sequence[bytes], choice: Choice, words: list[Any]
    ) -> Mark:
        content = self._keyed(_sent(noun, digests, choice))
        return Mark(self._keyed(["key", choice.owner, *words]), content)

    def _keyed(self, words: list[Any]) -> str:
        return hmac.digest(self.secret, json.dumps(words).encode(), "sha256").hex()


def digest_of(data: bytes) -> bytes:
    """What a file's content is told apart by."""
    return sha256(data).digest()


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


def _sent(noun: Noun, digests: Sequence[bytes], choice: Choice) -> list[Any]:
    """All that makes two uploads the same but for who sends them. Names of files do not."""
    options = _OPTIONS.dump_python(choice.options, mode="json")
    for name, before in _NEW.items():  # so that uploads of before there was a choice are known
        if options[name] == before:
            del options[name]
    hexes = [digest.hex() for digest in digests]
    return [noun.value, hexes, choice.pipeline.name, options, choice.callback_url]
