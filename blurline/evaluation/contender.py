"""What is measured: the blur stage at one quality level, or something that a user would take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import process_time
from typing import Any, Protocol

from blurline.evaluation.coverage import Mask, mask_of
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detectors
from blurline.inference.engine import Arithmetic, Engine, Outputs
from blurline.stages.blur import Blur
from blurline.stages.frame import Frame, Options, Redaction


@dataclass(frozen=True, slots=True, eq=False)
class Redacted:
    """What became of one picture.

    Attributes:
        masks: the redacted pixels of each target.
        regions: how many regions of each target were redacted.
        cpu_seconds: what all threads of this process took, decoding not counted; it means something
            only while nothing else runs.
    """

    masks: Mapping[str, Mask]
    regions: Mapping[str, int]
    cpu_seconds: float


class Contender(Protocol):
    """Something that redacts pictures."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def targets(self) -> frozenset[str]:
        """What it can redact."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it was run with, as JSON can say it."""

    def redact(self, pixels: Pixels, targets: Sequence[str]) -> Redacted:
        """What it makes unreadable, asked for these targets; `pixels` stay as they are."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """The blur stage as the service runs it; the targets of `options` give way to those asked for.

    `name` is the quality level's.
    """

    stage: Blur
    options: Options
    detectors: Detectors

    @property
    def name(self) -> str:
        """The quality level."""
        return self.options.quality.value

    @property
    def targets(self) -> frozenset[str]:
        """All targets of the stage."""
        return frozenset(self.stage.targets)

    @property
    def settings(self) -> dict[str, Any]:
        """Network, scan, threshold and margin of each target that is measured."""
        quality, targets = self.options.quality, self.stage.targets
        return {
            name: {
                "model": targets[name].model,
                **asdict(targets[name].levels[quality]),
                "threshold": self.threshold(name),
            }
            for name in self.options.targets
        }

    def threshold(self, target: str) -> float:
        """The least confidence, 0 to 1, in force for a target."""
        shipped = self.stage.targets[target].levels[self.options.quality].threshold
        return self.options.thresholds.get(target, shipped)

    def redact(self, pixels: Pixels, targets: Sequence[str]) -> Redacted:
        """See `Contender.redact`."""
        frame = Frame(pixels.copy())
        options = replace(self.options, targets=tuple(targets))
        started = process_time()
        redactions = self.stage.run(frame, options, self.detectors).redactions or ()
        return _redacted(redactions, pixels, targets, process_time() - started)

    def swept(
        self, pixels: Pixels, targets: Sequence[str], target: str, thresholds: Sequence[float]
    ) -> Iterator[Redacted]:
        """What it would redact at each of the thresholds for one target, the others' as they are.

        The networks run once; all that follows them is done for each threshold.
        """
        detectors = {
            name: replace(detector, engine=Remembering(detector.engine))
            for name, detector in self.detectors.items()
        }
        for threshold in thresholds:
            least = {**self.options.thresholds, target: threshold}
            options = replace(self.options, thresholds=least)
            yield replace(self, options=options, detectors=detectors).redact(pixels, targets)


@dataclass(frozen=True, slots=True)
class Remembering:
    """An engine that runs its network once for each input. It is never emptied."""

    engine: Engine
    known: dict[tuple[tuple[int, ...], bytes], Outputs] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Engine.labels`."""
        return self.engine.labels

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """See `Engine.fixed_size`."""
        return self.engine.fixed_size

    @property
    def precision(self) -> Arithmetic:
        """See `Engine.precision`."""
        return self.engine.precision

    def infer(self, pixels: Pixels) -> Outputs:
        """See `Engine.infer`."""
        key = pixels.shape, pixels.tobytes()
        if key not in self.known:
            outputs = self.engine.infer(pixels)
            self.known[key] = {name: tensor.copy() for name, tensor in outputs.items()}
        return self.known[key]


def _redacted(
    redactions: Sequence[Redaction], pixels: Pixels, targets: Sequence[str], cpu_seconds: float
) -> Redacted:
    height, width = pixels.shape[:2]
    boxes = {name: [r.box for r in redactions if r.target == name] for name in targets}
    return Redacted(
        {name: mask_of(found, width, height) for name, found in boxes.items()},
        {name: len(found) for name, found in boxes.items()},
        cpu_seconds,
    )
