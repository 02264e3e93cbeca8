"""What lies across the edges of a picture that goes all the way round."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blurline.imaging.decode import Pixels
from blurline.imaging.header import read_header
from blurline.imaging.panorama import Panorama
from blurline.inference.detector import Detector
from blurline.inference.engine import Outputs
from blurline.inference.heads import yolo
from blurline.inference.scan import Scan
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.settings import load_settings
from blurline.stages.blur import Blur
from blurline.stages.frame import Frame, Options, Quality
from blurline.stages.pipeline import Level, Target
from blurline.stages.seam import SHARE, across_seam
from blurline.treatment.opening import open_frame
from blurline.treatment.redacted import Redacted
from blurline.treatment.redaction import RedactionTreatment
from tests.jpegs import LIMITS, decoded

SETTINGS = load_settings()
BLUR = pipelines(SETTINGS)["blur"]
FACES = Options(("face",), Style.SOLID, Quality.FAST)
WIDTH, HEIGHT = 1280, 640
WHOLE = (("ProjectionType", "equirectangular"),)
PART = (*WHOLE, ("FullPanoWidthPixels", "2560"), ("CroppedAreaImageWidthPixels", "1280"))


class Eye:
    """An engine that sees one thing, in the middle of what it is shown."""

    labels = ("face",)
    fixed_size = None
    precision = "f32"

    def __init__(self, width: float, off: float = 0.0) -> None:
        self.width, self.off = width, off

    def infer(self, pixels: Pixels) -> Outputs:
        height, width = pixels.shape[:2]
        middle = (width / 2 + self.off, height / 2)
        return {"output0": np.array([[[*middle, self.width, 40.0, 0.9]]], np.float32).mT}


def eye(width: float, off: float = 0.0) -> Detector:
    return Detector("eye", Eye(width, off), yolo, ("face",), 320, 0.7)


def seen(detector: Detector, frame: Frame) -> list[tuple[float, ...]]:
    scan = Scan((max(frame.pixels.shape[0], 2 * (frame.pixels.shape[1] // SHARE)),))
    return [one.box for one in across_seam(frame, frame.pixels, detector, 0.5, scan)]


def test_what_lies_across_is_told_from_both_edges() -> None:
    frame = Frame(np.zeros((128, 512, 3), np.uint8), wraps=True)
    assert seen(eye(50, off=5), frame) == [(492, 44, 542, 84), (-20, 44, 30, 84)]
    half = Frame(np.zeros((128, 512, 3), np.uint8), reduction=2, wraps=True)
    scan = Scan((256,))
    found = across_seam(half, half.pixels, eye(50, off=5), 0.5, scan)
    assert [one.box for one in found] == [(1004, 108, 1054, 148), (-20, 108, 30, 148)]


@pytest.mark.parametrize("off", [25, -25, 40])
def test_what_ends_at_the_edge_is_left_to_the_look_at_the_whole(off: float) -> None:
    assert seen(eye(50, off=off), Frame(np.zeros((128, 512, 3), np.uint8))) == []


@pytest.mark.parametrize("width", [1, 7, 8, 15])
def test_a_picture_of_few_columns_is_no_trouble(width: int) -> None:
    seen(eye(2), Frame(np.zeros((64, width, 3), np.uint8), wraps=True))


def test_each_half_grows_as_a_part_of_the_whole() -> None:
    level = Level(Scan((512,), enlarge=1.0), 0.5, 0.5)
    blur = Blur({"face": Target("eye", frozenset({"face"}), dict.fromkeys(Quality, level))})
    frame = Frame(np.full((128, 512, 3), 9, np.uint8), wraps=True)
    boxes = [one.box for one in blur.run(frame, FACES, {"eye": eye(50)}).redactions or ()]
    assert (0, 24, 50, 104) in boxes
    assert (462, 24, 512, 104) in boxes


def panorama(zidane: bytes, sphere: tuple[tuple[str, str], ...]) -> bytes:
    """A JPEG with a face across its edges, from which it is told how it lies on the sphere."""
    pixels = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    face = decoded(zidane)[40:340, 860:1130]
    pixels[200:500, 500:770] = face
    pixels = np.roll(pixels, WIDTH - 640, axis=1)
    with BytesIO() as file:
        xmp = Panorama(sphere).xmp() if sphere else b""
        Image.fromarray(pixels).save(file, "JPEG", quality=92, xmp=xmp)
        return file.getvalue()


def treated(data: bytes) -> Redacted:
    detectors = load_detectors([SETTINGS.face_model], inference(SETTINGS))
    return RedactionTreatment(detectors, LIMITS, quality=90, second_looks=1.0).redact(
        data, BLUR, FACES
    )


def test_a_face_across_the_seam_is_redacted_on_both_sides(zidane: bytes) -> None:
    shown = decoded(treated(panorama(zidane, WHOLE)).picture)
    # The photo's face is from 919 to 1055 across and from 99 to 276 down: see DEFACE.
    left, top, right, bottom = 919 - 860 - 140, 99 + 160, 1055 - 860 - 140, 276 + 160
    assert left < 0 < right
    assert shown[top:bottom, : right - 8].mean() < 16
    assert shown[top:bottom, WIDTH + left + 8 :].mean() < 16


@pytest.mark.parametrize(
    ("sphere", "wraps"), [(WHOLE, True), (PART, False), ((), False)], ids=["whole", "part", "none"]
)
def test_only_what_goes_all_the_way_round_has_a_seam(
    zidane: bytes, sphere: tuple[tuple[str, str], ...], wraps: bool
) -> None:
    data = panorama(zidane, sphere)
    frame = open_frame(data, read_header(data, LIMITS), BLUR, FACES, {})
    assert frame.wraps is wraps
