"""A pipeline: named stages in order."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from blurline import tracing
from blurline.errors import ModelMissingError, OptionError
from blurline.inference.scan import Scan
from blurline.stages.frame import Frame, Options, Quality

if TYPE_CHECKING:  # the API asks pipelines what they offer and never runs one: see `frame`
    from blurline.geometry import Margin
    from blurline.inference.detector import Detectors


@dataclass(frozen=True, slots=True)
class Level:
    """How one quality level looks for one target.

    Attributes:
        scan: the sizes at which the network sees the picture.
        threshold: least confidence, 0 to 1, of what is blurred.
        margin: by how much a box is grown.
    """

    scan: Scan
    threshold: float
    margin: "Margin"


@dataclass(frozen=True, slots=True)
class Target:
    """Something to blur: the network that finds it, by which of its labels, and how closely."""

    model: str
    labels: frozenset[str]
    levels: Mapping[Quality, Level]


class Stage(Protocol):
    """One step of a pipeline. It holds no state of its own, so one serves all threads."""

    @property
    def name(self) -> str:
        """The stage's name in timings and metrics."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """What callers can ask this stage to blur, by name; may be empty."""

    @property
    def models(self) -> frozenset[str]:
        """Names of all networks that the stage can use."""

    @property
    def required_models(self) -> frozenset[str]:
        """Names of the networks without which the stage can't run, whatever the options."""

    def run(self, frame: Frame, options: Options, detectors: "Detectors") -> Frame:
        """The frame after this stage.

        Raises:
            ModelMissingError: a network that the options need is not among `detectors`.
        """

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: "Detectors"
    ) -> float:
        """How large a picture of that size has to be for the stage: a share of its sides.

        A frame of that scale or a finer one shows the stage all that it can see.

        Raises:
            OptionError, ModelMissingError: the stage can't run with these options or networks.
        """


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages in the order in which a picture takes them.

    Attributes:
        queue: name of the queue in which its jobs wait.
        patience: seconds that one try of a job may take.
    """

    name: str
    summary: str
    stages: tuple[Stage, ...]
    queue: str
    patience: float

    @property
    def models(self) -> frozenset[str]:
        """Names of all networks that the stages can use."""
        return frozenset[str]().union(*(stage.models for stage in self.stages))

    @property
    def targets(self) -> dict[str, Target]:
        """What callers can ask to blur, by name."""
        return {name: target for stage in self.stages for name, target in stage.targets.items()}

    def needed_models(self, options: Options) -> frozenset[str]:
        """Names of the networks that these options need."""
        wanted = {self.targets[name].model for name in options.targets}
        required = frozenset[str]().union(*(stage.required_models for stage in self.stages))
        return required | wanted

    def check_models(self, options: Options, loaded: Collection[str]) -> None:
        """Refuse options that the loaded networks can't serve.

        Raises:
            OptionError: the pipeline does not know a target.
            ModelMissingError: names the target or stage and its network.
        """
        for name in options.targets:
            if name not in self.targets:
                raise OptionError(f"the pipeline {self.name} knows no such target")
            if self.targets[name].model not in loaded:
                raise ModelMissingError(f"the network for the target {name} is not loaded")
        for stage in self.stages:
            for model in sorted(stage.required_models):
                if model not in loaded:
                    raise ModelMissingError(f"the network of the stage {stage.name} is not loaded")

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: "Detectors"
    ) -> float:
        """The largest scale, as a share of the picture's sides, that one of the stages wants.

        Raises:
            OptionError, ModelMissingError: see `check_models`.
        """
        self.check_models(options, detectors)
        return max(stage.finest_scale(width, height, options, detectors) for stage in self.stages)

    def run(
        self, frame: Frame, options: Options, detectors: "Detectors"
    ) -> tuple[Frame, dict[str, float]]:
        """The frame after all stages, and the wall-clock seconds that each stage took.

        Raises:
            ModelMissingError: before the first stage, when a network is missing.
        """
        self.check_models(options, detectors)
        seconds = {}
        for stage in self.stages:
            started = perf_counter()
            frame = stage.run(frame, options, detectors)
            seconds[stage.name] = perf_counter() - started
            tracing.lap(stage.name, seconds[stage.name])
        return frame, seconds
