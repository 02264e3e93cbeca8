"""What networks that are trained already see in photos without labels."""

import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels
from blurline.inference.scan import Scan
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector
from blurline.settings import default_model_dir


class Teacher:
    """A network of blurline's catalogue."""

    def __init__(self, name: str, scan: Scan, confidence: float) -> None:
        """Load the network, fetched if need be; it looks as `scan` says."""
        model = find(name)
        folder = default_model_dir()
        model.source.pull(folder)
        self._detector = load_detector(model, Inference(folder, threads=1))
        self._scan, self._confidence = scan, confidence

    def boxes(self, pixels: Pixels) -> NDArray[np.float32]:
        """What it sees in the RGB picture: left, top, right, bottom in pixels, shape (n, 4)."""
        found = self._detector.detect(pixels, self._confidence, self._scan)
        return np.array([one.box for one in found], np.float32).reshape(-1, 4)


def faces() -> Teacher:
    """CenterFace, where it is sure; it is unsure of many more faces."""
    return Teacher("centerface", Scan((640, 960)), confidence=0.3)


def plates() -> Teacher:
    """The plate network that is shipped, where it is sure: its errors are worth learning from."""
    return Teacher("platenet", Scan((640, 1280)), confidence=0.5)


def unlabelled(seen: NDArray[np.float32], labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those of the boxes seen that meet no label."""
    apart = [
        not ((box[:2] < labels[:, 2:]) & (labels[:, :2] < box[2:])).all(axis=1).any()
        for box in seen
    ]
    return seen[np.array(apart, np.bool_)]
