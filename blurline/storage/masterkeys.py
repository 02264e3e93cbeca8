"""The keys that wrap the originals' own keys, and never enter the store."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from blurline.certificate import keyfile
from blurline.errors import SettingsError
from blurline.settings import Settings
from blurline.storage.sealing import (
    KEY_BITS,
    OriginalUnreadableError,
    new_key,
    opened,
    sealed,
    split,
)
from blurline.storage.signet import Signet

KEY_ID_BYTES = 8

WRAPPED_FORMAT = b"BLK1"
"""Keys that `MasterKeys` wraps begin with it. The master key's id follows, then the nonce, then the
data key, encrypted, with the tag at its end."""


class KeyWrapper(Protocol):
    """What turns data keys into a form that may lie in the store: master keys here, or a KMS."""

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The key of 32 bytes in wrapped form, bound to the context, which is not secret.

        Raises:
            TemporaryError: a service that does it is away.
        """

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key from `wrap`'s answer for the same context.

        Raises:
            OriginalUnreadableError: it is not such an answer.
            TemporaryError: a service that does it is away.
        """


class MasterKeys:
    """Wraps by AES-256-GCM with the first of several keys; all of them unwrap.

    To change the master key, put a new one before the old one. The old one can leave the file when
    no original that it wrapped the key of is kept any more. One master key should wrap at most
    2**32 keys (NIST SP 800-38D, 8.3).
    """

    def __init__(self, master_keys: Sequence[bytes]) -> None:
        self._keys = {_id_of(key): key for key in master_keys}
        self._first = next(iter(self._keys))

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.wrap`."""
        head = WRAPPED_FORMAT + self._first
        return sealed(self._keys[self._first], data_key, head + context, head=head)

    def derived(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for that purpose, out of the first master key and no way back to it."""
        return _derived(self._keys[self._first], purpose)

    def signet(self, purpose: bytes) -> Signet:
        """Keys for that purpose, out of all master keys."""
        return Signet([_derived(key, purpose) for key in self._keys.values()])

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.unwrap`."""
        head, rest = split(wrapped, len(WRAPPED_FORMAT) + KEY_ID_BYTES)
        master_key = self._keys.get(bytes(head).removeprefix(WRAPPED_FORMAT))
        if master_key is None:
            raise OriginalUnreadableError("the original's key is not wrapped by a known master key")
        return opened(master_key, rest, head + context)


def load_master_keys(path: Path | None, data_dir: Path) -> MasterKeys:
    """The master keys in the file at `path`, or without one the key of the data folder.

    A line of the file holds 32 random bytes in base64, as `openssl rand -base64 32` writes them;
    empty lines and those that begin with # do not count. The data folder's own key is made at the
    first call, as `keys/master.key`. Processes on several machines have no common data folder: they
    need a common file at `path`. Who loses the file loses the originals.

    Raises:
        SettingsError: the file can't be used.
    """
    if path is None:
        place = data_dir / keyfile.FOLDER / "master.key"
        return MasterKeys(_parsed(keyfile.made_once(place, _new_line)))
    return MasterKeys(_parsed(keyfile.read_key(path)))


def signet_of(settings: Settings, purpose: bytes) -> Signet:
    """The keys for that purpose, by the master keys that the settings name.

    Raises:
        SettingsError: the file of master keys can't be used.
    """
    return load_master_keys(settings.master_key_file, settings.data_dir).signet(purpose)


def _derived(master_key: bytes, purpose: bytes) -> bytes:
    """By HKDF-SHA256 (RFC 5869), without salt since the master key is random already."""
    return HKDF(SHA256(), KEY_BITS // 8, salt=None, info=b"blurline " + purpose).derive(master_key)


def _parsed(content: bytes) -> list[bytes]:
    lines = [line.strip() for line in content.splitlines()]
    try:
        found = [b64decode(line, validate=True) for line in lines if line and line[:1] != b"#"]
    except ValueError:
        found = []
    if not found or any(8 * len(key) != KEY_BITS for key in found):
        # The error in base64 would quote the key, so it is not passed on.
        raise SettingsError(
            "the file of master keys has to hold, a line each, 32 bytes in base64: "
            "`openssl rand -base64 32` makes one"
        )
    return found


def _new_line() -> bytes:
    return b64encode(new_key()) + b"\n"


def _id_of(key: bytes) -> bytes:
    return sha256(b"blurline master key" + key).digest()[:KEY_ID_BYTES]
