"""What retention promises: what is too old goes, keys first, and nothing else goes."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from blurline.errors import StoreUnavailableError
from blurline.imaging.kind import Kind
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.masterkeys import MasterKeys
from blurline.storage.objects import FolderStore, open_store
from blurline.storage.retention import (
    CHUNK,
    Retention,
    Sweeper,
    Swept,
)
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault
from tests.parts import S3Server, files_below, free_port, needs_s3

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTHING = Swept(0, 0, 0)
LATER = datetime.now(UTC) + 30 * DAY
JOB = str(uuid4())


@pytest.fixture
def bucket_store(s3_server: S3Server) -> Store:
    """An empty place in a bucket."""
    place = f"s3://{S3Server.BUCKET}/{uuid4()}"
    return open_store(load_settings(store_url=place, aws_endpoint_url=s3_server.url))


@pytest.fixture(params=["folder", pytest.param("s3", marks=needs_s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return FolderStore(tmp_path)
    found: Store = request.getfixturevalue("bucket_store")
    return found


def write_all(store: Store, job_id: str = JOB) -> None:
    """An object of each name that a job has."""
    OriginalsVault(store, MasterKeys([bytes(32)])).put(job_id, Kind.JPEG, b"picture")
    for name in (
        keys.processed(job_id, Kind.JPEG),
        keys.record(job_id),
        keys.certificate(job_id),
        keys.batch(job_id),
        keys.audit(1),
    ):
        store.put(name, b"content", "text/plain")


def names_in(store: Store) -> set[str]:
    """The folders that the store's objects are in."""
    folders = ("original", "keys", "processed", "metadata", "certificate", "audit")
    return {folder for folder in folders if list(store.older(folder, LATER))}


EVERYTHING = {"original", "keys", "processed", "metadata", "certificate", "audit"}


# Looking for old objects


def test_only_what_was_written_before_is_listed_as_older(store: Store) -> None:
    store.put("original/ab/c.jpg", b"1", "text/plain")
    now = datetime.now(UTC)
    assert list(store.older("original", now + HOUR)) == ["original/ab/c.jpg"]
    assert list(store.older("original", now - HOUR)) == []


def test_only_what_is_in_the_folder_is_listed(store: Store) -> None:
    for name in ("a/b", "a/c/d", "ab/c", "b"):
        store.put(name, b"1", "text/plain")
    assert sorted(store.older("a", LATER)) == ["a/b", "a/c/d"]
    assert list(store.older("none", LATER)) == []


def test_listing_goes_beyond_one_page(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "a").mkdir()
    for number in range(1005):
        (tmp_path / "a" / str(number)).touch()
    assert len(set(store.older("a", LATER))) == 1005


def test_listing_a_store_that_is_away_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FolderStore(tmp_path / "store")
    (tmp_path / "store").rmdir()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3Server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3Server.SECRET)
    nobody = f"http://127.0.0.1:{free_port()}"
    server = open_store(load_settings(s3_bucket="photos", aws_endpoint_url=nobody))
    for store in (folder, server):
        with pytest.raises(StoreUnavailableError):
            list(store.older("original", LATER))


# Sweeping


@pytest.mark.parametrize(
    ("retention", "swept", "left"),
    [
        (Retention(), NOTHING, EVERYTHING),
        (Retention(originals=DAY), Swept(1, 0, 0), EVERYTHING - {"original", "keys"}),
        (Retention(results=DAY), Swept(0, 1, 0), EVERYTHING - {"processed"}),
        (Retention(metadata=DAY), Swept(0, 0, 3), EVERYTHING - {"metadata", "certificate"}),
        (Retention(DAY, DAY, DAY), Swept(1, 1, 3), {"audit"}),
    ],
    ids=["none", "originals", "results", "metadata", "all"],
)
def test_each_class_goes_when_its_own_time_is_up(
    store: Store, retention: Retention, swept: Swept, left: set[str]
) -> None:
    write_all(store)
    early = Sweeper(store, retention, lambda: datetime.now(UTC) + DAY - HOUR)
    assert early.sweep() == NOTHING
    assert names_in(store) == EVERYTHING
    late = Sweeper(store, retention, lambda: datetime.now(UTC) + DAY + HOUR)
    assert late.sweep() == swept
    assert names_in(store) == left
    assert late.sweep() == NOTHING


def test_times_shorter_than_a_day_are_kept_to(tmp_path: Path) -> None:
    store, now = FolderStore(tmp_path), datetime.now(UTC)
    for minutes in (1, 59, 61, 600):
        name = keys.processed(f"{minutes:02}", Kind.JPEG)
        store.put(name, b"picture", "image/jpeg")
        written = (now - timedelta(minutes=minutes)).timestamp()
        os.utime(tmp_path / name, (written, written))
    assert Sweeper(store, Retention(results=HOUR), lambda: now).sweep().results == 2
    assert sorted(path.stem for path in files_below(tmp_path)) == ["01", "59"]


class Recorder(FolderStore):
    """A folder that remembers in which order objects were removed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.removed: list[str] = []

    def delete(self, key: str) -> None:
        super().delete(key)
        self.removed.append(key)


def test_the_key_of_an_original_goes_before_it(tmp_path: Path) -> None:
    store, job_ids = Recorder(tmp_path), [str(uuid4()) for _ in range(2 * CHUNK + 1)]
    vault = OriginalsVault(store, MasterKeys([bytes(32)]))
    for job_id in job_ids:
        vault.put(job_id, Kind.JPEG, b"picture")
    assert Sweeper(store, Retention(originals=DAY), lambda: LATER).sweep().originals == len(job_ids)
    order = {name: place for place, name in enumerate(store.removed)}
    for job_id in job_ids:
        assert order[keys.data_key(job_id)] < order[keys.original(job_id, Kind.JPEG)]
    assert files_below(tmp_path) == []


def test_keys_kept_elsewhere_go_too(tmp_path: Path) -> None:
    store, elsewhere = FolderStore(tmp_path / "store"), FolderStore(tmp_path / "keys")
    vault = OriginalsVault(store, MasterKeys([bytes(32)]), key_store=elsewhere)
    vault.put(JOB, Kind.JPEG, b"picture")
    Sweeper(store, Retention(originals=DAY), lambda: LATER, key_store=elsewhere).sweep()
    assert files_below(tmp_path) == []


def test_a_key_without_an_original_goes_as_well(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write_all(store)
    store.delete(keys.original(JOB, Kind.JPEG))
    assert Sweeper(store, Retention(originals=DAY), lambda: LATER).sweep() == NOTHING
    assert store.get(keys.data_key(JOB)) is None


def test_whoever_wants_to_know_is_told_which_originals_went(tmp_path: Path) -> None:
    store, told = FolderStore(tmp_path), list[str]()
    job_ids = {str(uuid4()) for _ in range(3)}
    for job_id in job_ids:
        write_all(store, job_id)

    def forgotten(gone: Any) -> None:
        assert not any(store.get(keys.original(job_id, Kind.JPEG)) for job_id in gone)
        told.extend(gone)

    Sweeper(store, Retention(DAY, DAY, DAY), lambda: LATER, forgotten=forgotten).sweep()
    assert sorted(told) == sorted(job_ids)


def test_a_sweep_removes_no_more_than_it_may_and_the_next_goes_on(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for _ in range(5):
        write_all(store, str(uuid4()))
    sweeper = Sweeper(store, Retention(DAY, DAY, DAY), lambda: LATER)
    assert sweeper.sweep(most=3) == Swept(3, 3, 3)
    assert sweeper.sweep(most=3) == Swept(2, 2, 3)
    assert sweeper.sweep(most=100) == Swept(0, 0, 9)
    assert names_in(store) == {"audit"}


def test_sweepers_at_once_do_not_disturb_each_other(store: Store) -> None:
    sweepers, count = 4, 40
    for _ in range(count):
        write_all(store, str(uuid4()))
    barrier = Barrier(sweepers)

    def sweep(number: int) -> Swept:
        barrier.wait()
        return Sweeper(store, Retention(DAY, DAY, DAY), lambda: LATER).sweep()

    with ThreadPoolExecutor(sweepers) as pool:
        found = list(pool.map(sweep, range(sweepers)))
    assert names_in(store) == {"audit"}
    assert sum(swept.originals for swept in found) >= count


def test_a_sweep_of_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    (tmp_path / "store").rmdir()
    with pytest.raises(StoreUnavailableError):
        Sweeper(store, Retention(DAY), lambda: LATER).sweep()
