"""How closely a network looks at a picture: passes at several scales, cut into tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

TILE_MULTIPLE = 32
"""Sides of tiles are rounded up to this, so that few sizes of input occur."""

NEAR = 1.1
"""Two passes that differ by no more than this are made one, since they show nearly the same."""

MERGED = 7 / 6
"""The size of that one, in sizes of the larger pass: for two thirds of their cost it finds more of
what is small than both, and blurs less in vain. docs/performance.md has the figures."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The passes over one picture, all lengths in pixels.

    Attributes:
        sides: the long side to which the picture is scaled, for each pass.
        least_scale: a picture so large that all of these shrink it more than this gets one more
            pass, at this scale; 0 for none. Where that would be near the largest of the others,
            one pass takes the place of both: see `NEAR` and `MERGED`.
        tile: the longest side of one network input; what a pass scales beyond it is cut into tiles.
        overlap: what neighbouring tiles share, so that an object up to this size is whole in one.
        enlarge: the largest factor by which a picture is enlarged. A pass that this makes equal to
            an earlier one is left out.
        turned: the passes over copies of the picture that are turned by a quarter, a half and three
            quarters, for what lies on its side; None for no such copies.
        doubt: confidences of these passes are raised to this power, at least 1, so that what only
            they show has to be surer.
    """

    sides: tuple[int, ...]
    least_scale: float = 0.0
    tile: int = 1280
    overlap: int = 128
    enlarge: float = 8.0
    turned: "Scan | None" = None
    doubt: float = 1.0

    def pass_sizes(self, width: int, height: int) -> Iterator[tuple[int, int]]:
        """Width and height of the scaled picture for each pass, without repetitions.

        >>> list(Scan((640, 1280)).pass_sizes(1920, 1080))
        [(640, 360), (1280, 720)]
        >>> list(Scan((640, 1280), enlarge=1.0).pass_sizes(320, 240))
        [(320, 240)]
        >>> list(Scan((640,), least_scale=0.4).pass_sizes(4000, 3000))
        [(640, 480), (1600, 1200)]
        >>> list(Scan((736,), least_scale=0.4).pass_sizes(1920, 1080))
        [(896, 504)]
        """
        longest = max(width, height)
        sides = [min(side, round(longest * self.enlarge)) for side in self.sides]
        if (least := round(longest * self.least_scale)) > max(sides):
            if least <= NEAR * max(sides):
                sides.remove(max(sides))
                least = round(least * MERGED)
            sides.append(least)
        for side in dict.fromkeys(sides):
            scale = side / longest
            yield max(1, round(width * scale)), max(1, round(height * scale))

    def tiles(self, width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
        """Left, top, right, bottom of the tiles that cover a scaled picture together.

        >>> list(Scan((960,)).tiles(960, 540))
        [(0, 0, 960, 540)]
        >>> list(Scan((2560,)).tiles(2400, 1200))
        [(0, 0, 1280, 1200), (1120, 0, 2400, 1200)]
        """
        for top, bottom in self._cuts(height):
            for left, right in self._cuts(width):
                yield left, top, right, bottom

    def _cuts(self, length: int) -> Iterator[tuple[int, int]]:
        if length <= self.tile:
            yield 0, length
            return
        count = ceil((length - self.overlap) / (self.tile - self.overlap))
        side = ceil((length + (count - 1) * self.overlap) / count / TILE_MULTIPLE) * TILE_MULTIPLE
        for index in range(count):
            start = round(index * (length - side) / (count - 1))
            yield start, start + side
