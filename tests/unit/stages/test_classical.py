"""The stages that make pictures better, or give them another look."""

from typing import Any

import numpy as np
import pytest

from blurline.errors import OptionError
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.artistic import Aged, Comic
from blurline.stages.enhance import Enhance
from blurline.stages.frame import Frame
from blurline.stages.optiontable import OptionTable
from blurline.stages.pipeline import Family, Transforming
from tests.pixels import difference, photo

STAGES: list[Transforming] = [Enhance(), Comic(), Aged()]
by_name = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


def run(stage: Transforming, frame: Frame, **texts: str) -> Frame:
    values = OptionTable(stage.options).read(texts, {})
    return stage.run(frame, values, {}, lambda share: None)


@by_name
def test_its_pipeline_has_its_name_needs_no_network_and_keeps_the_size(
    stage: Transforming, bus: bytes
) -> None:
    pipeline = pipelines(load_settings())[stage.name]
    assert pipeline.family is Family.TRANSFORM
    assert pipeline.stages == (stage,)
    assert not pipeline.networks
    frame = run(stage, Frame(photo(bus)))
    assert frame.size == stage.output_size(*Frame(photo(bus)).size, {}) == (810, 1080)


@by_name
def test_transparency_and_earlier_reports_stay(stage: Transforming, bus: bytes) -> None:
    pixels = photo(bus)
    alpha = np.full(pixels.shape[:2], 77, np.uint8)
    frame = run(stage, Frame(pixels, alpha=alpha, reports={"upscale": {"scale": 2}}))
    assert frame.alpha is alpha
    assert frame.reports["upscale"] == {"scale": 2}


@by_name
def test_without_strength_the_picture_stays_as_it_is(stage: Transforming, bus: bytes) -> None:
    pixels = photo(bus)
    assert np.array_equal(run(stage, Frame(pixels), strength="0").pixels, pixels)
    assert difference(run(stage, Frame(pixels)).pixels, pixels) > 1


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        (Enhance(), {"denoise": "4"}),
        (Enhance(), {"sharpen": "1.1"}),
        (Enhance(), {"strength": "nan"}),
        (Enhance(), {"ink": "0.5"}),
        (Comic(), {"tones": "1"}),
        (Comic(), {"tones": "6.5"}),
        (Comic(), {"ink": "-0.1"}),
        (Aged(), {"grain": "coarse"}),
    ],
)
def test_options_out_of_their_range_are_refused(
    stage: Transforming, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        OptionTable(stage.options).read(options, {})


def test_enhance_tells_what_it_found_wrong(bus: bytes) -> None:
    pixels = photo(bus)
    fine = run(Enhance(), Frame(pixels)).reports["enhance"]
    dark = run(Enhance(), Frame((pixels * [0.36, 0.3, 0.21]).astype(np.uint8))).reports["enhance"]
    assert fine["white"] == 255
    assert dark["white"] < 128
    assert np.ptp(fine["gains"]) < 0.05
    assert dark["gains"][0] < 0.95 < 1.1 < dark["gains"][2]


def test_options_of_one_name_are_read_alike_by_all_pipelines() -> None:
    """In a chain an option counts once, whichever of its pipelines declares it."""
    seen: dict[str, tuple[Any, ...]] = {}
    for pipeline in pipelines(load_settings()).values():
        for name, option in pipeline.options.items():
            alike = option.default, option.words, option.once
            assert seen.setdefault(name, alike) == alike, name
