"""The stage that finds what must not be seen and makes it unreadable.

What works on pixels is imported where it runs: the API knows this stage, and has no pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from blurline.errors import ModelMissingError, OptionError, TooManyRegionsError
from blurline.inference.scan import Scan
from blurline.stages.frame import Frame, Options
from blurline.stages.options import redaction_options
from blurline.stages.optiontable import Option, Values
from blurline.stages.pipeline import Level, Target

if TYPE_CHECKING:
    from blurline.inference.detector import Detection, Detectors
    from blurline.stages.regions import Found

MOST_REGIONS = 50_000
"""Things to blur in one picture. Each takes a hundred bytes in the record and the certificate."""


@dataclass(frozen=True, slots=True)
class Blur:
    """Redacts every region that shows one of the targets asked for, and the caller's zones.

    All networks look before the first pixel changes, so that one target's redaction can't hide
    another target from its network. A network looks once for all targets that want the same scan.
    """

    targets: Mapping[str, Target]
    name: str = "blur"

    @property
    def options(self) -> "tuple[Option[Any], ...]":
        """Those of redaction."""
        return redaction_options(self.targets)

    @property
    def networks(self) -> frozenset[str]:
        """Those of all targets."""
        return frozenset(target.model for target in self.targets.values())

    def models(self, values: Values) -> frozenset[str]:
        """Those of the targets that a caller asks for."""
        wanted = (self.targets.get(name) for name in values["targets"])
        return frozenset(target.model for target in wanted if target is not None)

    def run(self, frame: Frame, options: Options, detectors: "Detectors") -> Frame:
        """The frame with its regions redacted in place and listed.

        Raises:
            OptionError: there is no target, so the picture would pass as it is.
            ModelMissingError: a target's network is not among `detectors`.
            TooManyRegionsError: see `find`.
        """
        from blurline.stages.regions import apply, of_zone

        width, height = frame.size
        found = self.find(frame, options, detectors)
        redactions = (
            *(one.redaction(width, height) for one in found),
            *(of_zone(zone, width, height) for zone in options.zones.redact),
        )
        for redaction in redactions:
            apply(redaction, frame, options.style)
        return replace(frame, redactions=redactions)

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: "Detectors"
    ) -> float:
        """See `Redacting.finest_scale`."""
        looks = self._looks(options, detectors)
        return max(detectors[name].finest_scale(width, height, scan) for name, scan in looks)

    def find(self, frame: Frame, options: Options, detectors: "Detectors") -> "tuple[Found, ...]":
        """What the networks see of the targets asked for, but for what the zones leave alone.

        They see the picture as bright as a viewer can make it: see `stretched`. Of one that goes
        all the way round they look across its edges as well; boxes of what lies there reach beyond
        the picture.

        Raises:
            OptionError: there is no target.
            ModelMissingError: a target's network is not among `detectors`.
            TooManyRegionsError: it is more than `MOST_REGIONS`.
        """
        from blurline.imaging.levels import stretched
        from blurline.stages.regions import Found, ignored
        from blurline.stages.seam import across_seam

        wanted = {name: self.targets[name] for name in options.targets}
        levels = {name: _level(name, target, options) for name, target in wanted.items()}
        shown = stretched(frame.pixels)
        seen: dict[tuple[str, Scan], list[Detection]] = {}
        for (model, scan), threshold in self._looks(options, detectors).items():
            detector = detectors[model]
            found_whole = detector.detect(shown, threshold, scan, reduction=frame.reduction)
            seen[model, scan] = [*found_whole]
            if frame.wraps:
                seen[model, scan] += across_seam(frame, shown, detector, threshold, scan)
        found = [
            Found(name, detection, levels[name].margin)
            for name, target in wanted.items()
            for detection in seen[target.model, levels[name].scan]
            if detection.label in target.labels and detection.confidence >= levels[name].threshold
        ]
        if len(found) > MOST_REGIONS:
            raise TooManyRegionsError(f"the picture shows more than {MOST_REGIONS} things to blur")
        alone = ignored([one.detection for one in found], options.zones, *frame.size)
        return tuple(one for one, let in zip(found, alone.tolist(), strict=True) if not let)

    def _looks(self, options: Options, detectors: "Detectors") -> dict[tuple[str, Scan], float]:
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
