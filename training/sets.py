"""The photos of the training, with what is labelled in them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training import teacher
from training.teacher import Teacher

LONGEST = 1280
"""Pixels of the long side in which photos are kept in memory, as JPEG."""

PLATE_SETS = {
    "plates/openimages_train": 3.0,
    "plates/romania_train": 1.0,
    "plates/india_street": 0.4,
    "plates/indonesia_rf": 0.4,
}
"""Sets with labelled plates and how much of the training they make up."""

UNEVENLY_LABELLED = frozenset({"plates/openimages_train"})
"""Far plates often have no label there, so what seems to be background is trusted less."""

FACE_SETS = ("people/coco_rf", "plates/openimages_train")
"""Photos of people, without labels of faces."""

NOTHING = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as JPEG bytes and its boxes, (n, 4), in the pixels of that JPEG.

    `doubtful` boxes may or may not be objects. `trusted` is False where objects may lack a label.
    """

    jpeg: bytes
    boxes: NDArray[np.float32]
    doubtful: NDArray[np.float32]
    trusted: bool


@dataclass(frozen=True, slots=True)
class Photos:
    """All photos of the training: with labelled objects, with a weight each, and without.

    `render` says whether objects are rendered into the photos too; only plates can be.
    """

    labelled: list[Photo]
    weights: list[float]
    negative: list[Photo]
    render: bool


def load_plates(data: Path) -> Photos:
    """The sets for plates.

    What the shipped network sees in unevenly labelled photos, but nobody labelled, is doubtful.
    """
    shipped = teacher.plates()
    labelled, weights = [], []
    for name, weight in PLATE_SETS.items():
        images = json.loads((data / name / "gt.json").read_text(encoding="utf-8"))["images"]
        doubter = shipped if name in UNEVENLY_LABELLED else None
        photos = [_labelled(data / name, image, doubter) for image in images]
        labelled += photos
        weights += [weight / len(photos)] * len(photos)
    people = sorted((data / "people/coco_rf").rglob("*.jpg"))
    negative = [_photo(_read(path), trusted=True) for path in (*_signs(data), *people)]
    return Photos(labelled, weights, negative, render=True)


def load_faces(data: Path) -> Photos:
    """The photos in which CenterFace sees faces, labelled with these, and signs without any."""
    labelled = []
    sure = teacher.faces()
    for path in (path for name in FACE_SETS for path in sorted((data / name).rglob("*.jpg"))):
        pixels = _read(path)
        boxes = sure.boxes(pixels)
        if len(boxes):
            labelled.append(_photo(pixels, boxes, trusted=False))
    negative = [_photo(_read(path), trusted=True) for path in _signs(data)]
    return Photos(labelled, [1.0] * len(labelled), negative, render=False)


def _signs(data: Path) -> list[Path]:
    """Every other road sign; the others are left for the evaluation."""
    return sorted((data / "negatives/roadsigns").rglob("*.jpg"))[::2]


def _labelled(folder: Path, image: dict[str, Any], doubter: Teacher | None) -> Photo:
    pixels = _read(folder / image["file"])
    rows = [(box["xyxy"], bool(box.get("ignore"))) for box in image["boxes"]]
    boxes, ignored = (
        np.array([xyxy for xyxy, ignore in rows if ignore == wanted], np.float32).reshape(-1, 4)
        for wanted in (False, True)
    )
    if doubter is None:
        return _photo(pixels, boxes, ignored, trusted=True)
    unsure = teacher.unlabelled(doubter.boxes(pixels), boxes)
    return _photo(pixels, boxes, np.concatenate([ignored, unsure]), trusted=False)


def _read(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise SystemExit(f"{path} is no picture that OpenCV reads")
    return np.asarray(pixels, np.uint8)


def _photo(
    pixels: NDArray[np.uint8],
    boxes: NDArray[np.float32] = NOTHING,
    doubtful: NDArray[np.float32] = NOTHING,
    *,
    trusted: bool,
) -> Photo:
    """The photo as it is kept in memory; all boxes are in pixels of `pixels`."""
    scale = min(1.0, LONGEST / max(pixels.shape[:2]))
    if scale < 1:
        pixels = np.asarray(
            cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    factor = np.float32(scale)
    return Photo(coded.tobytes(), boxes * factor, doubtful * factor, trusted)
