"""The regions of a frame: from what was seen, or from a zone, to pixels that nobody can read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurline.errors import TooManyRegionsError
from blurline.geometry import Margin, grow
from blurline.inference.detector import Detection
from blurline.redaction.polygons import holds, near_an_edge, points_inside, polygon_mask
from blurline.redaction.region import redact
from blurline.redaction.styles import Style, whole_pixels
from blurline.redaction.zones import ZONE, Polygon, Zones, bounds, scaled
from blurline.stages.frame import Frame, Redaction, reduced

MOST_CUT = 20_000
"""How often a box is measured against a zone; with a zone of 100 corners it takes half a
millisecond."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something to redact: which target it is, what was seen, and by how much its box is grown."""

    target: str
    detection: Detection
    margin: Margin

    def redaction(self, width: int, height: int) -> Redaction:
        """The region to redact in a picture of that size: the box, grown, in whole pixels."""
        grown = grow(np.array([self.detection.box], np.float32), self.margin)
        x1, y1, x2, y2 = grown[0].tolist()
        box = whole_pixels((x1, y1, x2, y2), width, height)
        return Redaction(self.target, self.detection.confidence, box)


def ignored(
    detections: Sequence[Detection], zones: Zones, width: int, height: int
) -> NDArray[np.bool_]:
    """Of each detection, not grown, whether it lies wholly inside one of the zones to ignore.

    Raises:
        TooManyRegionsError: more than `MOST_CUT` lie on the edges of zones, each of which has to be
            measured by itself.
    """
    boxes = np.array([detection.box for detection in detections], np.float64).reshape(-1, 4)
    boxes /= (width, height, width, height)
    held, measured = np.zeros(len(boxes), np.bool_), 0
    for polygon in zones.ignore:
        near = near_an_edge(polygon, boxes)
        held |= ~near & points_inside(polygon, (boxes[:, :2] + boxes[:, 2:]) / 2)
        open_ones = np.flatnonzero(near & ~held)
        measured += len(open_ones)
        if measured > MOST_CUT:
            raise TooManyRegionsError("too many things lie on the edges of zones to ignore")
        for index in open_ones.tolist():
            left, top, right, bottom = boxes[index].tolist()
            held[index] = holds(polygon, (left, top, right, bottom))
    return held


def of_zone(zone: Polygon, width: int, height: int) -> Redaction:
    """The region of a zone, which is in shares of a picture of that size."""
    polygon = scaled(zone, width, height)
    return Redaction(ZONE, 1.0, whole_pixels(bounds(polygon), width, height), polygon)


def apply(redaction: Redaction, frame: Frame, style: Style) -> None:
    """Make the region unreadable, in place."""
    box = reduced(redaction.box, frame.reduction)
    redact(frame.pixels, box, style, mask_of(redaction, frame.reduction))


def mask_of(redaction: Redaction, reduction: int) -> NDArray[np.bool_] | None:
    """Which pixels of the reduced box are made unreadable, in its shape; None for all."""
    if redaction.polygon is None:
        return None
    polygon = scaled(redaction.polygon, 1 / reduction, 1 / reduction)
    return polygon_mask(polygon, reduced(redaction.box, reduction))
