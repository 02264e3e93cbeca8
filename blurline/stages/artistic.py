"""The stages that give a picture another look.

What works on pixels is imported where it runs: see `blur`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from blurline.stages.classical import STRENGTH, Classical
from blurline.stages.frame import Frame
from blurline.stages.optiontable import Option, Values, number, one_of
from blurline.stages.pipeline import Progress

if TYPE_CHECKING:
    from blurline.inference.mapper import Networks

INK = Option(
    "ink",
    number("ink", 0, 1),
    "0.5",
    "how easily a line is drawn, from 0, no lines, to 1",
    example="0.8",
)
TONES = Option(
    "tones",
    one_of("tones", tuple(range(2, 13))),
    "6",
    "steps of brightness, from 2 to 12",
    example="4",
)
GRAIN = Option(
    "grain",
    number("grain", 0, 1),
    "0.4",
    "how coarse the film was, from 0 to 1",
    example="0.8",
)


@dataclass(frozen=True, slots=True)
class Comic(Classical):
    """Flat colours in a few tones, and inked lines."""

    name: str = "style-comic"

    @property
    def options(self) -> Sequence[Option[Any]]:
        """How much of it, lines, and tones."""
        return STRENGTH, INK, TONES

    def run(self, frame: Frame, values: Values, networks: "Networks", progress: Progress) -> Frame:
        """The frame as a comic."""
        from blurline.effects.comic import comic

        pixels = comic(
            frame.pixels,
            ink=INK.of(values),
            tones=TONES.of(values),
            strength=STRENGTH.of(values),
        )
        return replace(frame, pixels=pixels)


@dataclass(frozen=True, slots=True)
class Aged(Classical):
    """An old print: brown, faded and soft, with grain, stains and darker corners."""

    name: str = "style-aged"

    @property
    def options(self) -> Sequence[Option[Any]]:
        """How much of it, and the grain."""
        return STRENGTH, GRAIN

    def run(self, frame: Frame, values: Values, networks: "Networks", progress: Progress) -> Frame:
        """The frame as an old print."""
        from blurline.effects.aged import aged

        pixels = aged(frame.pixels, grain=GRAIN.of(values), strength=STRENGTH.of(values))
        return replace(frame, pixels=pixels)
