"""A network as the stages see it: pixels in, detections out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from blurline import metrics
from blurline.errors import TooManyRegionsError
from blurline.geometry import clip, turned_back
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Engine
from blurline.inference.heads import Candidates, Head, joined
from blurline.inference.letterbox import letterbox, pad, scaled
from blurline.inference.scan import Scan

MOST_CANDIDATES = 1_000_000
"""Boxes of one picture before those that show the same thing are joined, which takes two seconds
for so many."""


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
    """An engine with the letterbox before it and the head behind it.

    `sha256` is that of the network's file, in hex; empty for one that is from no file.
    """

    name: str
    engine: Engine
    head: Head
    labels: tuple[str, ...]
    input_size: int
    iou_threshold: float
    sha256: str = ""

    def warm_up(self) -> None:
        """Run once on an empty picture; a network's first run costs several times a later one."""
        self.detect(np.zeros((720, 1280, 3), np.uint8), threshold=1.0)

    def finest_scale(self, width: int, height: int, scan: Scan | None = None) -> float:
        """The largest share of the picture's width and height at which `detect` looks at it."""
        if self.engine.fixed_size is not None:
            input_height, input_width = self.engine.fixed_size
            return min(input_width / width, input_height / height)
        longest = max(width, height)
        passes = (scan or self._one_look).pass_sizes(width, height)
        return max(max(size) / longest for size in passes)

    def detect(
        self, pixels: Pixels, threshold: float, scan: Scan | None = None, *, reduction: int = 1
    ) -> tuple[Detection, ...]:
        """Objects with a confidence of at least `threshold`, the surest first.

        Without `scan` the network looks once, at its own `input_size`; one of fixed size always
        does. `scan` and the boxes are about the whole picture, of which `pixels` hold the
        `reduction`-th part of each side.

        Raises:
            TooManyRegionsError: the network sees more of them than can be told apart.
        """
        found = self._candidates(pixels, threshold, scan or self._one_look, reduction)
        height, width = pixels.shape[:2]
        boxes = clip(found.boxes, width, height) * np.float32(reduction)
        return tuple(
            Detection(self.labels[index], float(score), (x1, y1, x2, y2))
            for index, score, (x1, y1, x2, y2) in zip(
                found.classes.tolist(), found.scores.tolist(), boxes.tolist(), strict=True
            )
            if x2 > x1 and y2 > y1
        )

    @property
    def _one_look(self) -> Scan:
        return Scan((self.input_size,))

    def _candidates(
        self, pixels: Pixels, threshold: float, scan: Scan, reduction: int
    ) -> Candidates:
        """What all passes and tiles show, each object once, in the pixels that are given.

        Raises:
            TooManyRegionsError: there are more than `MOST_CANDIDATES`.
        """
        if self.engine.fixed_size is not None:
            network_input, placement = letterbox(pixels, self.input_size, self.engine.fixed_size)
            found = self._infer(network_input, threshold)
            found = found.suppressed(self.iou_threshold)
            return replace(found, boxes=placement.to_picture(found.boxes))
        parts: list[Candidates] = []
        for part in self._parts(pixels, threshold, scan, reduction):
            parts.append(part)
            if sum(len(one.scores) for one in parts) > MOST_CANDIDATES:
                raise TooManyRegionsError("the picture shows too many things to tell them apart")
        if len(parts) == 1:
            return parts[0].suppressed(self.iou_threshold)
        return joined(parts).suppressed(self.iou_threshold).without_parts()

    def _parts(
        self, pixels: Pixels, threshold: float, scan: Scan, reduction: int
    ) -> Iterator[Candidates]:
        """What each tile shows of each pass, over the picture and its turned copies."""
        yield from self._passes(pixels, threshold, scan, reduction)
        if scan.turned is None:
            return
        doubt = scan.turned.doubt
        least = threshold ** (1 / doubt)
        for part in self._passes(pixels, least, scan.turned, reduction, (1, 2, 3)):
            yield replace(part, scores=part.scores**doubt)

    def _passes(
        self,
        pixels: Pixels,
        threshold: float,
        scan: Scan,
        reduction: int,
        turns: Sequence[int] = (0,),
    ) -> Iterator[Candidates]:
        """What each tile shows of each pass over the picture, turned so often by `numpy.rot90`.

        What is turned is the pass and not the picture, which may be a hundred times as large.
        """
        height, width = pixels.shape[:2]
        for pass_width, pass_height in scan.pass_sizes(width * reduction, height * reduction):
            upright = scaled(pixels, pass_width, pass_height)
            scale = np.array([width / pass_width, height / pass_height] * 2, np.float32)
            for turn in turns:
                fitted = np.ascontiguousarray(np.rot90(upright, turn))
                for left, top, right, bottom in scan.tiles(fitted.shape[1], fitted.shape[0]):
                    network_input, pad_left, pad_top = pad(fitted[top:bottom, left:right])
                    found = self._infer(network_input, threshold)
                    corner = np.array([left - pad_left, top - pad_top] * 2, np.float32)
                    boxes = turned_back(found.boxes + corner, turn, pass_width, pass_height)
                    yield replace(found, boxes=boxes * scale)

    def _infer(self, network_input: Pixels, threshold: float) -> Candidates:
        height, width = network_input.shape[:2]
        started = perf_counter()
        outputs = self.engine.infer(network_input)
        metrics.INFERENCE_SECONDS.labels(self.name).observe(perf_counter() - started)
        return self.head(outputs, height, width, threshold)


Detectors = Mapping[str, Detector]
"""Detectors by the name that the settings give their network: a catalogue name or a path."""
