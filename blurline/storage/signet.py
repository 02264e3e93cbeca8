"""Keys by which this service knows again what it has written itself, wherever that lay meanwhile.

Redis and the store are written to by others too, as soon as somebody has their passwords. So what
decides whose a job is, or where something is sent, carries a tag that only holders of a master key
can make.
"""

import hmac
from collections.abc import Sequence

from blurline.storage.sealing import OriginalUnreadableError, opened, sealed

TAG_LENGTH = 64
"""Hex digits of a tag."""


class Signet:
    """Keys for one purpose: the first one writes, all of them are believed.

    What is written is bound to a name, such as a job's id, so that it counts for no other. Tags are
    HMAC-SHA256 (RFC 2104) over the name's length, the name and the content.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def tag(self, name: str, content: bytes) -> str:
        """The tag of the content under that name, in hex."""
        return _tag(self._keys[0], name, content)

    def holds(self, tag: str, name: str, content: bytes) -> bool:
        """Whether `tag` gave that tag for the name and the content."""
        given = tag.encode()
        return any(hmac.compare_digest(_tag(k, name, content).encode(), given) for k in self._keys)

    def closed(self, name: str, content: bytes) -> bytes:
        """The content, encrypted: for what is nobody's to read either."""
        return sealed(self._keys[0], content, name.encode())

    def opened(self, name: str, content: bytes) -> bytes | None:
        """What `closed` was given under that name; None if it did not write this."""
        for key in self._keys:
            try:
                return opened(key, memoryview(content), name.encode())
            except OriginalUnreadableError:
                continue
        return None


def _tag(key: bytes, name: str, content: bytes) -> str:
    bound = name.encode()
    return hmac.digest(key, len(bound).to_bytes(4, "big") + bound + content, "sha256").hex()
