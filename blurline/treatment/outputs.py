"""What comes of a picture, whatever was done to it: files, reports, figures, and a claim."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from time import perf_counter
from typing import Any, Protocol

from blurline import tracing
from blurline.certificate.certificate import Claim, ModelUse
from blurline.imaging.header import Header
from blurline.models.wheels import sha256
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Chain, Pipeline

BLUR, DETECT = "blur", "detect"
"""The stages whose reports callers are told under names of their own too, as they always were."""


class Role(StrEnum):
    """What an output is to the job. Each job has one `PRIMARY`, which is its result."""

    PRIMARY = "primary"
    MASK = "mask"


@dataclass(frozen=True)
class Output:
    """A file that came of a job.

    Attributes:
        name: with its ending, which is the only one of that name that the job has.
        width, height: in pixels of the upright picture.
    """

    name: str
    role: Role
    media_type: str
    data: bytes
    width: int
    height: int

    @cached_property
    def sha256(self) -> str:
        """Hash of the file in hex."""
        return sha256(self.data)


@dataclass(frozen=True, slots=True)
class Treated:
    """What may be published of a job.

    Attributes:
        outputs: its files, the primary one first.
        reports: by stage what is to be told, as JSON has it.
        tally: figures that are added up over all jobs, such as how often a class was seen.
        claim: what is certified of the outputs.
        networks: that were used.
        seconds: wall-clock seconds by stage.
        count: puts what was found into the metrics, once the job has ended so.
    """

    outputs: tuple[Output, ...]
    reports: Mapping[str, Mapping[str, Any]]
    claim: Claim
    networks: tuple[ModelUse, ...] = ()
    tally: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    count: Callable[[], None] = lambda: None

    @property
    def primary(self) -> Output:
        """The result."""
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class Source:
    """A picture file, and what was read of its header."""

    data: bytes
    header: Header


@dataclass(frozen=True, slots=True)
class Context:
    """How a treatment tells how far it is; `progress` is told a share, 0 to 1."""

    progress: Callable[[float], None] = lambda share: None


class Treating(Protocol):
    """What a worker hands a job's picture to."""

    def treat(self, source: Source, chain: Chain, values: Values, context: Context) -> Treated:
        """See `blurline.treatment.chain.ChainTreatment.treat`."""


class Treatment(Protocol):
    """What runs the pipelines of a family. One serves all threads of a process."""

    def treat(
        self, source: Source, pipeline: Pipeline, values: Values, context: Context
    ) -> Treated:
        """What comes of the picture.

        Raises:
            PictureError: the file can't be read as a picture.
            OptionError: the values don't fit the pipeline, the picture or the networks.
            BlurlineError: it can't be treated.
        """


class Stopwatch:
    """Wall-clock seconds of named laps, which are spans too; laps of the same name add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = self._last = perf_counter()

    def lap(self, name: str) -> None:
        """End a lap that began where the last one ended."""
        now = perf_counter()
        seconds, self._last = now - self._last, now
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        tracing.lap(name, seconds)

    def skip(self, laps: Mapping[str, float]) -> None:
        """Take over laps that were timed elsewhere; the next one begins now."""
        self.seconds.update(laps)
        self._last = perf_counter()

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._started
