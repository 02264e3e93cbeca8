"""`python -m bench codec`: a redacted JPEG kept to the bit against one that is coded anew."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from statistics import median
from time import thread_time
from typing import Annotated, Any

import typer

from bench.bare import kernel_of
from bench.figures import rounded
from bench.kernel import Kernel
from bench.photos import SIZE_HELP, make_photos, sizes
from bench.report import RECIPE, console, publish
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.encode import encode
from blurline.imaging.header import Header, read_header
from blurline.imaging.kind import Kind
from blurline.inference.detector import Detectors
from blurline.inference.engine import Arithmetic, Engine, Outputs
from blurline.settings import load_settings
from blurline.stages.frame import Frame
from blurline.treatment.opening import open_frame
from blurline.treatment.redaction import run_stages
from blurline.treatment.writing import write

PHOTOS = 8


def codec(
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "all",
    rounds: Annotated[int, typer.Option(min=1, help="Times that each photo is treated.")] = 9,
) -> None:
    """CPU of reading and writing, without networks: lossless redaction against coding anew.

    `redact` changes the redacted blocks of a file, `code` decodes and encodes all of it.
    `lossless` is the whole treatment but for the networks, as blurline does it, `anew` the same
    with all pixels decoded and encoded. Both ways take turns; medians of CPU milliseconds.
    """
    settings = load_settings()
    kernel = kernel_of(settings)
    result: dict[str, Any] = {}
    for one in sizes(size):
        with console.status(f"{rounds} rounds at {one.name}"):
            result[one.name] = codec_cost(kernel, make_photos(one, settings)[:PHOTOS], rounds)
    figures = {name: cost.figures() for name, cost in result.items()}
    publish("codec", {**figures, RECIPE: {"rounds": rounds, "photos": PHOTOS}})


@dataclass(frozen=True, slots=True)
class CodecCost:
    """CPU milliseconds a picture, medians over photos and rounds.

    Attributes:
        redacted: changing the redacted blocks of the file and putting it together.
        coded: decoding all pixels and encoding all of them.
        lossless: the whole treatment but for the networks, as blurline does it.
        anew: the same with all pixels decoded and encoded.
    """

    redacted: float
    coded: float
    lossless: float
    anew: float

    def figures(self) -> dict[str, float]:
        """The costs, and what the one way is of the other."""
        return rounded(
            {
                "redact": self.redacted,
                "code": self.coded,
                "redact_of_code": self.redacted / self.coded,
                "lossless": self.lossless,
                "anew": self.anew,
                "lossless_of_anew": self.lossless / self.anew,
            }
        )


@dataclass(slots=True)
class Recorded:
    """An engine that answers in the order of its first run, and then costs nothing."""

    engine: Engine
    outputs: list[Outputs] = field(default_factory=list)
    replay: Iterator[Outputs] | None = None

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
        if self.replay is not None:
            return next(self.replay)
        self.outputs.append({n: one.copy() for n, one in self.engine.infer(pixels).items()})
        return self.outputs[-1]


def codec_cost(kernel: Kernel, photos: list[bytes], rounds: int) -> CodecCost:
    """Both ways in turns, so that a machine that drifts does so for both."""
    costs: list[list[float]] = []
    for photo in photos:
        header = read_header(photo, kernel.limits)
        frame = _through_stages(kernel, _opened(kernel, photo, header), kernel.detectors)
        steps: list[Callable[[], object]] = [
            partial(write, photo, header, frame, kernel.options, kernel.quality),
            partial(_coded, kernel, photo, header),
            _replaying(kernel, partial(_lossless, kernel, photo, header)),
            _replaying(kernel, partial(_anew, kernel, photo, header)),
        ]
        costs += [[_cpu_ms(step) for step in steps] for _ in range(rounds)]
    return CodecCost(*(median(column) for column in zip(*costs, strict=True)))


def _opened(kernel: Kernel, photo: bytes, header: Header) -> Frame:
    return open_frame(photo, header, kernel.pipeline, kernel.options, kernel.detectors)


def _through_stages(kernel: Kernel, frame: Frame, detectors: Detectors) -> Frame:
    return run_stages(kernel.pipeline, frame, kernel.options, detectors)[0]


def _coded(kernel: Kernel, photo: bytes, header: Header) -> bytes:
    return encode(decode(photo, header), Kind.JPEG, kernel.quality)


def _lossless(kernel: Kernel, photo: bytes, header: Header, detectors: Detectors) -> bytes:
    frame = _through_stages(kernel, _opened(kernel, photo, header), detectors)
    return write(photo, header, frame, kernel.options, kernel.quality).picture


def _anew(kernel: Kernel, photo: bytes, header: Header, detectors: Detectors) -> bytes:
    frame = _through_stages(kernel, Frame(decode(photo, header)), detectors)
    return encode(frame.pixels, Kind.JPEG, kernel.quality)


def _replaying(kernel: Kernel, treat: Callable[[Detectors], object]) -> Callable[[], object]:
    """The treatment with networks that give the answers of a first run."""
    engines = {name: Recorded(detector.engine) for name, detector in kernel.detectors.items()}
    detectors = {
        name: replace(detector, engine=engines[name]) for name, detector in kernel.detectors.items()
    }
    treat(detectors)
    for engine in engines.values():
        engine.replay = cycle(engine.outputs)
    return partial(treat, detectors)


def _cpu_ms(step: Callable[[], object]) -> float:
    started = thread_time()
    step()
    return 1000 * (thread_time() - started)
