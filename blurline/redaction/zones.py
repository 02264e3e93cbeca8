"""Zones: polygons in which nothing, or everything, is redacted."""

from dataclasses import dataclass

ZONE = "zone"
"""What a redacted zone is called where targets have their names."""

Polygon = tuple[tuple[float, float], ...]
"""Corners as x and y, in shares of the upright picture's width and height, or in its pixels."""

FloatBox = tuple[float, float, float, float]
"""Left, top, right, bottom in the same unit as the polygon."""


@dataclass(frozen=True, slots=True)
class Zones:
    """Where nothing and where everything is redacted, in shares (0 to 1) of the upright picture.

    Attributes:
        ignore: what is found wholly inside one of these is left as it is.
        redact: these are redacted whatever is found, also where one to ignore lies over them.
    """

    ignore: tuple[Polygon, ...] = ()
    redact: tuple[Polygon, ...] = ()


def scaled(polygon: Polygon, width: float, height: float) -> Polygon:
    """The polygon with x times `width` and y times `height`.

    >>> scaled(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)), 640, 480)
    ((0.0, 0.0), (320.0, 0.0), (320.0, 480.0))
    """
    return tuple((x * width, y * height) for x, y in polygon)


def bounds(polygon: Polygon) -> FloatBox:
    """The smallest box that holds the polygon."""
    xs, ys = zip(*polygon, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
