"""Pictures that are enlarged."""

import json
from typing import Any

import numpy as np
import pytest

from blurline.errors import ModelMissingError, OptionError
from blurline.imaging.decode import Pixels
from blurline.models.catalogue import MapperTask, find
from blurline.models.inference import inference
from blurline.models.load import LazyNetworks, load_networks
from blurline.settings import load_settings
from blurline.stages.frame import Frame, Quality
from blurline.stages.optiontable import OptionTable
from blurline.stages.upscale import Upscale, passes
from tests.parts import drawing

STAGE = Upscale()
TABLE = OptionTable(STAGE.options)


@pytest.fixture(scope="module")
def mappers() -> LazyNetworks:
    return load_networks(sorted(STAGE.networks), inference(load_settings()))


def values(**texts: str) -> dict[str, Any]:
    """As a job carries them."""
    found: dict[str, Any] = json.loads(json.dumps(TABLE.read(texts, {})))
    return found


def run(frame: Frame, mappers: LazyNetworks, **texts: str) -> Frame:
    return STAGE.run(frame, values(**texts), mappers, lambda share: None)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, ("waifu2x_photo_1",)),
        ({"scale": "4"}, ("waifu2x_photo_1", "waifu2x_photo")),
        ({"denoise": "0"}, ("waifu2x_photo",)),
        ({"scale": "4", "denoise": "3"}, ("waifu2x_photo_3", "waifu2x_photo")),
        ({"quality": "fast"}, ("realesr_x2",)),
        ({"quality": "fast", "scale": "4"}, ("realesr_x4",)),
        ({"quality": "thorough"}, ("realesrgan_x4",)),
        ({"quality": "thorough", "scale": "4"}, ("realesrgan_x4",)),
    ],
)
def test_the_options_choose_the_networks(texts: dict[str, str], expected: tuple[str, ...]) -> None:
    assert passes(values(**texts)) == expected
    assert STAGE.models(values(**texts)) == set(expected)
    assert STAGE.models(values(**texts)) <= STAGE.networks


def test_every_network_of_the_stage_makes_pictures() -> None:
    for name in STAGE.networks:
        task = find(name).task
        assert isinstance(task, MapperTask)
        assert task.scale > 1


@pytest.mark.parametrize("option", ["scale=3", "scale=2.0", "denoise=4", "quality=best"])
def test_a_wrong_option_is_refused_with_the_right_ones(option: str) -> None:
    name, text = option.split("=")
    with pytest.raises(OptionError, match=f"{name} must be one of"):
        values(**{name: text})


@pytest.mark.parametrize("quality", ["fast", "thorough"])
def test_noise_is_not_promised_to_go_where_no_network_is_told_to(quality: str) -> None:
    STAGE.check(values(quality=quality))
    STAGE.check(values(denoise="2"))
    with pytest.raises(OptionError, match="denoise goes with quality=balanced"):
        STAGE.check(values(quality=quality, denoise="2"))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("quality", [Quality.FAST, Quality.BALANCED])
@pytest.mark.parametrize("size", [(1, 1), (50, 31)])
def test_the_result_has_the_size_that_was_foretold(
    size: tuple[int, int], quality: Quality, scale: int, mappers: LazyNetworks
) -> None:
    frame = run(Frame(drawing(*size)), mappers, quality=quality, scale=str(scale))
    assert frame.size == STAGE.output_size(*size, values(scale=str(scale)))
    assert frame.size == (size[0] * scale, size[1] * scale)
    report = frame.reports["upscale"]
    assert report["scale"] == scale
    assert set(report["networks"]) == STAGE.models(values(quality=quality, scale=str(scale)))


def test_the_thorough_network_makes_the_double_too(mappers: LazyNetworks) -> None:
    frame = run(Frame(drawing(24, 16)), mappers, quality="thorough")
    assert frame.size == (48, 32)


def blurred(pixels: Pixels) -> Pixels:
    return pixels.reshape(pixels.shape[0] // 2, 2, -1, 2, 3).mean((1, 3)).astype(np.uint8)


def test_a_photo_comes_back_from_half_its_size_better_than_by_interpolation(
    photo: Pixels, mappers: LazyNetworks
) -> None:
    import cv2

    height, width = photo.shape[:2]
    small = blurred(photo)
    plain = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    enlarged = run(Frame(small), mappers, denoise="0").pixels

    def error(result: Pixels) -> float:
        return float(np.square(result.astype(float) - photo).mean())

    assert error(enlarged) < 0.9 * error(plain)


@pytest.fixture(scope="module")
def photo(zidane: bytes) -> Pixels:
    import cv2

    whole = cv2.imdecode(np.frombuffer(zidane, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.ascontiguousarray(whole[40:200, 780:980])


@pytest.mark.parametrize("quality", ["fast", "balanced"])
def test_what_is_grey_stays_grey(quality: str, mappers: LazyNetworks) -> None:
    grey = np.repeat(drawing(40, 30)[..., :1], 3, axis=2)
    result = run(Frame(grey), mappers, quality=quality).pixels
    assert (result == result[..., :1]).all()


def test_transparency_is_enlarged_too(mappers: LazyNetworks) -> None:
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 15:] = 255
    frame = run(Frame(drawing(30, 20), alpha=alpha), mappers)
    assert frame.alpha is not None
    assert frame.alpha.shape == (40, 60)
    assert not frame.alpha[:, :26].any()
    assert (frame.alpha[:, 34:] == 255).all()


def test_hidden_colours_do_not_darken_the_edge_of_what_is_seen(mappers: LazyNetworks) -> None:
    pixels, alpha = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    pixels[:, 16:], alpha[:, 16:] = (220, 180, 90), 255
    result = run(Frame(pixels.copy(), alpha=alpha), mappers).pixels
    assert np.abs(result[:, 32:].astype(int) - (220, 180, 90)).max() <= 6


def test_progress_rises_to_the_end_over_all_passes(mappers: LazyNetworks) -> None:
    told: list[float] = []
    STAGE.run(Frame(drawing(40, 30)), values(scale="4"), mappers, told.append)
    assert told == sorted(told)
    assert told == pytest.approx([0.2, 1.0])


def test_a_missing_network_is_named() -> None:
    nothing = LazyNetworks({}, {}, inference(load_settings()))
    with pytest.raises(ModelMissingError, match="waifu2x_photo_1"):
        run(Frame(drawing(8, 8)), nothing)
