"""Files that need no fetching: the package's own, and a user's."""

from pathlib import Path

import pytest

from blurline.errors import ModelError
from blurline.models.catalogue import find
from blurline.models.sources import OwnFile, PackageFile


def test_the_own_network_needs_no_fetching(tmp_path: Path) -> None:
    source = find("platenet").source
    assert source.is_here(tmp_path)
    assert source.pull(tmp_path).stat().st_size < 5_000_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damaged", [PackageFile("platenet.onnx", "0" * 64), PackageFile("nowhere.onnx", "0" * 64)]
)
def test_a_damaged_installation_is_named(damaged: PackageFile, tmp_path: Path) -> None:
    assert not damaged.is_here(tmp_path)
    with pytest.raises(ModelError, match="install blurline again"):
        damaged.pull(tmp_path)


def test_a_file_of_ones_own_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    with pytest.raises(ModelError, match=r"no file mine\.onnx"):
        OwnFile(path).pull(tmp_path)
    path.write_bytes(b"network")
    assert OwnFile(path).pull(tmp_path) == path
