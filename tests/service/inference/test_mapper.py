"""Networks from a picture to a picture or to a mask."""

from pathlib import Path

import numpy as np
import pytest

from blurline.imaging.decode import Pixels
from blurline.inference.mapper import Mapper
from blurline.inference.onnxruntime import OnnxRuntimeNetwork
from blurline.models.catalogue import MapperTask, catalogue, find
from blurline.models.load import Inference, load_mapper
from blurline.settings import load_settings
from tests.networks import file_of
from tests.parts import drawing

LIGHT = [
    name
    for name, model in catalogue().items()
    if isinstance(model.task, MapperTask) and name != "realesrgan_x4"
]
"""The heavy one is compared with the answer of its origin by `tests/unit/models/test_ncnn.py`."""


def mapper_of(name: str) -> Mapper:
    return load_mapper(find(name), Inference(load_settings().model_dir, threads=1, precision="f32"))


def sized(mapper: Mapper, width: int, height: int) -> Pixels:
    """A drawing of that size, or of the one that the network takes."""
    return drawing(*(mapper.engine.fixed_size or (width, height)))


@pytest.mark.parametrize("name", LIGHT)
def test_a_map_is_as_large_as_what_lies_inside_the_margin(name: str) -> None:
    mapper = mapper_of(name)
    pixels = sized(mapper, 64, 64)
    values = mapper.map(pixels)
    inside = [mapper.scale * (side - 2 * mapper.margin) for side in pixels.shape[:2]]
    assert values.shape == (*inside, 1 if mapper.scale == 1 else 3)
    assert values.dtype == np.float32
    assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize("name", [name for name in LIGHT if find(name).task.scale > 1])
def test_an_enlarged_picture_is_the_picture(name: str) -> None:
    mapper = mapper_of(name)
    pixels = np.full((64, 64, 3), (200, 100, 30), np.uint8)
    means = mapper.map(pixels).mean((0, 1)) * 255
    assert means == pytest.approx([200, 100, 30], abs=4)


def test_a_map_stays_when_the_network_runs_again() -> None:
    mapper = mapper_of("realesr_x2")
    first = mapper.map(drawing(64, 64))
    kept = first.copy()
    mapper.map(np.zeros((64, 64, 3), np.uint8))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("name", LIGHT)
def test_onnx_runtime_makes_the_same_map(name: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, mapper = find(name), mapper_of(name)
    network = OnnxRuntimeNetwork(
        file_of(name),
        model.input_format,
        device="cpu",
        half=False,
        max_batch_size=1,
        cache_dir=Path("nowhere"),
        any_size=model.any_size,
        outputs=model.outputs,
    )
    pixels = sized(mapper, 96, 64)
    (here,), (there,) = network.run(pixels[None]).values(), mapper.engine.infer(pixels).values()
    assert here == pytest.approx(there, abs=1e-3)
