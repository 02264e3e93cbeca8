"""`python -m bench crowd`: what a picture of very many faces costs beside its networks."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import ceil, sqrt
from time import process_time
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from PIL import Image

from bench.bare import kernel_of
from bench.figures import rounded
from bench.kernel import Kernel
from bench.photos import QUALITY
from bench.report import RECIPE, console, publish
from blurline.certificate.certificate import regions_of
from blurline.cli.demo import SAMPLES
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Arithmetic, Engine, Outputs
from blurline.settings import Settings, load_settings
from blurline.stages.frame import Quality
from blurline.treatment.redacted import Redacted
from blurline.treatment.redaction import RedactionTreatment
from blurline.treatment.report import blur_metadata, detection_metadata

FACE = (880, 60, 1110, 330)
"""Where a sample photo has a face: left, top, right, bottom."""

SIDE = 70
"""Pixels from face to face, across and down: 20,000 faces are in 98 megapixels."""

T = TypeVar("T")


def crowd(
    faces: Annotated[list[int] | None, typer.Argument(help="Numbers of faces.")] = None,
    quality: Annotated[Quality, typer.Option(help="How closely to look.")] = Quality.BALANCED,
) -> None:
    """CPU seconds by number of faces: those of the networks, and those of all that follows them.

    Only faces are looked for. Some are missed, as in any dense crowd: `regions` says how many are
    redacted. `rest` is the whole treatment without the networks, a part of which grows with the
    pixels, `told` what it takes to describe the regions for the record and the certificate.
    """
    settings = load_settings()
    kernel = kernel_of(settings)
    options = replace(kernel.options, targets=("face",), quality=quality)
    kernel = replace(kernel, options=options)
    result: dict[str, Any] = {}
    for number in faces or [5000, 10_000, 20_000]:
        with console.status(f"{number} faces"):
            result[f"{number} faces"] = crowd_cost(kernel, picture(number, settings)).figures()
    publish("crowd", {**result, RECIPE: {"quality": quality.value, "side": SIDE}})


@dataclass(frozen=True, slots=True)
class CrowdCost:
    """CPU seconds of one picture, and how many regions were redacted in it."""

    networks: float
    rest: float
    told: float
    regions: int

    def figures(self) -> dict[str, float]:
        """The seconds and the number."""
        seconds = {"networks": self.networks, "rest": self.rest, "told": self.told}
        return rounded(seconds) | {"regions": self.regions}


@dataclass(slots=True)
class TimedEngine:
    """An engine that adds up the CPU seconds of the whole process while it runs."""

    engine: Engine
    seconds: list[float] = field(default_factory=list)

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
        seconds, outputs = _timed(lambda: self.engine.infer(pixels))
        self.seconds.append(seconds)
        return outputs


def picture(faces: int, settings: Settings) -> bytes:
    """A JPEG of so many faces in rows and columns, each mirrored and brightened by chance."""
    source = Image.open(SAMPLES[1].pull(settings.model_dir.parent / "samples")).convert("RGB")
    face = np.asarray(source.crop(FACE).resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.int16)
    chance = np.random.default_rng(0)
    columns = ceil(sqrt(faces))
    whole = np.full((ceil(faces / columns) * SIDE, columns * SIDE, 3), 90, np.uint8)
    for number in range(faces):
        top, left = SIDE * (number // columns), SIDE * (number % columns)
        one = (face[:, :: chance.choice([1, -1])] + chance.integers(-20, 21)).clip(0, 255)
        whole[top : top + SIDE, left : left + SIDE] = one
    with BytesIO() as file:
        Image.fromarray(whole).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()


def crowd_cost(kernel: Kernel, photo: bytes) -> CrowdCost:
    """The costs of one picture, without a second look."""
    engines = {name: TimedEngine(detector.engine) for name, detector in kernel.detectors.items()}
    detectors = {
        name: replace(detector, engine=engines[name]) for name, detector in kernel.detectors.items()
    }
    treatment = RedactionTreatment(detectors, kernel.limits, kernel.quality, second_looks=0.0)
    seconds, treated = _timed(lambda: treatment.redact(photo, kernel.pipeline, kernel.options))
    networks = sum(sum(engine.seconds) for engine in engines.values())
    told, _ = _timed(lambda: _described(kernel, treated))
    regions = len(treated.frame.redactions or ())
    return CrowdCost(networks, seconds - networks, told, regions)


def _described(kernel: Kernel, treated: Redacted) -> object:
    return (
        blur_metadata(treated, kernel.options),
        detection_metadata(treated.frame),
        regions_of(treated.frame.redactions or ()),
    )


def _timed(step: Callable[[], T]) -> tuple[float, T]:
    started = process_time()
    done = step()
    return process_time() - started, done
