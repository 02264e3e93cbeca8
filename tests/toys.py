"""A pipeline that is no part of the package: what somebody has to write who adds one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from blurline.errors import OptionError
from blurline.inference.detector import Detectors
from blurline.stages.frame import Frame
from blurline.stages.options import TRANSFORM
from blurline.stages.optiontable import Option, Values, number, one_of
from blurline.stages.pipeline import Family, Pipeline, Progress

QUEUE = "toy_queue"
WIDTHS = (0, 4, 8)
BORDER = Option(
    "border",
    one_of("border", WIDTHS),
    "4",
    "pixels that are put around the picture",
    words=tuple(map(str, WIDTHS)),
)
SHADE = Option("shade", number("shade", 0, 1), "0.5", "how light the border is, 0 to 1", "0.25")


class Framed:
    """Puts a border around the picture, and tells where the border is by a mask."""

    name = "framed"
    options: Sequence[Option[Any]] = (BORDER, SHADE)
    networks = frozenset[str]()

    def models(self, values: Values) -> frozenset[str]:
        return frozenset()

    def check(self, values: Values) -> None:
        if BORDER.of(values) == 0 and SHADE.of(values) == 1:
            raise OptionError("shade is of no use without a border")

    def output_size(self, width: int, height: int, values: Values) -> tuple[int, int]:
        border = BORDER.of(values)
        return width + 2 * border, height + 2 * border

    def run(self, frame: Frame, values: Values, networks: Detectors, progress: Progress) -> Frame:
        border, grey = BORDER.of(values), round(255 * SHADE.of(values))
        around = ((border, border), (border, border))
        pixels = np.pad(frame.pixels, (*around, (0, 0)), constant_values=grey)
        alpha = None
        if frame.alpha is not None:
            alpha = np.pad(frame.alpha, around, constant_values=255)
        mask = np.pad(np.zeros(frame.pixels.shape[:2], np.uint8), around, constant_values=255)
        progress(1.0)
        return replace(
            frame,
            pixels=pixels,
            alpha=alpha,
            reports={**frame.reports, self.name: {"border": border}},
            masks={**frame.masks, "border": mask},
        )


TOY = Pipeline("frame", "A border around it", Family.TRANSFORM, (Framed(),), QUEUE, 60.0, TRANSFORM)
