"""Originals under control: kept encrypted, kept as they are, or not kept.

Each original has a small file beside it. It holds the original's own key (the data key) in wrapped
form, that is encrypted by a master key that never enters the store, and what is to be done with the
original (the order), encrypted by the data key in any case. So the store knows all of a job before
the queue does, a queue that was lost can be made anew out of it, and nobody who has the store alone
can write an order or change one.

Without the wrapped key the original can't be read by anybody any more, wherever versions or backups
of it remain. That holds as long as no versions or backups of the wrapped keys remain: keep them out
of backups, and see `blurline.storage.retention` for buckets that keep versions.
"""

from dataclasses import dataclass
from enum import StrEnum

from blurline.errors import SettingsError
from blurline.imaging.kind import Kind
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.masterkeys import KeyWrapper, load_master_keys
from blurline.storage.sealing import OriginalUnreadableError, new_key, opened, sealed, split
from blurline.storage.store import Store

ORIGINAL_FORMAT = b"BLO1"
"""Encrypted originals begin with it, and no picture does. The nonce follows, then the picture,
encrypted, with the tag at its end."""

SEALED_FORMAT, KEPT_FORMAT = b"BLJ1", b"BLP1"
"""Small files begin with one of them, the second one those of plain originals. Behind it are the
length of the wrapped key in two bytes, the wrapped key, the nonce, and the order, encrypted, with
the tag at its end."""

PLAIN_FORMAT = b"PLAN"
"""So small files of earlier versions begin, which under `KEEP` wrote the order as it is behind it:
anybody could have written that, so it is no order."""

LENGTH_BYTES = 2
TRIES = 3

BYTES = "application/octet-stream"


class Originals(StrEnum):
    """What becomes of originals. `DELETE`: encrypted while the job waits, forgotten at its end."""

    DELETE = "delete"
    ENCRYPT = "encrypt"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class JobFile:
    """What a job's small file says: the order, and the original's key, None for a plain one. Files
    of earlier versions beside plain originals say nothing."""

    order: bytes = b""
    data_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class OriginalsVault:
    """The originals in a store. All methods may be called again after they failed half-way.

    Any method may raise `StoreUnavailableError`, and what the wrapper raises.

    Attributes:
        key_store: where the small files are; without it, in `store`.
    """

    store: Store
    wrapper: KeyWrapper
    policy: Originals = Originals.ENCRYPT
    key_store: Store | None = None

    def put(self, job_id: str, kind: Kind, data: bytes, order: bytes = b"") -> None:
        """Write the job's order and its original, encrypted unless the policy is `KEEP`.

        The small file is written before the picture and stays as it is if the job's original is put
        again, so a crash in between, or two calls at the same time, leave nothing that can't be
        read. Of several orders the first stays.

        Raises:
            OriginalUnreadableError: the job has a small file already, which can't be used.
        """
        name = keys.original(job_id, kind)
        data_key = self._key_for_writing(job_id, order)
        if data_key is None:
            self.store.put(name, data, kind.content_type)
            return
        content = sealed(data_key, data, _bound_to(name), head=ORIGINAL_FORMAT)
        self.store.put(name, content, BYTES)

    def get(self, job_id: str, kind: Kind, file: JobFile | None = None) -> bytes | None:
        """The job's original as it was put, or None if it never was or has been forgotten.

        Originals that were encrypted under another policy are read too; plain ones are read by
        `KEEP` alone, since nothing would tell whether somebody had put them there.

        Args:
            file: what `open` has given for the job; it is opened here if not.

        Raises:
            OriginalUnreadableError: it is not as it was put, or can't be decrypted.
        """
        name = keys.original(job_id, kind)
        file, stored = file or self.open(job_id), self.store.get(name)
        if stored is None:
            return None
        if file is not None and file.data_key is not None:
            head, rest = split(stored, len(ORIGINAL_FORMAT))
            if head != ORIGINAL_FORMAT:
                raise OriginalUnreadableError("the original is not of a format that is known here")
            return opened(file.data_key, rest, _bound_to(name))
        if stored.startswith(ORIGINAL_FORMAT):
            return None
        if self.policy is not Originals.KEEP:
            raise OriginalUnreadableError("the original is not encrypted, but has to be")
        return stored

    def order(self, job_id: str) -> bytes | None:
        """The job's order as it was put first, or None if it never was or has been forgotten.

        Raises:
            OriginalUnreadableError: the small file is not as it was put, or can't be decrypted.
        """
        file = self.open(job_id)
        return None if file is None else file.order

    def open(self, job_id: str) -> JobFile | None:
        """What the job's small file says; None if it has none.

        Raises:
            OriginalUnreadableError: the small file is not as it was put, or can't be decrypted.
        """
        name = keys.data_key(job_id)
        content = self._keys.get(name)
        if content is None:
            return None
        head, rest = content[: len(SEALED_FORMAT)], content[len(SEALED_FORMAT) :]
        if head == PLAIN_FORMAT and self.policy is Originals.KEEP:
            return JobFile()
        if head not in (SEALED_FORMAT, KEPT_FORMAT):
            raise OriginalUnreadableError("the job's file is not of a format that is known here")
        end = LENGTH_BYTES + int.from_bytes(rest[:LENGTH_BYTES], "big")
        key = self.wrapper.unwrap(rest[LENGTH_BYTES:end], name.encode())
        order = opened(key, memoryview(rest)[end:], head + name.encode())
        return JobFile(order, None if head == KEPT_FORMAT else key)

    def forget_order(self, job_id: str) -> None:
        """Remove the small file, and with it the key; nothing happens without one."""
        self._keys.delete(keys.data_key(job_id))

    def forget(self, job_id: str, kind: Kind) -> None:
        """Make the job's original unreadable for good, then remove it; nothing happens without one.

        The key goes first, so whatever happens in between, nobody can read the rest.
        """
        self.forget_order(job_id)
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

    def _key_for_writing(self, job_id: str, order: bytes) -> bytes | None:
        """The job's data key, made with the small file if it has none; None for a plain original.

        Of several callers at once all get the same.
        """
        fresh, plain = new_key(), self.policy is Originals.KEEP
        content = self._sealed(job_id, fresh, order, KEPT_FORMAT if plain else SEALED_FORMAT)
        for _ in range(TRIES):
            if self._keys.create(keys.data_key(job_id), content, BYTES):
                return None if plain else fresh
            if (found := self.open(job_id)) is not None:
                break  # else it was forgotten between the two
        else:
            raise OriginalUnreadableError("the original was forgotten while it was written")
        if found.data_key is None and not plain:
            raise OriginalUnreadableError("the original is not encrypted, but has to be")
        return found.data_key

    def _sealed(self, job_id: str, data_key: bytes, order: bytes, form: bytes) -> bytes:
        """The small file, with the order encrypted."""
        name = keys.data_key(job_id).encode()
        wrapped = self.wrapper.wrap(data_key, name)
        head = form + len(wrapped).to_bytes(LENGTH_BYTES, "big") + wrapped
        return sealed(data_key, order, form + name, head=head)


def open_vault(settings: Settings, store: Store) -> OriginalsVault:
    """The originals in the store, as the settings want them kept.

    Raises:
        SettingsError: the store is shared, but the master keys would be this machine's own.
    """
    policy = Originals(settings.originals)
    shared = settings.s3_bucket or (settings.store_url or "file:").partition(":")[0] != "file"
    if shared and not settings.master_key_file:
        # With ORIGINALS=keep too: orders and records are sealed and tagged in any case.
        raise SettingsError(
            "a store that machines share needs a master key that they share: set MASTER_KEY_FILE "
            "(`openssl rand -base64 32` makes its content)"
        )
    wrapper = load_master_keys(settings.master_key_file, settings.data_dir)
    return OriginalsVault(store, wrapper, policy)


def _bound_to(name: str) -> bytes:
    """What an original is decrypted with beside its key: another one in its place won't do."""
    return ORIGINAL_FORMAT + name.encode()
