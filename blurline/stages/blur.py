"""The stage that finds what must not be seen and makes it unreadable."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blurline.errors import ModelMissingError, OptionError
from blurline.geometry import Margin, grow
from blurline.inference.detector import Detection, Detectors
from blurline.inference.scan import Scan
from blurline.redaction.styles import Style, redact, whole_pixels
from blurline.redaction.zones import ZONE, Polygon, Zones, bounds, holds, polygon_mask, scaled
from blurline.stages.frame import Frame, Options, Redaction, reduced
from blurline.stages.pipeline import Level, Target


@dataclass(frozen=True, slots=True)
class Found:
    """Something to redact: which target it is, what was seen, and by how much its box is grown."""

    target: str
    detection: Detection
    margin: Margin

    def redaction(self, width: int, height: int) -> Redaction:
        """The region to redact in a picture of that size: the box, grown, in whole pixels."""
        grown = grow(np.array([self.detection.box], np.float32), self.margin)
        x1, y1, x2, y2 = grown[0].tolist()
        box = whole_pixels((x1, y1, x2, y2), width, height)
        return Redaction(self.target, self.detection.confidence, box)


@dataclass(frozen=True, slots=True)
class Blur:
    """Redacts every region that shows one of the targets asked for, and the caller's zones.

    All networks look before the first pixel changes, so that one target's redaction can't hide
    another target from its network. A network looks once for all targets that want the same scan.
    """

    targets: Mapping[str, Target]
    name: str = "blur"

    @property
    def models(self) -> frozenset[str]:
        """Networks of all targets."""
        return frozenset(target.model for target in self.targets.values())

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
        width, height = frame.size
        found = self.find(frame, options, detectors)
        redactions = (
            *(one.redaction(width, height) for one in found),
            *(_of_zone(zone, width, height) for zone in options.zones.redact),
        )
        for redaction in redactions:
            apply(redaction, frame, options.style)
        return replace(frame, redactions=redactions)

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: Detectors
    ) -> float:
        """See `Stage.finest_scale`."""
        looks = self._looks(options, detectors)
        return max(detectors[name].finest_scale(width, height, scan) for name, scan in looks)

    def find(self, frame: Frame, options: Options, detectors: Detectors) -> tuple[Found, ...]:
        """What the networks see of the targets asked for, but for what the zones leave alone.

        Raises:
            OptionError: there is no target.
            ModelMissingError: a target's network is not among `detectors`.
        """
        wanted = {name: self.targets[name] for name in options.targets}
        levels = {name: _level(name, target, options) for name, target in wanted.items()}
        seen = {
            (model, scan): detectors[model].detect(
                frame.pixels, threshold, scan, reduction=frame.reduction
            )
            for (model, scan), threshold in self._looks(options, detectors).items()
        }
        width, height = frame.size
        return tuple(
            Found(name, detection, levels[name].margin)
            for name, target in wanted.items()
            for detection in seen[target.model, levels[name].scan]
            if detection.label in target.labels
            and detection.confidence >= levels[name].threshold
            and not _ignored(detection, options.zones, width, height)
        )

    def _looks(self, options: Options, detectors: Detectors) -> dict[tuple[str, Scan], float]:
        """Which network looks how closely, and the least threshold of the targets it looks for.

        Raises:
            OptionError, ModelMissingError: see `find`.
        """
        if not options.targets:
            raise OptionError("there is no target to blur")
        looks: dict[tuple[str, Scan], float] = {}
        for name in options.targets:
            target = self.targets[name]
            if target.model not in detectors:
                raise ModelMissingError(f"the network for the target {name} is not loaded")
            level = _level(name, target, options)
            look = target.model, level.scan
            looks[look] = min(looks.get(look, 1.0), level.threshold)
        return looks


def _level(name: str, target: Target, options: Options) -> Level:
    """How closely to look for the target, with the caller's own threshold if there is one."""
    level = target.levels[options.quality]
    return replace(level, threshold=options.thresholds.get(name, level.threshold))


def _ignored(detection: Detection, zones: Zones, width: int, height: int) -> bool:
    """Whether the detection, not grown, lies wholly inside one of the zones to ignore."""
    left, top, right, bottom = detection.box
    box = left / width, top / height, right / width, bottom / height
    return any(holds(polygon, box) for polygon in zones.ignore)


def _of_zone(zone: Polygon, width: int, height: int) -> Redaction:
    polygon = scaled(zone, width, height)
    return Redaction(ZONE, 1.0, whole_pixels(bounds(polygon), width, height), polygon)


def apply(redaction: Redaction, frame: Frame, style: Style) -> None:
    """Make the region unreadable, in place."""
    box = reduced(redaction.box, frame.reduction)
    redact(frame.pixels, box, style, mask_of(redaction, frame.reduction))


def mask_of(redaction: Redaction, reduction: int) -> NDArray[np.bool_] | None:
    """Which pixels of the reduced box are made unreadable, in its shape; None for all."""
    if redaction.polygon is None:
        return None
    polygon = scaled(redaction.polygon, 1 / reduction, 1 / reduction)
    return polygon_mask(polygon, reduced(redaction.box, reduction))
