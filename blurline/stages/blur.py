"""The stage that finds what must not be seen and makes it unreadable."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from blurline.errors import ModelMissingError, OptionError
from blurline.geometry import grow
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detection, Detectors
from blurline.redaction.styles import redact, whole_pixels
from blurline.stages.frame import Frame, Options, Redaction
from blurline.stages.pipeline import Target


@dataclass(frozen=True, slots=True)
class Blur:
    """Redacts every region that shows one of the targets asked for.

    All networks look before the first pixel changes, so that one target's redaction can't hide
    another target from its network. A network that several targets share looks once.
    """

    targets: Mapping[str, Target]
    name: str = "blur"

    @property
    def models(self) -> frozenset[str]:
        """Networks of all targets that have one."""
        return frozenset(target.model for target in self.targets.values() if target.model)

    @property
    def required_models(self) -> frozenset[str]:
        """None: which networks must be there depends on the targets that a caller asks for."""
        return frozenset()

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        """The frame with its regions redacted in place and listed.

        Raises:
            OptionError: there is no target, so the picture would pass as it is.
            ModelMissingError: a target's network is not among `detectors`.
        """
        if not options.targets:
            raise OptionError("there is no target to blur")
        wanted = {name: self.targets[name] for name in options.targets}
        thresholds: dict[str, float] = {}
        for name, target in wanted.items():
            if target.model is None or target.model not in detectors:
                raise ModelMissingError(f"the network for the target {name} is not loaded")
            known = thresholds.get(target.model, 1.0)
            thresholds[target.model] = min(known, target.threshold)
        found = {
            model: detectors[model].detect(frame.pixels, threshold)
            for model, threshold in thresholds.items()
        }
        redactions = tuple(
            redaction
            for name, target in wanted.items()
            for redaction in _redactions(name, target, found[target.model or ""], frame.pixels)
        )
        for redaction in redactions:
            redact(frame.pixels, redaction.box, options.style)
        return replace(frame, redactions=redactions)


def _redactions(
    name: str, target: Target, detections: tuple[Detection, ...], pixels: Pixels
) -> list[Redaction]:
    """The regions to redact for one target: its detections, grown, in whole pixels."""
    chosen = [
        detection
        for detection in detections
        if detection.label in target.labels and detection.confidence >= target.threshold
    ]
    boxes = grow(np.array([d.box for d in chosen], np.float32).reshape(-1, 4), target.margin)
    height, width = pixels.shape[:2]
    return [
        Redaction(name, detection.confidence, whole_pixels((x1, y1, x2, y2), width, height))
        for detection, (x1, y1, x2, y2) in zip(chosen, boxes.tolist(), strict=True)
    ]
