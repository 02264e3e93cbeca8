"""Large JPEGs are opened, searched and redacted at half their size, and nobody can tell."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.errors import LeakSuspectedError
from blurline.imaging.decode import Pixels
from blurline.imaging.header import read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy
from blurline.inference.detector import Detectors
from blurline.inference.engine import Arithmetic
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.redaction.zones import Zones
from blurline.settings import load_settings
from blurline.stages.blur import Blur
from blurline.stages.detect import Detect
from blurline.stages.frame import Frame, OnFailure, Options, Quality, Redaction
from blurline.stages.pipeline import Pipeline, Stage
from blurline.treatment.opening import open_frame
from blurline.treatment.redacted import Redacted
from blurline.treatment.redaction import RedactionTreatment, run_stages
from blurline.treatment.second_look import SecondLook
from blurline.treatment.writing import WriteMethod, write
from tests.arithmetic import ARITHMETICS, computing_in
from tests.jpegs import LIMITS, by_pillow, by_simplejpeg, codec, coefficients, decoded, scan_by_scan
from tests.parts import NothingToBlur, picture_file, redacting
from tests.sure import assert_sure_ones_agree

SETTINGS = load_settings()
BLUR = pipelines(SETTINGS)["blur"]
BLUR_DETECT = pipelines(SETTINGS)["blur_detect"]
FACES = Options(("face",), Style.MOSAIC, Quality.BALANCED)
OBJECTS = Detect(SETTINGS.detection_model).threshold


@pytest.fixture(scope="module", autouse=True)
def there_is_a_library() -> None:
    codec()


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return load_detectors([SETTINGS.face_model, SETTINGS.detection_model], inference(SETTINGS))


@pytest.fixture(scope="module")
def large(zidane: bytes) -> bytes:
    """The photo at twice its size, 2560 x 1440."""
    with Image.open(BytesIO(zidane)) as image:
        doubled = image.resize((2560, 1440), Image.Resampling.BICUBIC)
    return picture_file(doubled, "JPEG", quality=90)


def treat(
    data: bytes, pipeline: Pipeline, detectors: Detectors, options: Options = FACES
) -> Redacted:
    return RedactionTreatment(detectors, LIMITS, quality=90, second_looks=1.0).redact(
        data, pipeline, options
    )


def with_stage(*stages: Stage) -> Pipeline:
    return redacting(*stages)


def reduction(data: bytes, pipeline: Pipeline, detectors: Detectors, options: Options) -> int:
    frame = open_frame(data, read_header(data, LIMITS), pipeline, options, detectors)
    return frame.reduction


def test_a_large_jpeg_is_opened_at_half_its_size(large: bytes, detectors: Detectors) -> None:
    frame = open_frame(large, read_header(large, LIMITS), BLUR_DETECT, FACES, detectors)
    assert (frame.reduction, frame.pixels.shape, frame.size) == (2, (720, 1280, 3), (2560, 1440))


def test_what_somebody_looks_at_closely_is_opened_whole(
    large: bytes, zidane: bytes, detectors: Detectors
) -> None:
    thorough = replace(FACES, quality=Quality.THOROUGH)
    assert reduction(large, BLUR, detectors, thorough) == 1
    assert reduction(zidane, BLUR, detectors, FACES) == 1
    assert reduction(zidane, BLUR, detectors, replace(FACES, quality=Quality.FAST)) == 2


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.JPEG])
def test_what_is_encoded_anew_is_opened_whole(kind: Kind, detectors: Detectors) -> None:
    data = picture_file(Image.new("RGB", (2560, 1440), "green"), kind.value)
    assert reduction(data, BLUR, detectors, FACES) == 1


def test_a_turned_jpeg_that_has_to_be_written_upright_is_opened_whole(
    detectors: Detectors,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture_file(Image.new("RGB", (2560, 1440), "green"), "JPEG", exif=exif)
    assert reduction(data, BLUR, detectors, FACES) == 2
    assert reduction(data, BLUR, detectors, replace(FACES, metadata=MetadataPolicy.NONE)) == 1


def test_options_that_can_not_be_served_are_left_to_the_stages(large: bytes) -> None:
    assert reduction(large, BLUR, {}, FACES) == 1
    assert reduction(large, BLUR, {}, replace(FACES, targets=("nobody",))) == 1


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_half_a_picture_shows_the_same_faces_and_objects(
    arithmetic: Arithmetic, large: bytes, tmp_path: Path
) -> None:
    names = [SETTINGS.face_model, SETTINGS.detection_model]
    detectors = computing_in(arithmetic, names, tmp_path)
    halves = treat(large, BLUR_DETECT, detectors)
    header = read_header(large, LIMITS)
    whole, _ = run_stages(BLUR_DETECT, Frame(decoded(large)), FACES, detectors)
    assert halves.frame.reduction == 2
    assert (halves.way, halves.second_look) == (WriteMethod.LOSSLESS, SecondLook.PASSED)
    assert halves.header == header
    least = BLUR_DETECT.targets["face"].levels[FACES.quality].threshold
    assert_sure_ones_agree(halves.frame.redactions, whole.redactions, least, overlap=0.9)
    assert_sure_ones_agree(halves.frame.detections, whole.detections, OBJECTS, overlap=0.9)


def test_half_a_picture_is_redacted_where_it_says_and_nowhere_else(
    large: bytes, detectors: Detectors
) -> None:
    treated = treat(large, BLUR, detectors)
    before, after = decoded(large), decoded(treated.picture)
    far = np.ones(before.shape[:2], np.bool_)
    for redaction in treated.frame.redactions or ():
        left, top, right, bottom = redaction.box
        region = after[top:bottom, left:right]
        flat = np.abs(np.diff(region.astype(int), axis=1)).mean()
        assert flat < 1.5  # a mosaic of so few cells has hardly an edge
        far[max(0, top - 18) : bottom + 18, max(0, left - 18) : right + 18] = False
    assert (before[far] == after[far]).all()


def test_a_zone_of_half_a_picture_is_redacted_inside_its_outline(
    large: bytes, detectors: Detectors
) -> None:
    zone = ((0.1, 0.1), (0.5, 0.1), (0.1, 0.9))
    options = replace(FACES, zones=Zones(redact=(zone,)), style=Style.SOLID)
    treated = treat(large, BLUR, detectors, options)
    assert (treated.frame.reduction, treated.second_look) == (2, SecondLook.PASSED)
    shown = decoded(treated.picture)
    assert shown[200:400, 300:700].max() < 20
    assert shown[1100:1200, 900:1200].max() > 100
    (found,) = (one for one in treated.frame.redactions or () if one.target == "zone")
    assert found.box == (256, 144, 1280, 1296)


class Corner(NothingToBlur):
    """Redacts a corner of some size, and looks no closer than at half the picture."""

    BOX = (0, 0, 301, 203)

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: Detectors
    ) -> float:
        return 0.5

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        right, bottom = (-(-side // frame.reduction) for side in self.BOX[2:])
        frame.pixels[:bottom, :right] = 0
        return replace(frame, redactions=(Redaction("face", 1.0, self.BOX),))


NOBODY = Options((), Style.SOLID)


def drawn(width: int = 640, height: int = 480) -> Pixels:
    colours = np.random.default_rng(4).integers(60, 256, (height // 16, width // 16, 3), np.uint8)
    return colours.repeat(16, 0).repeat(16, 1)


def with_tables_between_scans(pixels: Pixels) -> bytes:
    """A file that everybody can read, but whose coefficients nobody here keeps."""
    factors = [(1, 1)] * 3
    plain = scan_by_scan(pixels, factors)
    start = plain.index(b"\xff\xdb")
    tables = plain[start : start + 2 + int.from_bytes(plain[start + 2 : start + 4], "big")]
    return scan_by_scan(pixels, factors, between=tables)


@pytest.mark.parametrize("make", [by_pillow(), with_tables_between_scans])
def test_what_can_not_be_kept_to_the_bit_is_decoded_whole_and_redacted_again(
    make: Callable[[Pixels], bytes],
) -> None:
    data = make(drawn())
    header = read_header(data, LIMITS)
    frame = open_frame(data, header, with_stage(Corner({})), NOBODY, {})
    assert frame.reduction == 2
    written = write(data, header, Corner({}).run(frame, NOBODY, {}), NOBODY, 90)
    is_kept = make is not with_tables_between_scans
    assert written.way is (WriteMethod.LOSSLESS if is_kept else WriteMethod.REENCODED)
    assert written.frame.reduction == (2 if is_kept else 1)
    shown = decoded(written.picture)
    assert shown.shape == (480, 640, 3)
    assert shown[:200, :296].max() < 12
    assert np.abs(shown[220:, 320:].astype(int) - drawn()[220:, 320:]).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_half_a_picture_is_redacted_in_every_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = by_pillow(exif=exif)(drawn())
    treated = treat(data, with_stage(Corner({})), {}, NOBODY)
    assert (treated.way, treated.frame.reduction) == (WriteMethod.LOSSLESS, 2)
    shown = decoded(treated.picture)
    assert shown[:203, :301].max() < 40
    assert shown[240:, 340:].min() > 30


def test_half_a_picture_is_obscured_as_a_whole() -> None:
    class Broken(Corner):
        def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
            raise ZeroDivisionError

    options = replace(NOBODY, on_failure=OnFailure.OBSCURE)
    treated = treat(by_pillow()(drawn()), with_stage(Broken({})), {}, options)
    assert treated.frame.reduction == 2
    assert not decoded(treated.picture).any()
    for plane in coefficients(treated.picture):
        assert len(np.unique(plane.reshape(-1, 64), axis=0)) == 1


def test_half_a_picture_that_does_not_show_its_redactions_is_held_back() -> None:
    class TooFine(Corner):
        """Makes a region of dots that no JPEG with a quarter of the colours can hold."""

        def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
            dots = np.indices((48, 48)).sum(axis=0) % 2 == 1
            frame.pixels[96:144, 96:144] = np.where(dots[..., None], (255, 0, 0), (0, 0, 255))
            there = Redaction("face", 1.0, (192, 192, 288, 288))
            return replace(frame, redactions=(there,))

    with pytest.raises(LeakSuspectedError):
        treat(by_simplejpeg("411")(drawn()), with_stage(TooFine({})), {}, NOBODY)


def test_the_blur_stage_says_how_closely_its_targets_are_looked_for(detectors: Detectors) -> None:
    (blur,) = BLUR.stages
    assert isinstance(blur, Blur)
    assert blur.finest_scale(4000, 3000, FACES, detectors) == pytest.approx(0.4)
    assert blur.finest_scale(1280, 720, FACES, detectors) == pytest.approx(0.575)
