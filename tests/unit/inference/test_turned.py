"""Copies of a picture that are turned, for what lies on its side."""

import numpy as np
import pytest

from blurline.geometry import turned_back
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detector
from blurline.inference.scan import Scan
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector
from blurline.pipeline_architecture import FACES, PEOPLE, PLATES, VEHICLE_LEVELS
from blurline.settings import load_settings
from blurline.stages.frame import Quality
from tests.boxes import best_iou
from tests.jpegs import decoded
from tests.sure import sure

TURNED = Scan((640,), turned=Scan((640,)))


@pytest.fixture(scope="module")
def faces() -> Detector:
    return load_detector(find("centerface"), Inference(load_settings().model_dir, threads=2))


@pytest.fixture(scope="module")
def photo(zidane: bytes) -> Pixels:
    return decoded(zidane)


@pytest.mark.parametrize("turns", range(4))
def test_boxes_are_turned_back_to_where_they_were(turns: int) -> None:
    picture = np.zeros((30, 50), np.uint8)
    picture[4:9, 20:41] = 1
    rows, columns = np.nonzero(np.rot90(picture, turns))
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert turned_back(np.array([box], np.float32), turns, 50, 30).tolist() == [[20, 4, 41, 9]]


@pytest.mark.parametrize("turns", range(4))
def test_a_photo_that_lies_on_its_side_shows_the_faces_of_the_upright_one(
    turns: int, photo: Pixels, faces: Detector
) -> None:
    upright = sure(faces.detect(photo, 0.3, Scan((640,))), 0.3)
    assert len(upright) == 2
    lying = np.ascontiguousarray(np.rot90(photo, turns))
    found = faces.detect(lying, 0.3, TURNED)
    boxes = turned_back(np.array([one.box for one in found], np.float32), turns, 1280, 720)
    for one in upright:
        assert best_iou(one.box, boxes.tolist()) > 0.8


def test_a_face_that_several_copies_show_is_one(photo: Pixels, faces: Detector) -> None:
    assert len(sure(faces.detect(photo, 0.3, TURNED), 0.3)) == 2


def test_turned_copies_have_to_be_surer(photo: Pixels, faces: Detector) -> None:
    lying = np.ascontiguousarray(np.rot90(photo))
    easy, strict = (
        faces.detect(lying, 0.3, Scan((640,), turned=Scan((640,), doubt=doubt)))
        for doubt in (1.0, 2.0)
    )
    assert strict[0].box == easy[0].box
    assert strict[0].confidence == pytest.approx(easy[0].confidence ** 2)
    assert len(strict) <= len(easy)
    assert min(one.confidence for one in strict) >= 0.3


def test_of_a_reduced_picture_copies_are_looked_at_as_of_the_whole(
    photo: Pixels, faces: Detector
) -> None:
    lying = np.ascontiguousarray(np.rot90(photo[::2, ::2]))
    whole = np.ascontiguousarray(np.rot90(photo))
    half, full = (
        sure(faces.detect(pixels, 0.3, TURNED, reduction=reduction), 0.3)
        for pixels, reduction in ((lying, 2), (whole, 1))
    )
    assert len(full) == 2
    for one in full:
        assert best_iou(one.box, [other.box for other in half]) > 0.8


def test_only_faces_are_looked_for_in_turned_copies_and_only_by_who_asks_for_it() -> None:
    turned = {
        (name, quality)
        for name, levels in (
            ("face", FACES),
            ("plate", PLATES),
            ("vehicle", VEHICLE_LEVELS),
            ("person", PEOPLE),
        )
        for quality, level in levels.items()
        if level.scan.turned
    }
    assert turned == {("face", Quality.THOROUGH)}
