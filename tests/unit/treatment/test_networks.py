"""Pictures that are enlarged or cut out, from file to files."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurline.certificate.certificate import TransformedPicture
from blurline.errors import OptionError, PictureError
from blurline.imaging.header import limits_of, read_header
from blurline.imaging.kind import Kind
from blurline.models.inference import inference
from blurline.models.load import LazyNetworks, load_networks
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.pipeline import Chain
from blurline.treatment.families import open_treatment
from blurline.treatment.outputs import Context, Role, Source, Treated
from tests.parts import drawing, picture_file

SETTINGS = load_settings()
NAMES = ("upscale", "background-remove")
TRANSPARENT = np.dstack([drawing(30, 20), np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))])


@pytest.fixture(scope="module")
def mappers() -> LazyNetworks:
    names = set().union(*(pipelines(SETTINGS)[name].networks for name in NAMES))
    return load_networks(sorted(names), inference(SETTINGS))


def treat(data: bytes, names: str, mappers: LazyNetworks, **texts: str) -> Treated:
    chain = Chain(tuple(pipelines(SETTINGS)[name] for name in names.split(",")))
    source = Source(data, read_header(data, limits_of(SETTINGS)))
    values: dict[str, Any] = chain.options.read(texts, {})
    return open_treatment(SETTINGS, mappers).treat(source, chain, values, Context())


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.WEBP])
def test_an_upscaled_picture_is_larger_and_of_its_kind(kind: Kind, mappers: LazyNetworks) -> None:
    data = picture_file(Image.fromarray(drawing(30, 20)), kind)
    treated = treat(data, "upscale", mappers, scale="4", quality="fast")
    (output,) = treated.outputs
    assert (output.width, output.height, output.media_type) == (120, 80, kind.content_type)
    assert opened(output.data).size == (120, 80)
    assert treated.claim == TransformedPicture(("upscale",))
    assert [used.name for used in treated.networks] == ["realesr_x4"]
    assert treated.reports["upscale"]["networks"] == ["realesr_x4"]


def test_a_grey_picture_is_enlarged(mappers: LazyNetworks) -> None:
    data = picture_file(Image.fromarray(drawing(30, 20)).convert("L"), Kind.PNG)
    picture = opened(treat(data, "upscale", mappers).primary.data)
    assert picture.size == (60, 40)
    pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == pixels[..., :1]).all()


def test_a_transparent_picture_stays_transparent_when_it_is_enlarged(
    mappers: LazyNetworks,
) -> None:
    data = picture_file(Image.fromarray(TRANSPARENT), Kind.PNG)
    picture = opened(treat(data, "upscale", mappers).primary.data)
    alpha = np.asarray(picture.getchannel("A")).astype(int)
    assert np.abs(alpha[::2, ::2] - TRANSPARENT[..., 3]).max() <= 8


def test_a_cut_out_picture_is_transparent_and_brings_its_mask(
    zidane: bytes, mappers: LazyNetworks
) -> None:
    treated = treat(zidane, "background-remove", mappers, subject="people")
    picture, mask = (opened(output.data) for output in treated.outputs)
    assert [output.role for output in treated.outputs] == [Role.PRIMARY, Role.MASK]
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    alpha = np.asarray(picture.getchannel("A"))
    assert np.array_equal(alpha, np.asarray(mask.convert("L")))
    assert (alpha[500, 350], alpha[60, 640]) == (255, 0)


def test_a_cut_out_picture_on_a_colour_stays_a_jpeg(zidane: bytes, mappers: LazyNetworks) -> None:
    treated = treat(zidane, "background-remove", mappers, background="#00ff00")
    picture = opened(treated.primary.data)
    assert picture.format == "JPEG"
    assert np.abs(np.asarray(picture)[60, 640].astype(int) - (0, 255, 0)).max() < 12


def test_a_picture_may_be_cut_out_and_then_enlarged(mappers: LazyNetworks) -> None:
    data = picture_file(Image.fromarray(drawing(60, 40)), Kind.PNG)
    treated = treat(data, "background-remove,upscale", mappers, quality="fast")
    assert opened(treated.primary.data).size == (120, 80)
    assert treated.claim == TransformedPicture(("background-remove", "upscale"))


def test_a_result_that_would_be_too_large_is_never_begun(mappers: LazyNetworks) -> None:
    blank = picture_file(Image.new("L", (5000, 4000)), Kind.PNG)
    with pytest.raises(PictureError, match="20000 x 16000") as told:
        treat(blank, "upscale", mappers, scale="4")
    assert told.value.code == "too_many_pixels"


def test_a_transparent_picture_is_not_made_a_jpeg(mappers: LazyNetworks) -> None:
    data = picture_file(Image.fromarray(TRANSPARENT), Kind.PNG)
    with pytest.raises(OptionError, match="transparent"):
        treat(data, "upscale", mappers, output_format="jpeg", quality="fast")
