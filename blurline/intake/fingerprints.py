"""What an upload is known again by, so that one that was sent twice becomes one job."""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from blurline.jobs import earlier
from blurline.queue.claims import Fingerprint
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Chain


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a caller asks for: pipelines, values of their options, and where to report the end to.

    `owner` is the id of that caller, None where nobody was asked.
    """

    chain: Chain
    options: Values
    owner: str | None = None
    callback_url: str | None = None


class Noun(StrEnum):
    """What an upload holds."""

    PICTURE = "picture"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Gives uploads their marks.

    Attributes:
        secret: that all processes of the API share; it keeps what was sent out of the marks.
        by_content: whether uploads without a key are known again too.
    """

    secret: bytes
    by_content: bool

    def of_picture(self, digest: bytes, request: JobRequest, key: str | None) -> Fingerprint | None:
        """The fingerprint of a single picture; None if it is not to be known again.

        Args:
            digest: of the picture's file, by `digest_of`.
        """
        if key is not None:
            return self._by_key(Noun.PICTURE, [digest], request, [key])
        if not self.by_content:
            return None
        words = ["content", request.owner, *_sent(Noun.PICTURE, [digest], request)]
        return Fingerprint(self._keyed(words), "")

    def of_batch(self, digests: Sequence[bytes], request: JobRequest, key: str) -> Fingerprint:
        """The fingerprint of a batch that has a key."""
        return self._by_key(Noun.BATCH, digests, request, [key])

    def of_file(
        self, digest: bytes, request: JobRequest, key: str | None, number: int
    ) -> Fingerprint | None:
        """The fingerprint of a file of a batch: of its place in it if the batch has a key."""
        if key is None:
            return self.of_picture(digest, request, None)
        return self._by_key(Noun.PICTURE, [digest], request, [key, number])

    def _by_key(
        self, noun: Noun, digests: Sequence[bytes], request: JobRequest, words: list[Any]
    ) -> Fingerprint:
        content = self._keyed(_sent(noun, digests, request))
        return Fingerprint(self._keyed(["key", request.owner, *words]), content)

    def _keyed(self, words: list[Any]) -> str:
        return hmac.digest(self.secret, json.dumps(words).encode(), "sha256").hex()


def digest_of(data: bytes) -> bytes:
    """What a file's content is told apart by."""
    return sha256(data).digest()


def _sent(noun: Noun, digests: Sequence[bytes], request: JobRequest) -> list[Any]:
    """All that makes two uploads the same but for who sends them. Names of files do not."""
    options = earlier.spelled(request.options)
    hexes = [digest.hex() for digest in digests]
    return [noun.value, hexes, request.chain.name, options, request.callback_url]
