"""Average precision of the detection network, by pycocotools (the extra `evaluate`)."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from typing import Any

from blurline.errors import OptionError
from blurline.evaluation.dataset import LabelledPicture
from blurline.inference.detector import Detection
from blurline.models.catalogue import catalogue

COCO_CLASSES = catalogue()["yolo11n"].labels

LEAST_CONFIDENCE = 0.001
"""Detections below this do not enter the curve; it is what detectors are compared at."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision over IoU thresholds of .5 to .95 (`ap`) and at .5 (`ap50`), 0 to 1."""

    network: str
    pictures: int
    labels: int
    ap: float
    ap50: float


def check_installed() -> None:
    """Make sure that pycocotools is there.

    Raises:
        OptionError: it is not.
    """
    if find_spec("pycocotools") is None:
        raise OptionError("sets with COCO classes need: pip install 'blurline[evaluate]'")


def average_precision(
    network: str, found: Sequence[tuple[LabelledPicture, Sequence[Detection]]]
) -> Precision:
    """COCO's measure (https://cocodataset.org/#detection-eval) of what was found in each picture.

    Other classes than COCO's do not count; ignored labels are taken as crowds.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    number_of = {name: number for number, name in enumerate(COCO_CLASSES, 1)}
    labels, detections = [], []
    for index, (picture, seen) in enumerate(found, 1):
        labels += [
            _annotation(index, number_of[box.label], box.xyxy, iscrowd=int(box.ignored))
            for box in picture.boxes
            if box.label in number_of
        ]
        detections += [
            _annotation(index, number_of[one.label], one.box, iscrowd=0, score=one.confidence)
            for one in seen
            if one.label in number_of
        ]
    # pycocotools prints what it does.
    with redirect_stdout(StringIO()):
        truth, results = COCO(), COCO()
        for coco, annotations in ((truth, labels), (results, detections)):
            coco.dataset = {
                "images": [{"id": index} for index in range(1, len(found) + 1)],
                "categories": [{"id": number} for number in number_of.values()],
                "annotations": [{"id": n, **one} for n, one in enumerate(annotations, 1)],
            }
            coco.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50 = evaluation.stats[:2].tolist()
    return Precision(network, len(found), len(labels), round(ap, 4), round(ap50, 4))


def _annotation(
    image: int, category: int, box: tuple[float, float, float, float], **more: float
) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    where = {"bbox": [left, top, width, height], "area": width * height}
    return {"image_id": image, "category_id": category, **where, **more}
