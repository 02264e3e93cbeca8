"""What the vault promises: nobody reads an original without its key, or with another's."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from uuid import UUID

import pytest

from blurline.errors import StoreUnavailableError
from blurline.imaging.encode import encode
from blurline.imaging.kind import Kind
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.masterkeys import MasterKeys, load_master_keys
from blurline.storage.objects import FolderStore, open_store
from blurline.storage.sealing import OriginalUnreadableError
from blurline.storage.store import Store
from blurline.storage.vault import KEPT_FORMAT, Originals, OriginalsVault
from tests.parts import S3Server, drawing, files_below, needs_s3

PICTURE = encode(drawing(64, 48), Kind.JPEG, 90)
JOB, OTHER = str(UUID(int=7 << 120)), str(UUID(int=8 << 120))
ENCRYPTING = [Originals.ENCRYPT, Originals.DELETE]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def vault(store: Store, tmp_path: Path) -> OriginalsVault:
    """A vault that encrypts, as it is by default."""
    return OriginalsVault(store, load_master_keys(None, tmp_path))


def place(store: Store, name: str) -> bytes:
    """The object, which has to be there."""
    data = store.get(name)
    assert data is not None
    return data


def with_one_byte_flipped(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        yield data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def pieces(picture: bytes) -> list[bytes]:
    """Parts of a picture long enough that they are nowhere else by chance."""
    return [picture[start : start + 16] for start in range(0, len(picture) - 16, 16)]


@pytest.mark.parametrize("policy", Originals)
def test_an_original_comes_back_as_it_was_put(vault: OriginalsVault, policy: Originals) -> None:
    vault = replace(vault, policy=policy)
    vault.put(JOB, Kind.JPEG, PICTURE)
    assert vault.get(JOB, Kind.JPEG) == PICTURE


@pytest.mark.process
@needs_s3
def test_an_original_comes_back_from_a_real_server(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    vault = OriginalsVault(open_store(load_settings()), load_master_keys(None, tmp_path))
    vault.put(JOB, Kind.JPEG, PICTURE)
    vault.put(JOB, Kind.JPEG, PICTURE)
    assert vault.get(JOB, Kind.JPEG) == PICTURE
    assert vault.get(OTHER, Kind.JPEG) is None
    vault.forget(JOB, Kind.JPEG)
    vault.forget(JOB, Kind.JPEG)
    assert vault.get(JOB, Kind.JPEG) is None


@pytest.mark.parametrize("policy", ENCRYPTING)
def test_nothing_of_an_original_is_in_any_file(
    vault: OriginalsVault, tmp_path: Path, policy: Originals
) -> None:
    vault = replace(vault, policy=policy)
    vault.put(JOB, Kind.JPEG, PICTURE)
    vault.get(JOB, Kind.JPEG)
    files = files_below(tmp_path)
    assert len(files) == 3  # the original, its key, the master key
    for path in files:
        content = path.read_bytes()
        assert [piece for piece in pieces(PICTURE) if piece in content] == []


def test_a_kept_original_is_a_plain_picture(vault: OriginalsVault, store: Store) -> None:
    replace(vault, policy=Originals.KEEP).put(JOB, Kind.JPEG, PICTURE)
    assert store.get(keys.original(JOB, Kind.JPEG)) == PICTURE
    assert (store.get(keys.data_key(JOB)) or b"").startswith(KEPT_FORMAT)


@pytest.mark.parametrize("policy", Originals)
def test_what_is_to_be_done_is_kept_beside_the_original(
    vault: OriginalsVault, tmp_path: Path, policy: Originals
) -> None:
    vault, order = replace(vault, policy=policy), b"blur the faces in mister-x-at-home.jpg"
    vault.put(JOB, Kind.JPEG, PICTURE, order)
    vault.put(JOB, Kind.JPEG, PICTURE, b"something else")
    assert vault.order(JOB) == order
    assert vault.get(JOB, Kind.JPEG) == PICTURE
    assert vault.order(OTHER) is None
    shown = [path for path in files_below(tmp_path / "store") if order in path.read_bytes()]
    assert shown == []
    vault.forget(JOB, Kind.JPEG)
    assert vault.order(JOB) is None


def test_an_altered_order_is_noticed(vault: OriginalsVault, store: Store) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE, b"blur")
    for altered in with_one_byte_flipped(place(store, keys.data_key(JOB))):
        store.put(keys.data_key(JOB), altered, "image/jpeg")
        with pytest.raises(OriginalUnreadableError):
            vault.order(JOB)


@pytest.mark.parametrize("policy", Originals)
def test_an_original_that_never_was_is_none(vault: OriginalsVault, policy: Originals) -> None:
    assert replace(vault, policy=policy).get(JOB, Kind.JPEG) is None


@pytest.mark.parametrize("policy", Originals)
def test_without_its_key_an_original_is_gone_though_its_bytes_are_there(
    vault: OriginalsVault, store: Store, policy: Originals
) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    store.delete(keys.data_key(JOB))
    assert len(place(store, keys.original(JOB, Kind.JPEG))) > len(PICTURE)
    assert replace(vault, policy=policy).get(JOB, Kind.JPEG) is None


def test_an_original_put_back_from_a_backup_stays_unreadable(
    vault: OriginalsVault, store: Store
) -> None:
    name = keys.original(JOB, Kind.JPEG)
    vault.put(JOB, Kind.JPEG, PICTURE)
    backup = place(store, name)
    vault.forget(JOB, Kind.JPEG)
    store.put(name, backup, "image/jpeg")
    assert vault.get(JOB, Kind.JPEG) is None
    # Neither does the key that a new original of the job gets.
    vault.put(JOB, Kind.JPEG, b"another")
    store.put(name, backup, "image/jpeg")
    with pytest.raises(OriginalUnreadableError):
        vault.get(JOB, Kind.JPEG)


def test_forgetting_leaves_nothing_and_may_be_done_again(
    vault: OriginalsVault, tmp_path: Path
) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    vault.forget(JOB, Kind.JPEG)
    vault.forget(JOB, Kind.JPEG)
    assert files_below(tmp_path / "store") == []


def test_of_a_forgetting_that_stops_half_way_the_key_is_what_is_gone(
    vault: OriginalsVault, store: Store, tmp_path: Path
) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    place_of_the_original = tmp_path / "store" / keys.original(JOB, Kind.JPEG)
    ciphertext = place_of_the_original.read_bytes()
    # A folder in place of the file is something that the store can't remove.
    place_of_the_original.unlink()
    place_of_the_original.mkdir()
    (place_of_the_original / "in the way").touch()
    with pytest.raises(StoreUnavailableError):
        vault.forget(JOB, Kind.JPEG)
    (place_of_the_original / "in the way").unlink()
    place_of_the_original.rmdir()
    place_of_the_original.write_bytes(ciphertext)
    assert store.get(keys.data_key(JOB)) is None
    assert vault.get(JOB, Kind.JPEG) is None


@pytest.mark.parametrize(
    ("policy", "gone"),
    [(Originals.DELETE, True), (Originals.ENCRYPT, False), (Originals.KEEP, False)],
)
def test_at_a_jobs_end_an_original_goes_if_it_shall(
    vault: OriginalsVault, policy: Originals, gone: bool
) -> None:
    vault = replace(vault, policy=policy)
    vault.put(JOB, Kind.JPEG, PICTURE)
    assert vault.job_ended(JOB, Kind.JPEG) is gone
    assert (vault.get(JOB, Kind.JPEG) is None) is gone


@pytest.mark.parametrize("name", [keys.original(JOB, Kind.JPEG), keys.data_key(JOB)])
@pytest.mark.parametrize("policy", Originals)
def test_any_altered_byte_is_noticed(
    vault: OriginalsVault, store: Store, name: str, policy: Originals
) -> None:
    vault.put(JOB, Kind.JPEG, b"a picture that is as short as can be")
    vault = replace(vault, policy=policy)
    written = place(store, name)
    for altered in (*with_one_byte_flipped(written), written[:-1], written + b"\0", b"", PICTURE):
        store.put(name, altered, "image/jpeg")
        with pytest.raises(OriginalUnreadableError) as error:
            vault.get(JOB, Kind.JPEG)
        assert error.value.code == "original_unreadable"
    store.put(name, written, "image/jpeg")
    assert vault.get(JOB, Kind.JPEG) == b"a picture that is as short as can be"


@pytest.mark.parametrize(
    "swapped",
    [
        [lambda job: keys.original(job, Kind.JPEG)],
        [keys.data_key],
        [lambda job: keys.original(job, Kind.JPEG), keys.data_key],
    ],
    ids=["original", "key", "both"],
)
def test_what_belongs_to_one_job_is_refused_in_place_of_anothers(
    vault: OriginalsVault, store: Store, swapped: list[Callable[[str], str]]
) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    vault.put(OTHER, Kind.JPEG, PICTURE)
    for name in swapped:
        store.put(name(JOB), place(store, name(OTHER)), "image/jpeg")
    with pytest.raises(OriginalUnreadableError):
        vault.get(JOB, Kind.JPEG)


def test_an_original_is_refused_under_another_kind(vault: OriginalsVault, store: Store) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    stored = place(store, keys.original(JOB, Kind.JPEG))
    store.put(keys.original(JOB, Kind.PNG), stored, "image/png")
    with pytest.raises(OriginalUnreadableError):
        vault.get(JOB, Kind.PNG)


@pytest.mark.parametrize("policy", ENCRYPTING)
def test_a_plain_picture_is_not_taken_where_originals_are_encrypted(
    vault: OriginalsVault, store: Store, policy: Originals
) -> None:
    store.put(keys.original(JOB, Kind.JPEG), PICTURE, "image/jpeg")
    with pytest.raises(OriginalUnreadableError, match="not encrypted"):
        replace(vault, policy=policy).get(JOB, Kind.JPEG)


def test_an_original_put_again_can_be_read_at_any_moment(
    vault: OriginalsVault, store: Store
) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    before = place(store, keys.original(JOB, Kind.JPEG))
    vault.put(JOB, Kind.JPEG, b"another")
    assert vault.get(JOB, Kind.JPEG) == b"another"
    # As if the second call had ended before its last step.
    store.put(keys.original(JOB, Kind.JPEG), before, "image/jpeg")
    assert vault.get(JOB, Kind.JPEG) == PICTURE


def test_an_original_that_many_put_at_once_can_be_read(vault: OriginalsVault) -> None:
    barrier = Barrier(16)

    def put(number: int) -> None:
        barrier.wait()
        vault.put(JOB, Kind.JPEG, str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(16)))
    assert vault.get(JOB, Kind.JPEG) in [str(number).encode() for number in range(16)]


def test_the_same_picture_never_looks_the_same(vault: OriginalsVault, store: Store) -> None:
    seen = set()
    for job_id in (JOB, OTHER, JOB):
        vault.put(job_id, Kind.JPEG, PICTURE)
        seen.add(place(store, keys.original(job_id, Kind.JPEG)))
    assert len(seen) == 3
    assert place(store, keys.data_key(JOB)) != place(store, keys.data_key(OTHER))


def test_keys_can_be_kept_away_from_the_pictures(vault: OriginalsVault, tmp_path: Path) -> None:
    elsewhere = FolderStore(tmp_path / "elsewhere")
    vault = replace(vault, key_store=elsewhere)
    vault.put(JOB, Kind.JPEG, PICTURE)
    assert [path.name for path in files_below(tmp_path / "store")] == [f"{JOB}.jpg"]
    assert [path.name for path in files_below(tmp_path / "elsewhere")] == [f"{JOB}.key"]
    assert vault.get(JOB, Kind.JPEG) == PICTURE
    vault.forget(JOB, Kind.JPEG)
    assert files_below(tmp_path / "elsewhere") == []


# Master keys


def test_a_restart_finds_the_same_master_key(vault: OriginalsVault, tmp_path: Path) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    again = replace(vault, wrapper=load_master_keys(None, tmp_path))
    assert again.get(JOB, Kind.JPEG) == PICTURE


def test_another_master_key_reads_nothing(vault: OriginalsVault) -> None:
    vault.put(JOB, Kind.JPEG, PICTURE)
    stranger = replace(vault, wrapper=MasterKeys([os.urandom(32)]))
    with pytest.raises(OriginalUnreadableError, match="known master key"):
        stranger.get(JOB, Kind.JPEG)
    with pytest.raises(OriginalUnreadableError, match="known master key"):
        stranger.put(JOB, Kind.JPEG, PICTURE)


def test_a_new_master_key_wraps_and_the_old_one_still_unwraps(store: Store) -> None:
    old, new = os.urandom(32), os.urandom(32)
    OriginalsVault(store, MasterKeys([old])).put(JOB, Kind.JPEG, PICTURE)
    changed = OriginalsVault(store, MasterKeys([new, old]))
    changed.put(OTHER, Kind.JPEG, PICTURE)
    assert changed.get(JOB, Kind.JPEG) == changed.get(OTHER, Kind.JPEG) == PICTURE
    assert OriginalsVault(store, MasterKeys([new])).get(OTHER, Kind.JPEG) == PICTURE
    with pytest.raises(OriginalUnreadableError):
        OriginalsVault(store, MasterKeys([old])).get(OTHER, Kind.JPEG)
