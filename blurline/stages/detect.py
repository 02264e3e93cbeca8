"""The stage that finds objects in the blurred picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from blurline.stages.frame import Frame, Options
from blurline.stages.pipeline import Target

if TYPE_CHECKING:
    from blurline.inference.detector import Detectors


@dataclass(frozen=True, slots=True)
class Detect:
    """Lists the objects that one network sees, from `threshold` upwards."""

    model: str
    threshold: float = 0.25
    name: str = "detect"

    @property
    def targets(self) -> Mapping[str, Target]:
        """None: this stage blurs nothing."""
        return MappingProxyType({})

    @property
    def models(self) -> frozenset[str]:
        """The one network."""
        return frozenset((self.model,))

    @property
    def required_models(self) -> frozenset[str]:
        """The one network."""
        return self.models

    def run(self, frame: Frame, options: Options, detectors: "Detectors") -> Frame:
        """The frame with its objects listed; the pixels stay as they are."""
        from blurline.imaging.levels import stretched

        detections = detectors[self.model].detect(
            stretched(frame.pixels), self.threshold, reduction=frame.reduction
        )
        return replace(frame, detections=detections)

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: "Detectors"
    ) -> float:
        """See `Stage.finest_scale`."""
        return detectors[self.model].finest_scale(width, height)
