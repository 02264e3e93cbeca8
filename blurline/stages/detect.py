"""The stage that finds objects in the blurred picture."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from blurline.stages.frame import Frame, Options
from blurline.stages.optiontable import Option, Values

if TYPE_CHECKING:
    from blurline.inference.detector import Detectors


@dataclass(frozen=True, slots=True)
class Detect:
    """Lists the objects that one network sees, from `threshold` upwards."""

    model: str
    threshold: float = 0.25
    name: str = "detect"

    @property
    def options(self) -> tuple[Option[Any], ...]:
        """None."""
        return ()

    @property
    def networks(self) -> frozenset[str]:
        """The one network."""
        return frozenset((self.model,))

    def models(self, values: Values) -> frozenset[str]:
        """The one network, whatever the options."""
        return self.networks

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
        """See `Redacting.finest_scale`."""
        return detectors[self.model].finest_scale(width, height)
