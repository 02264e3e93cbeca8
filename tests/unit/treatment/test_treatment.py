"""The whole way of a picture: what stays of it, what does not, and that it is looked at again."""

from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rq.timeouts import JobTimeoutException

from blurline import metrics
from blurline.errors import BlurlineError, LeakSuspectedError, ModelMissingError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.jpeg import read_frame
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy
from blurline.inference.detector import Detection, Detector, Detectors
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import MOSAIC_CELLS, PixelBox, Style
from blurline.redaction.zones import Zones
from blurline.settings import load_settings
from blurline.stages.blur import Blur
from blurline.stages.frame import Frame, OnFailure, Options, Quality, Redaction
from blurline.stages.pipeline import Stage
from blurline.stages.regions import Found, apply
from blurline.treatment.redacted import Redacted
from blurline.treatment.redaction import WHOLE, RedactionTreatment
from blurline.treatment.report import blur_metadata
from blurline.treatment.second_look import SecondLook, shows_redactions
from blurline.treatment.writing import WriteMethod
from tests.jpegs import codec, coefficients, decoded, scene
from tests.parts import NothingToBlur, drawing, picture_file, redacting

LIMITS = Limits(50_000_000, 100_000_000)
FACES = load_settings().face_model
TARGETS = pipelines(load_settings())["blur"].targets
BLUR = Blur(TARGETS)
FACE = Options(("face",), Style.MOSAIC, Quality.FAST)
NO_TARGET = Options((), Style.MOSAIC)
"""For stages that need no network."""

NOISE = scene(320, 240)


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return load_detectors([FACES], inference(load_settings()))


def treat(
    data: bytes,
    *stages: Stage,
    detectors: Detectors | None = None,
    options: Options = NO_TARGET,
    second_looks: float = 1.0,
) -> Redacted:
    """The picture after the stages, with a second look."""
    treatment = RedactionTreatment(detectors or {}, LIMITS, quality=90, second_looks=second_looks)
    return treatment.redact(data, redacting(*stages), options)


def seeing(boxes: Iterable[tuple[float, float, float, float]]) -> Blur:
    """A blur stage that sees faces in these boxes, whatever the picture shows."""
    found = tuple(Found("face", Detection("face", 0.9, box), 0.0) for box in boxes)

    class Seeing(Blur):
        def find(self, frame: Frame, options: Options, detectors: Detectors) -> tuple[Found, ...]:
            return found

    return Seeing({})


def as_file(pixels: Pixels, kind: Kind, orientation: int = 1) -> bytes:
    """A file that is shown as these pixels."""
    turns = {
        1: None,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
    }
    turn = turns[orientation]
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image if turn is None else image.transpose(turn)
    options = {"quality": 90} if kind is Kind.JPEG else {}
    return picture_file(stored, kind.value, exif=exif, **options)


def outside(boxes: Iterable[PixelBox], width: int, height: int) -> NDArray[np.bool_]:
    """Which pixels lie in none of the boxes."""
    mask = np.ones((height, width), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = False
    return mask


def colours(pixels: NDArray[np.uint8]) -> int:
    """How many colours some pixels have."""
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


def leaks() -> float:
    (family,) = metrics.LEAKS.collect()
    return next(one.value for one in family.samples if one.name.endswith("_total"))


# What stays


@pytest.mark.parametrize("photo", ["bus", "zidane"])
def test_a_jpeg_keeps_its_coefficients_outside_its_redactions(
    photo: str, request: pytest.FixtureRequest, detectors: Detectors
) -> None:
    codec()
    data: bytes = request.getfixturevalue(photo)
    treated = treat(data, BLUR, detectors=detectors, options=FACE, second_looks=0.0)
    assert treated.way is WriteMethod.LOSSLESS
    boxes = [redaction.box for redaction in treated.frame.redactions or ()]
    assert len(boxes) >= 2
    before, after = read_frame(data), read_frame(treated.picture)
    assert (after.width, after.height) == (before.width, before.height)
    planes = zip(
        before.components,
        after.components,
        coefficients(data),
        coefficients(treated.picture),
        strict=True,
    )
    for old, new, was, now in planes:
        assert (old.table == new.table).all()
        block_height, block_width = before.block_size(old)
        untouched = np.ones(was.shape[:2], np.bool_)
        for left, top, right, bottom in boxes:
            rows = slice(top // block_height, -(-bottom // block_height))
            untouched[rows, left // block_width : -(-right // block_width)] = False
        assert untouched.any()
        assert (was[untouched] == now[untouched]).all()
        assert (was[~untouched] != now[~untouched]).any()


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_turned_jpeg_stays_as_it_is_stored_if_its_orientation_may_stay(orientation: int) -> None:
    codec()
    data = as_file(NOISE, Kind.JPEG, orientation)
    treated = treat(data, seeing([(30, 50, 90, 100)]))
    assert treated.way is WriteMethod.LOSSLESS
    assert read_header(treated.picture, LIMITS) == read_header(data, LIMITS)
    far = outside([(8, 28, 112, 122)], 320, 240)
    assert (decoded(treated.picture)[far] == decoded(data)[far]).all()


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_turned_jpeg_without_metadata_is_written_upright(orientation: int) -> None:
    data = as_file(drawing(), Kind.JPEG, orientation)
    options = replace(NO_TARGET, metadata=MetadataPolicy.NONE)
    treated = treat(data, NothingToBlur({}), options=options)
    assert treated.way is WriteMethod.REENCODED
    header = read_header(treated.picture, LIMITS)
    assert (header.width, header.height, header.orientation) == (320, 240, 1)
    assert np.abs(decoded(treated.picture).astype(int) - decoded(data)).mean() < 3


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_leaves_as_what_it_was_but_a_gif_as_png(kind: Kind) -> None:
    data = picture_file(Image.fromarray(drawing()), kind.value)
    treated = treat(data, seeing([(100, 60, 200, 160)]))
    assert read_header(treated.picture, LIMITS).kind is kind.written
    assert treated.second_look is SecondLook.PASSED
    if kind in (Kind.PNG, Kind.BMP, Kind.TIFF, Kind.GIF):
        assert (decoded(treated.picture) == treated.frame.pixels).all()
        far = outside([(100, 60, 200, 160)], 320, 240)
        assert (decoded(treated.picture)[far] == decoded(data)[far]).all()


# The second look


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_none_are_looked_at_again_as_the_share_says(
    share: float, zidane: bytes, detectors: Detectors
) -> None:
    treated = treat(zidane, BLUR, detectors=detectors, options=FACE, second_looks=share)
    assert treated.second_look is (SecondLook.PASSED if share else SecondLook.SKIPPED)
    assert ("second look" in treated.seconds) == bool(share)


class Blind(Blur):
    """Redacts nothing and says that it has looked."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        return replace(frame, redactions=())


class Silent(Blur):
    """Redacts the pixels, but does not say where, so that nothing of it gets into a JPEG."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        return replace(super().run(frame, options, detectors), redactions=())


class OneAtATime(Blind):
    """Sees of all faces only the surest, the next one when that is redacted."""

    def find(self, frame: Frame, options: Options, detectors: Detectors) -> tuple[Found, ...]:
        return super().find(frame, options, detectors)[:1]


@pytest.mark.parametrize("lying", [Blind, Silent])
def test_a_face_that_the_file_still_shows_is_redacted_after_the_second_look(
    lying: type[Blur], zidane: bytes, detectors: Detectors
) -> None:
    codec()
    honest = treat(zidane, BLUR, detectors=detectors, options=FACE, second_looks=0.0)
    before = leaks()
    treated = treat(zidane, lying(TARGETS), detectors=detectors, options=FACE)
    assert treated.second_look is SecondLook.MENDED
    assert leaks() == before
    shown, hidden = decoded(treated.picture), treated.frame.redactions or ()
    assert len(hidden) >= 2
    mask = outside([redaction.box for redaction in hidden], 1280, 720)
    for left, top, right, bottom in (one.box for one in honest.frame.redactions or ()):
        assert not mask[top:bottom, left:right].mean() > 0.15
        changed = shown[top:bottom, left:right].astype(int)
        assert np.abs(changed - decoded(zidane)[top:bottom, left:right]).mean() > 10
    seen = decode(treated.picture, treated.header, reduction=treated.frame.reduction)
    assert shows_redactions(seen, treated.frame.pixels, treated.frame.boxes)


def test_a_picture_that_shows_a_face_at_the_third_look_is_held_back(
    zidane: bytes, detectors: Detectors
) -> None:
    before = leaks()
    with pytest.raises(LeakSuspectedError) as caught:
        treat(zidane, OneAtATime(TARGETS), detectors=detectors, options=FACE)
    assert caught.value.code == "leak_suspected"
    assert leaks() == before + 1


class TooFine(NothingToBlur):
    """Makes a region of dots that no JPEG with reduced colours can hold."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        dots = np.indices((64, 64)).sum(axis=0) % 2 == 1
        frame.pixels[64:128, 64:128] = np.where(dots[..., None], (255, 0, 0), (0, 0, 255))
        return replace(frame, redactions=(Redaction("face", 1.0, (64, 64, 128, 128)),))


def test_a_file_that_does_not_show_its_redactions_is_held_back() -> None:
    before = leaks()
    data = as_file(drawing(), Kind.JPEG)
    with pytest.raises(LeakSuspectedError) as caught:
        treat(data, TooFine({}))
    assert caught.value.code == "leak_suspected"
    assert leaks() == before + 1
    png = treat(as_file(drawing(), Kind.PNG), TooFine({}))
    assert png.second_look is SecondLook.PASSED


@pytest.mark.parametrize("shape", [(240, 319, 3), (320, 240, 3)])
def test_a_file_of_another_size_does_not_show_its_redactions(shape: tuple[int, ...]) -> None:
    assert not shows_redactions(np.zeros(shape, np.uint8), np.zeros((240, 320, 3), np.uint8), [])


# What fails


class Broken(NothingToBlur):
    """Breaks down half-way, when it has drawn something."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        frame.pixels[:20] = 255
        raise ZeroDivisionError


class Endless(NothingToBlur):
    """Is stopped by the queue since it takes too long."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        raise JobTimeoutException("too long")


class NoBlur(NothingToBlur):
    """Lets the picture through as it is."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        return frame


class Faulty:
    """A network that breaks down at every picture."""

    labels = ("face",)
    fixed_size = None
    precision = "f32"

    def infer(self, network_input: Pixels) -> dict[str, NDArray[np.float32]]:
        raise MemoryError


FAILURES: dict[str, tuple[Stage, type[Exception]]] = {
    "a stage breaks down": (Broken(TARGETS), ZeroDivisionError),
    "a stage takes too long": (Endless(TARGETS), JobTimeoutException),
    "no stage blurs": (NoBlur(TARGETS), BlurlineError),
    "the networks are missing": (BLUR, ModelMissingError),
    "a network breaks down": (BLUR, MemoryError),
    "a leak": (OneAtATime(TARGETS), LeakSuspectedError),
}


def with_fault(name: str, detectors: Detectors) -> Detectors:
    """The networks as they are in that failure."""
    if name == "the networks are missing":
        return {}
    if name == "a network breaks down":
        broken: dict[str, Detector] = {FACES: replace(detectors[FACES], engine=Faulty())}
        return broken
    return detectors


@pytest.mark.parametrize("name", FAILURES)
def test_what_goes_wrong_is_said(name: str, zidane: bytes, detectors: Detectors) -> None:
    stage, error = FAILURES[name]
    with pytest.raises(error):
        treat(zidane, stage, detectors=with_fault(name, detectors), options=FACE)


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG])
@pytest.mark.parametrize("name", FAILURES)
def test_whatever_fails_no_pixel_is_left_of_a_picture_that_is_to_be_obscured(
    name: str, kind: Kind, zidane: bytes, detectors: Detectors
) -> None:
    stage, _ = FAILURES[name]
    with Image.open(BytesIO(zidane)) as image:
        data = zidane if kind is Kind.JPEG else picture_file(image, "PNG", compress_level=1)
    options = replace(FACE, on_failure=OnFailure.OBSCURE)
    treated = treat(data, stage, detectors=with_fault(name, detectors), options=options)
    shown = decoded(treated.picture)
    assert shown.shape == (720, 1280, 3)
    assert not shown.any()
    assert not treated.frame.pixels.any()
    told = blur_metadata(treated, options)
    assert told["counts"] == {"face": 0, WHOLE: 1}
    assert [region["box"] for region in told["regions"]] == [[0, 0, 1280, 720]]


def test_an_obscured_picture_keeps_nothing_beyond_its_edge_and_no_transparency() -> None:
    options = replace(NO_TARGET, on_failure=OnFailure.OBSCURE, metadata=MetadataPolicy.KEEP)
    jpeg = treat(as_file(scene(101, 67), Kind.JPEG, 6), Broken({}), options=options)
    for plane in coefficients(jpeg.picture):
        assert len(np.unique(plane.reshape(-1, 64), axis=0)) == 1
    clear = Image.fromarray(np.dstack([scene(101, 67), scene(101, 67)[..., 0]]))
    png = treat(picture_file(clear, "PNG"), Broken({}), options=options)
    with Image.open(BytesIO(png.picture)) as image:
        assert (np.asarray(image.convert("RGBA")) == (0, 0, 0, 255)).all()


def test_a_file_that_is_no_picture_is_refused_whatever_was_wished() -> None:
    options = replace(NO_TARGET, on_failure=OnFailure.OBSCURE)
    with pytest.raises(BlurlineError) as caught:
        treat(b"no picture", BLUR, options=options)
    assert caught.value.code == "not_an_image"


# How much of a region stays

BOXES = {
    "tiny": (100.0, 100.0, 101.0, 101.0),
    "small": (99.5, 100.5, 108.2, 111.9),
    "large": (20.0, 30.0, 300.0, 220.0),
    "wide": (3.0, 100.0, 317.0, 104.0),
    "high": (100.0, 3.0, 102.0, 237.0),
    "whole": (0.0, 0.0, 320.0, 240.0),
    "beyond the left and the top": (-50.0, -80.0, 40.0, 60.0),
    "beyond the right and the bottom": (290.3, 199.9, 500.0, 300.0),
    "far outside": (400.0, 400.0, 500.0, 500.0),
}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG])
@pytest.mark.parametrize("name", BOXES)
def test_a_redaction_keeps_no_more_than_thirty_six_colours(
    name: str, kind: Kind, orientation: int
) -> None:
    treated = treat(as_file(NOISE, kind, orientation), seeing([BOXES[name]]))
    ((left, top, right, bottom),) = (one.box for one in treated.frame.redactions or ())
    x1, y1, x2, y2 = np.clip(BOXES[name], 0, (320, 240, 320, 240))
    assert left <= x1 <= x2 <= right
    assert top <= y1 <= y2 <= bottom
    assert colours(treated.frame.pixels[top:bottom, left:right]) <= MOSAIC_CELLS**2
    if kind is Kind.PNG:
        assert colours(decoded(treated.picture)[top:bottom, left:right]) <= MOSAIC_CELLS**2


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG])
def test_no_part_of_five_thousand_faces_is_left_out(kind: Kind) -> None:
    chance = np.random.default_rng(5)
    width, height = 1200, 900
    corners = chance.uniform(-20, (width, height), (5000, 2))
    sizes = chance.uniform(1, 40, (5000, 2))
    boxes = [tuple(row) for row in np.hstack([corners, corners + sizes]).tolist()]
    data = as_file(scene(width, height), kind)
    treated = treat(data, seeing(boxes))
    redactions = treated.frame.redactions or ()
    assert len(redactions) == 5000
    last = np.full((height, width), -1)
    for number, redaction in enumerate(redactions):
        left, top, right, bottom = redaction.box
        last[top:bottom, left:right] = number
    # Where boxes overlap the later one counts; what is still seen of one has its few colours.
    codes = treated.frame.pixels.astype(np.int64) @ (1, 256, 65536)
    seen = np.unique((last.astype(np.int64) << 24) + codes) >> 24
    counts = np.bincount(seen[seen >= 0])
    assert counts.max() <= MOSAIC_CELLS**2
    assert (last == -1).any()
    if kind is Kind.PNG:
        shown = decoded(treated.picture)
        assert (shown == treated.frame.pixels).all()
        assert (shown[last == -1] == decoded(data)[last == -1]).all()


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG])
@pytest.mark.parametrize("size", range(1, 13))
def test_no_box_is_too_small_to_be_redacted(size: int, kind: Kind) -> None:
    box = (101, 53, 101 + size, 53 + size)
    data = as_file(NOISE, kind)
    region = np.s_[53 : 53 + size, 101 : 101 + size]
    for style in (Style.MOSAIC, Style.SOLID):
        treated = treat(
            data, seeing([box]), options=replace(NO_TARGET, style=style), second_looks=0
        )
        assert [one.box for one in treated.frame.redactions or ()] == [box]
        pixels, was = treated.frame.pixels[region], decoded(data)[region]
        assert colours(pixels) <= max(1, size // 4) ** 2
        if style is Style.SOLID:
            assert not pixels.any()
        # A single pixel is its own mean.
        assert (decoded(treated.picture)[region] != was).any() or (size, style) == (1, Style.MOSAIC)


@pytest.mark.parametrize("style", Style)
def test_pictures_with_small_redactions_stand_the_second_look(style: Style) -> None:
    for size in range(1, 13):
        box = (101, 53, 101 + size, 53 + size)
        for pixels in (NOISE, drawing(), np.full((240, 320, 3), (255, 0, 0), np.uint8)):
            treated = treat(
                as_file(pixels, Kind.JPEG), seeing([box]), options=replace(NO_TARGET, style=style)
            )
            assert treated.second_look is SecondLook.PASSED, size


def test_a_zone_is_redacted_and_stands_the_second_look(zidane: bytes, detectors: Detectors) -> None:
    zone = ((0.1, 0.1), (0.9, 0.2), (0.5, 0.9))
    options = replace(FACE, zones=Zones(redact=(zone,)))
    treated = treat(zidane, BLUR, detectors=detectors, options=options)
    assert treated.second_look is SecondLook.PASSED
    (found,) = (one for one in treated.frame.redactions or () if one.target == "zone")
    again = treated.frame.pixels.copy()
    apply(replace(found, polygon=None), Frame(again), Style.SOLID)
    left, top, right, bottom = found.box
    assert not again[top:bottom, left:right].any()


def test_a_result_may_have_more_bytes_than_an_upload_may_have() -> None:
    image = Image.fromarray(scene(320, 240)).quantize(256)
    data = picture_file(image, "PNG", optimize=True)
    treatment = RedactionTreatment({}, Limits(len(data), 10**6), quality=90, second_looks=1.0)
    pipeline = redacting(seeing([(10.0, 10.0, 60.0, 60.0)]), name="test")

    treated = treatment.redact(data, pipeline, NO_TARGET)

    assert len(treated.picture) > len(data)
    assert treated.second_look is SecondLook.PASSED
