"""The stage that cuts out what a picture is about.

What works on pixels is imported where it runs: see `blur`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from blurline.errors import OptionError
from blurline.imaging.kind import OutputFormat
from blurline.stages.frame import Frame
from blurline.stages.options import OUTPUT_FORMAT
from blurline.stages.optiontable import Option, Values, number, word
from blurline.stages.pipeline import Progress

if TYPE_CHECKING:
    from blurline.inference.mapper import Networks

COLOURS = {
    "white": "#ffffff",
    "silver": "#c0c0c0",
    "grey": "#808080",
    "black": "#000000",
    "red": "#ff0000",
    "green": "#008000",
    "blue": "#0000ff",
    "yellow": "#ffff00",
}
"""Names that CSS knows too: https://www.w3.org/TR/css-color-4/#named-colors"""

TRANSPARENT, BLUR = "transparent", "blur"
MOST_FEATHER = 50
OUT_OF_FOCUS = 0.02
"""Share of the picture's longest side by which a blurred background is out of focus."""


class Subject(StrEnum):
    """What is cut out: whatever stands out, or people near the camera alone."""

    ANYTHING = "anything"
    PEOPLE = "people"


NETWORKS = {Subject.ANYTHING: "u2netp", Subject.PEOPLE: "modnet"}


def read_background(text: str, default: str, before: Values) -> str:
    """Reads `transparent`, `blur`, or a colour, of which `#rrggbb` comes."""
    given = (text or default).strip().lower()
    given = COLOURS.get(given, given)
    if given in (TRANSPARENT, BLUR) or re.fullmatch(r"#[0-9a-f]{6}", given):
        return given
    raise OptionError(
        f"background must be {TRANSPARENT}, {BLUR}, a colour such as #ff8800, or one of "
        f"{', '.join(COLOURS)}"
    )


BACKGROUND = Option(
    "background",
    read_background,
    TRANSPARENT,
    "what is behind: nothing (the result is PNG, WebP or AVIF with straight alpha), the background "
    "out of focus, or a colour, #rrggbb or a name such as white",
    example="#ffffff",
)
SUBJECT = Option(
    "subject",
    word(Subject, "subject"),
    Subject.ANYTHING.value,
    "what is kept: anything that stands out, or people near the camera alone",
    words=tuple(Subject),
)
FEATHER = Option(
    "feather",
    number("feather", 0, MOST_FEATHER),
    "0",
    f"pixels by which edges are softened beyond what the picture shows, 0 to {MOST_FEATHER}",
    example="2",
)


@dataclass(frozen=True, slots=True)
class BackgroundRemove:
    """What a picture is about, on nothing, on a colour, or on its background out of focus.

    Edges are as soft as the picture shows them, without the background's colours. Alpha is
    straight. The mask itself is another output.
    """

    name: str = "background-remove"

    @property
    def options(self) -> Sequence[Option[Any]]:
        """What is behind, what is kept, and how soft its edges are."""
        return BACKGROUND, SUBJECT, FEATHER

    @property
    def networks(self) -> frozenset[str]:
        """One for each `subject`."""
        return frozenset(NETWORKS.values())

    def models(self, values: Values) -> frozenset[str]:
        """That of the `subject`."""
        return frozenset((NETWORKS[SUBJECT.of(values)],))

    def check(self, values: Values) -> None:
        """See `Transforming.check`.

        Raises:
            OptionError: the result is transparent, and a JPEG is asked for.
        """
        if BACKGROUND.of(values) == TRANSPARENT and OUTPUT_FORMAT.of(values) == OutputFormat.JPEG:
            raise OptionError(
                "a JPEG can't be transparent: ask for output_format png, webp or avif, or for "
                "another background"
            )

    def output_size(self, width: int, height: int, values: Values) -> tuple[int, int]:
        """That of the picture."""
        return width, height

    def run(self, frame: Frame, values: Values, networks: "Networks", progress: Progress) -> Frame:
        """The frame with its background replaced, and its `mask`.

        Raises:
            ModelMissingError: the network is not there.
        """
        import numpy as np

        from blurline.effects import cutout
        from blurline.inference.mapper import mapper_of, mask_of

        subject, background = Subject(SUBJECT.of(values)), BACKGROUND.of(values)
        seen = mask_of(frame.pixels, mapper_of(networks, NETWORKS[subject]))
        progress(0.4)
        mask = cutout.feathered(cutout.fitted(seen, frame.pixels), FEATHER.of(values))
        progress(0.7)
        pixels, alpha = cutout.own_colours(frame.pixels, mask), frame.alpha
        if background == BLUR:
            behind = cutout.blurred_behind(frame.pixels, mask, OUT_OF_FOCUS)
            pixels = cutout.over(pixels, mask, behind)
        else:
            shown = mask if alpha is None else mask * alpha / np.float32(255)
            if background == TRANSPARENT:
                alpha = np.rint(shown * 255).astype(np.uint8)
            else:
                colour = np.frombuffer(bytes.fromhex(background[1:]), np.uint8)
                pixels, alpha = cutout.over(pixels, shown, colour), None
        progress(1.0)
        report = {
            "subject": subject.value,
            "network": NETWORKS[subject],
            "background": background,
            "share": round(float(mask.mean()), 4),
        }
        return replace(
            frame,
            pixels=pixels,
            alpha=alpha,
            masks={**frame.masks, "mask": np.rint(mask * 255).astype(np.uint8)},
            reports={**frame.reports, self.name: report},
        )
