"""Pictures whose background is taken away."""

import json
from typing import Any

import cv2
import numpy as np
import pytest

from blurline.errors import ModelMissingError, OptionError
from blurline.imaging.decode import Pixels
from blurline.models.inference import inference
from blurline.models.load import LazyNetworks, load_networks
from blurline.settings import load_settings
from blurline.stages.background import COLOURS, BackgroundRemove
from blurline.stages.frame import Frame
from blurline.stages.optiontable import OptionTable
from tests.parts import drawing

STAGE = BackgroundRemove()
TABLE = OptionTable(STAGE.options)
COAT, PITCH = (500, 350), (60, 640)
"""Of the photo: row and column of what is a man, and of what is behind him."""


@pytest.fixture(scope="module")
def mappers() -> LazyNetworks:
    return load_networks(sorted(STAGE.networks), inference(load_settings()))


@pytest.fixture(scope="module")
def photo(zidane: bytes) -> Pixels:
    """Two men before a crowd that is out of focus."""
    return np.asarray(cv2.imdecode(np.frombuffer(zidane, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def values(**texts: str) -> dict[str, Any]:
    """As a job carries them."""
    found: dict[str, Any] = json.loads(json.dumps(TABLE.read(texts, {})))
    return found


def run(frame: Frame, mappers: LazyNetworks, **texts: str) -> Frame:
    return STAGE.run(frame, values(**texts), mappers, lambda share: None)


@pytest.mark.parametrize("subject", ["anything", "people"])
def test_people_stay_and_what_is_behind_them_goes(
    subject: str, photo: Pixels, mappers: LazyNetworks
) -> None:
    frame = run(Frame(photo), mappers, subject=subject)
    assert frame.alpha is not None
    assert (frame.alpha[COAT], frame.alpha[PITCH]) == (255, 0)
    assert np.array_equal(frame.pixels[COAT], photo[COAT])
    assert np.array_equal(frame.masks["mask"], frame.alpha)
    report = frame.reports["background-remove"]
    assert report["network"] in STAGE.models(values(subject=subject))
    assert 0.2 < report["share"] < 0.6


def test_a_colour_takes_the_place_of_the_background(photo: Pixels, mappers: LazyNetworks) -> None:
    frame = run(Frame(photo), mappers, background="#ff8800")
    assert frame.alpha is None
    assert tuple(frame.pixels[PITCH]) == (0xFF, 0x88, 0)
    assert np.array_equal(frame.pixels[COAT], photo[COAT])


def test_a_blurred_background_is_calmer_and_the_rest_is_as_it_was(
    photo: Pixels, mappers: LazyNetworks
) -> None:
    frame = run(Frame(photo), mappers, background="blur")
    row, column = PITCH
    near = np.s_[row - 20 : row + 20, column - 20 : column + 20]
    assert frame.pixels[near].std() < 0.7 * photo[near].std()
    assert np.array_equal(frame.pixels[COAT], photo[COAT])


def test_edges_are_softer_with_feather(photo: Pixels, mappers: LazyNetworks) -> None:
    hard, soft = (
        run(Frame(photo), mappers, feather=feather).masks["mask"] for feather in ("0", "20")
    )
    between = [((mask > 0) & (mask < 255)).sum() for mask in (hard, soft)]
    assert between[1] > 1.2 * between[0]


def test_what_was_transparent_stays_so(photo: Pixels, mappers: LazyNetworks) -> None:
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, 300:400] = 0
    frame = run(Frame(photo, alpha=alpha), mappers)
    assert frame.alpha is not None
    assert frame.alpha[COAT] == 0
    coloured = run(Frame(photo, alpha=alpha), mappers, background="red")
    assert tuple(coloured.pixels[COAT]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("background", "size"),
    [("transparent", (1, 1)), ("blur", (1, 1)), ("blur", (1, 300)), ("white", (37, 2))],
)
def test_a_picture_of_any_size_is_treated(
    background: str, size: tuple[int, int], mappers: LazyNetworks
) -> None:
    frame = run(Frame(drawing(*size)), mappers, background=background)
    assert frame.size == size == STAGE.output_size(*size, values())
    assert frame.masks["mask"].shape == size[::-1]


@pytest.mark.parametrize(
    ("text", "expected"), [("#FF8800", "#ff8800"), (" White ", "#ffffff"), ("BLUR", "blur")]
)
def test_a_background_is_read_as_it_is_written(text: str, expected: str) -> None:
    assert values(background=text)["background"] == expected
    assert values()["background"] == "transparent"


@pytest.mark.parametrize("text", ["#fff", "ff8800", "#ff880g", "none", "rgb(1,2,3)"])
def test_what_is_no_background_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(OptionError, match="background must be transparent, blur, a colour") as told:
        values(background=text)
    assert all(name in told.value.message for name in COLOURS)


@pytest.mark.parametrize("text", ["-1", "51", "soft", "nan"])
def test_feather_is_a_number_of_pixels(text: str) -> None:
    with pytest.raises(OptionError, match="feather must be a number from 0 to 50"):
        values(feather=text)


def test_a_transparent_jpeg_is_refused_before_it_is_made() -> None:
    with pytest.raises(OptionError, match="a JPEG can't be transparent"):
        STAGE.check({**values(), "output_format": "jpeg"})
    STAGE.check({**values(), "output_format": "webp"})
    STAGE.check({**values(background="white"), "output_format": "jpeg"})


def test_a_missing_network_is_named() -> None:
    with pytest.raises(ModelMissingError, match="u2netp"):
        run(Frame(drawing(8, 8)), LazyNetworks({}, {}, inference(load_settings())))
