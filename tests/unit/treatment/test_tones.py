"""What a viewer can see by pulling tones apart is found and redacted, at the file's full depth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from blurline.imaging.decode import Pixels
from blurline.imaging.header import Limits
from blurline.imaging.kind import Kind
from blurline.inference.detector import Detectors
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import MOSAIC_CELLS, Style
from blurline.settings import load_settings
from blurline.stages.frame import Options, Quality
from blurline.treatment.redacted import Redacted
from blurline.treatment.redaction import RedactionTreatment
from blurline.treatment.second_look import SecondLook
from blurline.treatment.writing import WriteMethod
from tests.jpegs import decoded
from tests.sure import sure

SETTINGS = load_settings()
FACE = Options(("face",), Style.MOSAIC, Quality.FAST)
LEAST = pipelines(SETTINGS)["blur"].targets["face"].levels[Quality.FAST].threshold


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return load_detectors([SETTINGS.face_model], inference(SETTINGS))


@pytest.fixture(scope="module")
def photo(zidane: bytes) -> Pixels:
    """Two faces in 640 x 360."""
    return np.asarray(cv2.resize(decoded(zidane), (640, 360), interpolation=cv2.INTER_AREA))


def treated(data: bytes, detectors: Detectors, options: Options = FACE) -> Redacted:
    treatment = RedactionTreatment(detectors, Limits(10**8, 10**8), quality=90, second_looks=1.0)
    return treatment.redact(data, pipelines(SETTINGS)["blur"], options)


def file_of(samples: np.ndarray, ending: str, *options: int) -> bytes:
    order = [2, 1, 0] if samples.shape[-1] == 3 else [0]
    done, file = cv2.imencode(ending, np.ascontiguousarray(samples[..., order]), options)
    assert done
    return file.tobytes()


def samples_of(file: bytes) -> np.ndarray:
    samples = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    assert samples is not None
    return samples[..., None] if samples.ndim == 2 else samples[..., ::-1]


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize(
    ("black", "white", "channels"),
    [(0, 1020, 1), (0, 4080, 3), (0, 200, 3), (30_000, 31_000, 1), (61_000, 65_535, 3)],
    ids=["10 bits", "12 bits", "not even 8 bits", "grey in the middle", "pale"],
)
def test_faces_in_part_of_16_bits_are_redacted_at_full_depth(
    photo: Pixels, detectors: Detectors, ending: str, black: int, white: int, channels: int
) -> None:
    tones = photo[..., 1:2] if channels == 1 else photo
    deep = (black + np.rint(tones / 255.0 * (white - black))).astype(np.uint16)
    result = treated(file_of(deep, ending), detectors)
    assert len(sure(result.frame.redactions, LEAST)) == 2
    assert result.second_look is SecondLook.PASSED
    written = samples_of(result.picture)
    assert written.dtype == np.uint16
    outside = np.ones(deep.shape[:2], np.bool_)
    for left, top, right, bottom in (one.box for one in result.frame.redactions or ()):
        outside[top:bottom, left:right] = False
        colours = np.unique(written[top:bottom, left:right].reshape(-1, channels), axis=0)
        assert len(colours) <= 2 * MOSAIC_CELLS**2
        assert black - 1 <= colours.min() <= colours.max() <= max(white, black + 255)
    assert (written[outside] == deep[outside]).all()


def test_a_bad_pixel_in_a_dark_file_of_16_bits_hides_no_face(
    photo: Pixels, detectors: Detectors
) -> None:
    deep = photo.astype(np.uint16) * 4
    deep[5, 5] = deep[200, 9] = 65_535
    result = treated(file_of(deep, ".png"), detectors)
    assert len(sure(result.frame.redactions, LEAST)) == 2
    assert (samples_of(result.picture)[5, 5] == 65_535).all()


@pytest.mark.parametrize(
    ("kind", "way"), [(Kind.JPEG, WriteMethod.LOSSLESS), (Kind.PNG, WriteMethod.REENCODED)], ids=str
)
@pytest.mark.parametrize(("black", "white"), [(0, 16), (225, 250)], ids=["dark", "pale"])
def test_faces_in_a_dark_or_pale_picture_of_8_bits_are_found(
    photo: Pixels, detectors: Detectors, kind: Kind, way: WriteMethod, black: int, white: int
) -> None:
    narrow = (black + np.rint(photo / 255.0 * (white - black))).astype(np.uint8)
    quality = (cv2.IMWRITE_JPEG_QUALITY, 100) if kind is Kind.JPEG else ()
    result = treated(file_of(narrow, f".{kind.value}", *quality), detectors)
    assert len(sure(result.frame.redactions, LEAST)) == 2
    assert result.second_look in (SecondLook.PASSED, SecondLook.MENDED)
    assert result.way is way
    assert result.frame.pixels.max() <= white + 4


def test_ten_bits_in_sixteen_show_the_faces_that_sixteen_show(
    data: Path, detectors: Detectors
) -> None:
    folder = data / "reports" / "07b-tiff-faces"
    options = Options(("face",), Style.MOSAIC)
    full, ten = (
        len(treated((folder / name).read_bytes(), detectors, options).frame.redactions or ())
        for name in ("grey16.tif", "grey10in16.tif")
    )
    assert ten >= full >= 10
