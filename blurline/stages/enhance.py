"""The stage that makes a picture look better.

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

AUTO, USUAL = "auto", 2

DENOISE = Option(
    "denoise",
    one_of("denoise", (AUTO, "0", "1", "2", "3")),
    AUTO,
    f"how much of the noise that is measured is taken away, 0 to 3; auto is {USUAL}",
    example="3",
    words=(AUTO, "0", "1", "2", "3"),
)
SHARPEN = Option(
    "sharpen",
    number("sharpen", 0, 1),
    "0.3",
    "how much edges are sharpened, from 0 to 1",
    example="0.6",
)


@dataclass(frozen=True, slots=True)
class Enhance(Classical):
    """Neutral colours, full tones, clear details, little noise: as much as each is wanting."""

    name: str = "enhance"

    @property
    def options(self) -> Sequence[Option[Any]]:
        """How much of it all, and how much against noise and for edges."""
        return STRENGTH, DENOISE, SHARPEN

    def run(self, frame: Frame, values: Values, networks: "Networks", progress: Progress) -> Frame:
        """The frame, better, with what was found wrong in `reports`."""
        from blurline.effects.enhance import enhanced, planned

        plan, denoise = planned(frame.pixels), DENOISE.of(values)
        progress(0.2)
        pixels = enhanced(
            frame.pixels,
            plan,
            denoise=USUAL if denoise == AUTO else int(denoise),
            sharpen=SHARPEN.of(values),
            strength=STRENGTH.of(values),
        )
        report = {
            "gains": [round(gain, 3) for gain in plan.gains.tolist()],
            "black": plan.black,
            "white": plan.white,
            "gamma": round(plan.gamma, 3),
            "clarity": round(plan.clarity, 3),
            "noise": round(plan.noise, 2),
        }
        return replace(frame, pixels=pixels, reports={**frame.reports, self.name: report})
