"""The second look: the redacted file, decoded again, is judged as a stranger would see it."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detectors
from blurline.redaction.styles import PixelBox, whole_pixels
from blurline.stages.blur import Blur
from blurline.stages.frame import Frame, Options, Redaction, reduced
from blurline.stages.regions import mask_of

COVERED = 0.85
"""Share of what is found that has to lie in redacted boxes, as `blurline evaluate` counts it."""

SURER = 2.0
"""The second look redacts what has this many times the first one's confidence: what lay just below
the first threshold may lie just above it once others are redacted, and is no news."""

CERTAIN = 0.6
"""Confidence that is always enough to be redacted by the second look, and that the third one needs
to hold a picture back. In 134 photos of crowds, streets and cars no third look saw anything, beside
what was redacted, of more than .3."""

TOLERANCE = 16.0
"""Most mean difference, of 255, between a redacted box and what the file shows there. Coding moves
a flat mosaic by a few; another picture in the box moves it by dozens."""

EDGE = 256.0
"""What a box may differ by beside that, divided by its shorter side in pixels. At its edge a JPEG
with reduced colours mixes in those from outside: a black box of 4 pixels in pure red differs by 70
at a quality of 50, one of 16 by 19."""


class SecondLook(StrEnum):
    """What became of the second look.

    `MENDED`: it found something, that was redacted too, and a third look found nothing.
    `SKIPPED`: the setting SECOND_LOOK left this picture out.
    """

    PASSED = "passed"
    MENDED = "mended"
    SKIPPED = "skipped"


def shows_redactions(shown: Pixels, redacted: Pixels, boxes: Sequence[PixelBox]) -> bool:
    """Whether the file's pixels `shown` are in all boxes those that were meant.

    Both have the shape (height, width, 3).
    """
    if shown.shape != redacted.shape:
        return False
    return all(
        np.abs(
            shown[top:bottom, left:right].astype(np.int16)
            - redacted[top:bottom, left:right].astype(np.int16)
        ).mean()
        <= TOLERANCE + EDGE / min(right - left, bottom - top)
        for left, top, right, bottom in boxes
    )


def uncovered(
    shown: Frame,
    blur: Blur,
    options: Options,
    redactions: Sequence[Redaction],
    detectors: Detectors,
    *,
    certain: bool = False,
) -> tuple[Redaction, ...]:
    """What the blur stage's networks see beside the redactions, as ones to add.

    They have to be surer than at the first look, or, if `certain`, as sure as the third one wants.

    What lies in redacted pixels does not count: these are known, and a mosaic of a face may well
    look like a face.
    """
    width, height = shown.size
    hidden = np.zeros(shown.pixels.shape[:2], np.bool_)
    for redaction in redactions:
        left, top, right, bottom = reduced(redaction.box, shown.reduction)
        mask = mask_of(redaction, shown.reduction)
        hidden[top:bottom, left:right] |= True if mask is None else mask
    return tuple(
        found.redaction(width, height)
        for found in blur.find(shown, _surer(blur, options, CERTAIN if certain else 0.0), detectors)
        if _share(
            hidden, reduced(whole_pixels(found.detection.box, width, height), shown.reduction)
        )
        < COVERED
    )


def _surer(blur: Blur, options: Options, least: float) -> Options:
    """The options with higher thresholds, none of them below `least`."""
    first = {
        name: options.thresholds.get(name, blur.targets[name].levels[options.quality].threshold)
        for name in options.targets
    }
    second = {name: max(one, least, min(CERTAIN, SURER * one)) for name, one in first.items()}
    return replace(options, thresholds=second)


def _share(hidden: NDArray[np.bool_], box: PixelBox) -> float:
    left, top, right, bottom = box
    return float(hidden[top:bottom, left:right].mean())
