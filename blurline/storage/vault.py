"""Originals under control: kept encrypted, kept as they are, or not kept.

Each original has a key of its own (the data key), which is kept beside it in wrapped form, that is
encrypted by a master key that never enters the store. Without the wrapped key the original can't be
read by anybody any more, wherever versions or backups of it remain. That holds as long as no
versions or backups of the wrapped keys remain: keep them out of backups, and see
`blurline.storage.retention` for buckets that keep versions.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blurline.certificate import keyfile
from blurline.errors import BlurlineError, SettingsError
from blurline.imaging.kind import Kind
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.store import Store

KEY_BITS = 256
NONCE_BYTES, TAG_BYTES = 12, 16  # NIST SP 800-38D, 5.2.1
KEY_ID_BYTES = 8

ORIGINAL_FORMAT = b"BLO1"
"""Encrypted originals begin with it, and no picture does. The nonce follows, then the picture,
encrypted, with the tag at its end."""

WRAPPED_FORMAT = b"BLK1"
"""Keys that `MasterKeys` wraps begin with it. The master key's id follows, then the nonce, then the
data key, encrypted, with the tag at its end."""

BYTES = "application/octet-stream"


class Originals(StrEnum):
    """What becomes of originals. `DELETE`: encrypted while the job waits, forgotten at its end."""

    DELETE = "delete"
    ENCRYPT = "encrypt"
    KEEP = "keep"


class OriginalUnreadableError(BlurlineError):
    """An original or its key was altered, swapped, or wrapped by a master key that is not here."""

    code = "original_unreadable"


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
        self._keys = {_master_key_id(key): AESGCM(key) for key in master_keys}
        self._first = next(iter(self._keys))

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.wrap`."""
        head = WRAPPED_FORMAT + self._first
        nonce = os.urandom(NONCE_BYTES)
        return head + nonce + self._keys[self._first].encrypt(nonce, data_key, head + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.unwrap`."""
        head, rest = _split(wrapped, len(WRAPPED_FORMAT) + KEY_ID_BYTES)
        master_key = self._keys.get(bytes(head).removeprefix(WRAPPED_FORMAT))
        if master_key is None:
            raise OriginalUnreadableError("the original's key is not wrapped by a known master key")
        return _decrypted(master_key, rest, head + context)


@dataclass(frozen=True, slots=True)
class OriginalsVault:
    """The originals in a store. All methods may be called again after they failed half-way.

    Any method may raise `StoreUnavailableError`, and what the wrapper raises.

    Attributes:
        key_store: where the wrapped keys are; without it, in `store`.
    """

    store: Store
    wrapper: KeyWrapper
    policy: Originals = Originals.ENCRYPT
    key_store: Store | None = None

    def put(self, job_id: str, kind: Kind, data: bytes) -> None:
        """Write the job's original, encrypted unless the policy is `KEEP`.

        The key is written before the picture and stays the same if the job's original is put again,
        so a crash in between, or two calls at the same time, leave nothing that can't be read.

        Raises:
            OriginalUnreadableError: the job has a key already, which can't be used.
        """
        name = keys.original(job_id, kind)
        if self.policy is Originals.KEEP:
            self.store.put(name, data, kind.content_type)
            return
        nonce, cipher = os.urandom(NONCE_BYTES), AESGCM(self._key_for_writing(job_id))
        encrypted = cipher.encrypt(nonce, data, _bound_to(name))
        self.store.put(name, ORIGINAL_FORMAT + nonce + encrypted, BYTES)

    def get(self, job_id: str, kind: Kind) -> bytes | None:
        """The job's original as it was put, or None if it never was or has been forgotten.

        Originals that were encrypted under another policy are read too; plain ones are read by
        `KEEP` alone, since nothing would tell whether somebody had put them there.

        Raises:
            OriginalUnreadableError: it is not as it was put, or can't be decrypted.
        """
        key_name, name = keys.data_key(job_id), keys.original(job_id, kind)
        wrapped, stored = self._keys.get(key_name), self.store.get(name)
        if stored is None:
            return None
        if wrapped is not None:
            head, rest = _split(stored, len(ORIGINAL_FORMAT))
            if head != ORIGINAL_FORMAT:
                raise OriginalUnreadableError("the original is not of a format that is known here")
            data_key = self.wrapper.unwrap(wrapped, key_name.encode())
            return _decrypted(AESGCM(data_key), rest, _bound_to(name))
        if stored.startswith(ORIGINAL_FORMAT):
            return None
        if self.policy is not Originals.KEEP:
            raise OriginalUnreadableError("the original is not encrypted, but has to be")
        return stored

    def forget(self, job_id: str, kind: Kind) -> None:
        """Make the job's original unreadable for good, then remove it; nothing happens without one.

        The key goes first, so whatever happens in between, nobody can read the rest.
        """
        self._keys.delete(keys.data_key(job_id))
        self.store.delete(keys.original(job_id, kind))

    def job_ended(self, job_id: str, kind: Kind) -> bool:
        """Forget the original if the policy is `DELETE`; whether it is."""
        if self.policy is not Originals.DELETE:
            return False
        self.forget(job_id, kind)
        return True

    @property
    def _keys(self) -> Store:
        return self.key_store or self.store

    def _key_for_writing(self, job_id: str) -> bytes:
        """The job's data key, made if it has none. Of several callers at once all get the same."""
        name, fresh = keys.data_key(job_id), AESGCM.generate_key(KEY_BITS)
        if self._keys.create(name, self.wrapper.wrap(fresh, name.encode()), BYTES):
            return fresh
        wrapped = self._keys.get(name)
        if wrapped is None:
            raise OriginalUnreadableError("the original was forgotten while it was written")
        return self.wrapper.unwrap(wrapped, name.encode())


def open_vault(settings: Settings, store: Store) -> OriginalsVault:
    """The originals in the store, as the settings want them kept.

    Raises:
        SettingsError: the store is shared, but the master keys would be this machine's own.
    """
    policy = Originals(settings.originals)
    shared = settings.s3_bucket or (settings.store_url or "file:").partition(":")[0] != "file"
    if shared and not settings.master_key_file and policy is not Originals.KEEP:
        raise SettingsError(
            "a store that machines share needs a master key that they share: set MASTER_KEY_FILE "
            "(`openssl rand -base64 32` makes its content), or ORIGINALS=keep"
        )
    wrapper = load_master_keys(settings.master_key_file, settings.data_dir)
    return OriginalsVault(store, wrapper, policy)


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
        return MasterKeys(_master_keys(keyfile.made_once(place, _new_master_key)))
    return MasterKeys(_master_keys(keyfile.read_key(path)))


def _master_keys(content: bytes) -> list[bytes]:
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


def _new_master_key() -> bytes:
    return b64encode(AESGCM.generate_key(KEY_BITS)) + b"\n"


def _master_key_id(key: bytes) -> bytes:
    return sha256(b"blurline master key" + key).digest()[:KEY_ID_BYTES]


def _bound_to(name: str) -> bytes:
    """What an original is decrypted with beside its key: another one in its place won't do."""
    return ORIGINAL_FORMAT + name.encode()


def _split(data: bytes, at: int) -> tuple[bytes, memoryview]:
    """The first bytes, and a view of the others, since a copy of a picture would cost time."""
    return data[:at], memoryview(data)[at:]


def _decrypted(cipher: AESGCM, data: memoryview, associated: bytes) -> bytes:
    """What was encrypted from its nonce, itself and its tag."""
    if len(data) >= NONCE_BYTES + TAG_BYTES:
        try:
            return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], associated)
        except InvalidTag:
            pass
    raise OriginalUnreadableError("the original or its key is not as it was written")
