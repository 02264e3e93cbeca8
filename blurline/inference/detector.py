"""A network as the stages see it: pixels in, detections out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from blurline.geometry import clip
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Engine
from blurline.inference.heads import Head
from blurline.inference.letterbox import letterbox


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: its class, the network's confidence of 0 to 1, and its box.

    The box is left, top, right, bottom in pixels of the upright picture, inside the picture.
    """

    label: str
    confidence: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Detector:
    """An engine with the letterbox before it and the head behind it."""

    name: str
    engine: Engine
    head: Head
    labels: tuple[str, ...]
    input_size: int
    iou_threshold: float

    def warm_up(self) -> None:
        """Run once on an empty picture; a network's first run costs several times a later one."""
        self.detect(np.zeros((720, 1280, 3), np.uint8), threshold=1.0)

    def detect(self, pixels: Pixels, threshold: float) -> tuple[Detection, ...]:
        """Objects with a confidence of at least `threshold`, the surest first."""
        network_input, placement = letterbox(pixels, self.input_size, self.engine.fixed_size)
        input_height, input_width = network_input.shape[:2]
        outputs = self.engine.infer(network_input)
        found = self.head(outputs, input_height, input_width, threshold)
        found = found.suppressed(self.iou_threshold)
        height, width = pixels.shape[:2]
        boxes = clip(placement.to_picture(found.boxes), width, height)
        return tuple(
            Detection(self.labels[index], float(score), (x1, y1, x2, y2))
            for index, score, (x1, y1, x2, y2) in zip(
                found.classes.tolist(), found.scores.tolist(), boxes.tolist(), strict=True
            )
            if x2 > x1 and y2 > y1
        )


Detectors = Mapping[str, Detector]
"""Detectors by the name that the settings give their network: a catalogue name or a path."""
