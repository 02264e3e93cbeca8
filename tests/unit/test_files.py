"""Files are written whole; what is private is for its owner alone, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blurline.files import write_whole
from blurline.imaging.kind import Kind
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.objects import FolderStore, open_store
from tests.parts import NOBODY, files_below


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_below(folder: Path) -> set[tuple[bool, int]]:
    """Whether it is a folder, and the mode, of the folder and all that is in it."""
    return {(path.is_dir(), mode(path)) for path in (folder, *folder.rglob("*"))}


PRIVATE = {(True, 0o700), (False, 0o600)}


def test_a_file_is_written_for_whom_the_umask_says(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "a" / "b.jpg"
    write_whole(file, b"old")
    with ThreadPoolExecutor(8) as pool:
        for number in range(32):
            pool.submit(write_whole, file.with_name(str(number)), b"new")
    write_whole(file, b"new")
    assert {path.read_bytes() for path in files_below(tmp_path)} == {b"new"}
    assert {mode(path) for path in files_below(tmp_path)} == {0o666 & ~umask}
    found = os.umask(0)
    os.umask(found)
    assert found == umask, "which threads that write at once leave alone"


def test_of_a_file_that_can_not_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"new")
    assert files_below(tmp_path) == []


def test_objects_of_a_folder_are_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    store = open_store(load_settings(data_dir=tmp_path / "data"))
    store.put(keys.original(NOBODY, Kind.JPEG), b"picture", "image/jpeg")
    store.put(keys.batch(NOBODY), b"{}", "application/json")
    store.create(keys.data_key(NOBODY), b"key", "application/octet-stream")
    assert modes_below(tmp_path / "data" / "store") == PRIVATE
    assert mode(tmp_path / "data") == 0o700


def test_a_folder_that_was_open_to_others_is_closed_at_the_start_and_what_is_in_it_by_the_sweeper(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    (folder / "original/0d").mkdir(parents=True)
    (folder / "original/0d/a.jpg").write_bytes(b"picture")
    elsewhere.touch(0o644)
    (folder / "link").symlink_to(elsewhere)
    for path in (folder, folder / "original", folder / "original/0d"):
        path.chmod(0o755)
    store = FolderStore(folder)
    assert mode(folder) == 0o700
    assert "open to others" in caplog.text
    assert str(folder) not in caplog.text
    store.tidy(datetime.now(UTC) - timedelta(hours=1))
    (folder / "link").unlink()
    assert modes_below(folder) == PRIVATE
    assert mode(elsewhere) == 0o644
    caplog.clear()
    FolderStore(folder)
    assert caplog.text == ""
