"""A pipeline: named stages in order, what a caller may choose, and where it waits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from blurline.errors import ModelMissingError, OptionError, PictureError
from blurline.inference.scan import Scan
from blurline.stages.frame import Frame, Options, Quality
from blurline.stages.optiontable import Option, OptionTable, Values

if TYPE_CHECKING:  # the API asks pipelines what they offer and never runs one: see `frame`
    from blurline.geometry import Margin
    from blurline.inference.detector import Detectors
    from blurline.inference.mapper import Networks

SEPARATOR = ","
"""Between the names of pipelines that a picture goes through one after the other."""


class Family(StrEnum):
    """Which treatment runs a pipeline, and so what may be claimed of its results.

    Only `REDACTION` can claim that something was made unreadable; nothing else is published of a
    pipeline that has targets. `TRANSFORM` makes another picture of the one that it is given.
    """

    REDACTION = "redaction"
    TRANSFORM = "transform"


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


class Progress(Protocol):
    """Told how far a stage is, 0 to 1."""

    def __call__(self, share: float) -> None: ...


class Stage(Protocol):
    """One step of a pipeline. It holds no state of its own, so one serves all threads."""

    @property
    def name(self) -> str:
        """The stage's name in reports, timings and metrics."""

    @property
    def options(self) -> Sequence[Option[Any]]:
        """What a caller may choose of it."""

    @property
    def networks(self) -> frozenset[str]:
        """Names of all networks that the stage can use."""

    def models(self, values: Values) -> frozenset[str]:
        """Names of the networks that it needs with these values of its options."""


@runtime_checkable
class Redacting(Stage, Protocol):
    """A stage of the redaction family."""

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


@runtime_checkable
class Transforming(Stage, Protocol):
    """A stage of the transform family."""

    def check(self, values: Values) -> None:
        """Return if its options go together, with `output_format` too.

        Raises:
            OptionError: they don't.
        """

    def output_size(self, width: int, height: int, values: Values) -> tuple[int, int]:
        """Width and height of its result of a picture of that size."""

    def run(self, frame: Frame, values: Values, networks: "Networks", progress: Progress) -> Frame:
        """The frame after this stage, with what is to be told of it in `reports`.

        Raises:
            ModelMissingError: a network that the values need is not among `networks`.
        """


@dataclass(frozen=True)
class Pipeline:
    """Stages in the order in which a picture takes them.

    Attributes:
        family: which treatment runs it.
        queue: name of the queue in which its jobs wait.
        patience: seconds that one try of a job may take.
        common: options of the family, beside those of the stages.
    """

    name: str
    summary: str
    family: Family
    stages: tuple[Stage, ...]
    queue: str
    patience: float
    common: tuple[Option[Any], ...] = ()

    def __post_init__(self) -> None:
        if self.targets and self.family is not Family.REDACTION:
            raise ValueError(f"{self.name}: only the redaction family may have targets")

    @cached_property
    def options(self) -> OptionTable:
        """What a caller may choose."""
        every = (option for stage in self.stages for option in stage.options)
        return OptionTable((*every, *self.common))

    @property
    def networks(self) -> frozenset[str]:
        """Names of all networks that the stages can use."""
        return frozenset[str]().union(*(stage.networks for stage in self.stages))

    @cached_property
    def targets(self) -> dict[str, Target]:
        """What callers can ask to blur, by name."""
        return {
            name: target
            for stage in self.stages
            for name, target in getattr(stage, "targets", {}).items()
        }

    def models(self, values: Values) -> frozenset[str]:
        """Names of the networks that these values of its options need."""
        return frozenset[str]().union(*(stage.models(values) for stage in self.stages))

    def check_models(self, values: Values, loaded: Collection[str]) -> None:
        """Refuse options that the loaded networks can't serve.

        Raises:
            OptionError: the pipeline does not know a target.
            ModelMissingError: names the target or stage and its network.
        """
        for name in values["targets"] if self.targets else ():
            if name not in self.targets:
                raise OptionError(f"the pipeline {self.name} knows no such target")
            if self.targets[name].model not in loaded:
                raise ModelMissingError(f"the network for the target {name} is not loaded")
        for stage in self.stages:
            if not stage.models(values) <= set(loaded):
                raise ModelMissingError(f"the network of the stage {stage.name} is not loaded")


@dataclass(frozen=True)
class Chain:
    """Pipelines that a picture goes through one after the other; most often it is one.

    Redaction comes first, whatever the order in which they were asked for, so that no other stage
    ever sees what has to be hidden.
    """

    pipelines: tuple[Pipeline, ...]

    @property
    def name(self) -> str:
        """The names of its pipelines, in their order."""
        return SEPARATOR.join(pipeline.name for pipeline in self.pipelines)

    @property
    def queue(self) -> str:
        """The queue in which its jobs wait: that of the last one, which takes longest."""
        return self.pipelines[-1].queue

    @cached_property
    def options(self) -> OptionTable:
        """What a caller may choose."""
        return OptionTable(
            option for pipeline in self.pipelines for option in pipeline.options.values()
        )

    @property
    def targets(self) -> dict[str, Target]:
        """What callers can ask to blur, by name."""
        return self.pipelines[0].targets

    def check_models(self, values: Values, loaded: Collection[str]) -> None:
        """Refuse options that the loaded networks can't serve; see `Pipeline.check_models`."""
        for pipeline in self.pipelines:
            pipeline.check_models(values, loaded)


def chain_of(pipelines: Mapping[str, Pipeline], name: str) -> Chain:
    """The pipelines of these names, separated by commas.

    Raises:
        OptionError: there is no such pipeline, one is named twice, or two of them redact.
    """
    names = [part.strip() for part in name.split(SEPARATOR)]
    if not set(names) <= set(pipelines):
        raise OptionError(f"pipeline must be one of {', '.join(pipelines)}, or several by commas")
    found = [pipelines[one] for one in names]
    redacting = [one for one in found if one.family is Family.REDACTION]
    if len(set(names)) < len(names) or len(redacting) > 1:
        raise OptionError("pipeline may name each pipeline once, and one that redacts")
    return Chain((*redacting, *(one for one in found if one not in redacting)))


def queue_of(pipelines: Mapping[str, Pipeline], name: str) -> str | None:
    """The queue of what a job calls its pipeline; None if there is none of that name."""
    try:
        return chain_of(pipelines, name).queue
    except OptionError:
        return None


def all_options(pipelines: Mapping[str, Pipeline]) -> OptionTable:
    """The options of all pipelines."""
    return OptionTable(
        option for pipeline in pipelines.values() for option in pipeline.options.values()
    )


def check_options(chain: Chain, values: Values) -> None:
    """Return if the options of each pipeline go together.

    Raises:
        OptionError: they don't.
    """
    for pipeline in chain.pipelines:
        for stage in pipeline.stages:
            if isinstance(stage, Transforming):
                stage.check(values)


def output_size(
    chain: Chain | Pipeline, width: int, height: int, values: Values, most_pixels: int
) -> tuple[int, int]:
    """Width and height of the result of a picture of that size.

    Raises:
        PictureError: `too_many_pixels`, it would be larger than results may be.
    """
    pipelines = chain.pipelines if isinstance(chain, Chain) else (chain,)
    given = width, height
    for stage in (stage for pipeline in pipelines for stage in pipeline.stages):
        if isinstance(stage, Transforming):
            width, height = stage.output_size(width, height, values)
    if (width, height) != given and width * height > most_pixels:
        raise PictureError(
            f"the result would have {width} x {height} pixels; at most {most_pixels} are made",
            code="too_many_pixels",
        )
    return width, height
