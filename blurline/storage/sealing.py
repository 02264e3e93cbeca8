"""Bytes encrypted by AES-256-GCM, with the nonce before them and the tag at their end."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blurline.errors import BlurlineError

KEY_BITS = 256
NONCE_BYTES, TAG_BYTES = 12, 16  # NIST SP 800-38D, 5.2.1


class OriginalUnreadableError(BlurlineError):
    """An original or its key was altered, swapped, or wrapped by a master key that is not here."""

    code = "original_unreadable"


def new_key() -> bytes:
    """A random key of 32 bytes."""
    return AESGCM.generate_key(KEY_BITS)


def sealed(key: bytes, data: bytes, bound: bytes, *, head: bytes = b"") -> bytes:
    """The head as it is, then nonce, encrypted data and tag; only with `bound` are they opened."""
    nonce = os.urandom(NONCE_BYTES)
    return head + nonce + AESGCM(key).encrypt(nonce, data, bound)


def opened(key: bytes, data: memoryview, bound: bytes) -> bytes:
    """The data out of what `sealed` wrote behind its head.

    Raises:
        OriginalUnreadableError: key or `bound` are others, or a byte was altered.
    """
    if len(data) >= NONCE_BYTES + TAG_BYTES:
        try:
            return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
        except InvalidTag:
            pass
    raise OriginalUnreadableError("the original or its key is not as it was written")


def split(data: bytes, at: int) -> tuple[bytes, memoryview]:
    """The first bytes, and a view of the others, since a copy of a picture would cost time."""
    return data[:at], memoryview(data)[at:]
