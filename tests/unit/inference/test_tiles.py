"""Pictures that are mapped part by part."""

from dataclasses import replace

import numpy as np
import pytest

from blurline.imaging.decode import Pixels
from blurline.inference.letterbox import STRIDE
from blurline.inference.mapper import Mapper
from blurline.inference.tiles import axis, mapped_in_tiles
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_mapper
from blurline.settings import load_settings
from tests.parts import drawing

NETWORKS = ["waifu2x_photo", "realesr_x2", "realesr_x4"]


def mapper_of(name: str) -> Mapper:
    return load_mapper(find(name), Inference(load_settings().model_dir, threads=1, precision="f32"))


def photo(width: int, height: int) -> Pixels:
    """A drawing with noise, so that no tile is like another."""
    noise = np.random.default_rng(3).integers(-20, 20, (height, width, 3))
    return np.clip(drawing(width, height) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_picture_in_tiles_is_the_picture_in_one(name: str) -> None:
    """To 1/255 everywhere, so that there is no seam."""
    mapper, pixels = mapper_of(name), photo(150, 100)
    whole = mapped_in_tiles(pixels, replace(mapper, input_size=256))
    tiled = mapped_in_tiles(pixels, replace(mapper, input_size=96))
    assert whole.shape == (100 * mapper.scale, 150 * mapper.scale, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_tiles_without_margins_would_have_seams() -> None:
    mapper, pixels = mapper_of("realesr_x2"), photo(150, 100)
    whole = mapped_in_tiles(pixels, replace(mapper, input_size=256, margin=0))
    tiled = mapped_in_tiles(pixels, replace(mapper, input_size=96, margin=0))
    assert np.abs(whole.astype(int) - tiled).max() > 1


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (33, 1), (31, 65)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_picture_of_any_size_is_enlarged(name: str, size: tuple[int, int]) -> None:
    mapper, (width, height) = mapper_of(name), size
    result = mapped_in_tiles(np.full((height, width, 3), 77, np.uint8), mapper)
    assert result.shape == (height * mapper.scale, width * mapper.scale, 3)
    assert np.abs(result.astype(int) - 77).max() <= 6


def test_each_tile_is_told_of() -> None:
    told: list[float] = []
    mapped_in_tiles(photo(200, 90), replace(mapper_of("realesr_x2"), input_size=96), told.append)
    assert told == sorted(told)
    assert len(told) == len(set(told)) == 8
    assert told[-1] == 1.0


@pytest.mark.parametrize("margin", [0, 7, 20])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 241, 242, 243, 1000, 12_345])
def test_parts_cover_an_axis_once_and_fit_the_network(length: int, margin: int) -> None:
    cut = axis(length, 256, margin)
    assert cut.starts[0] == 0
    assert cut.starts[-1] < length <= cut.starts[-1] + cut.part
    assert cut.part + 2 * margin <= cut.side <= 256
    assert cut.side % STRIDE == 0
