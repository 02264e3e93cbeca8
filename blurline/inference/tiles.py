"""Pictures mapped part by part, since a network takes a thousand times the memory of its input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from blurline.imaging.decode import Pixels
from blurline.inference.letterbox import STRIDE
from blurline.inference.mapper import Mapper


@dataclass(frozen=True, slots=True)
class Axis:
    """How one axis of a picture is cut: into parts of `part` pixels, the last one maybe shorter.

    A network sees `side` pixels for each, of which the part begins behind the margin.
    """

    length: int
    part: int
    side: int

    @property
    def starts(self) -> range:
        """Where the parts begin."""
        return range(0, self.length, self.part)


def axis(length: int, input_size: int, margin: int) -> Axis:
    """As few parts as there can be, of lengths as even as can be, so that little is padding.

    >>> axis(1000, 256, 7)
    Axis(length=1000, part=200, side=224)
    >>> axis(1, 256, 7)
    Axis(length=1, part=1, side=32)
    """
    parts = ceil(length / (input_size - 2 * margin))
    part = ceil(length / parts)
    return Axis(length, part, ceil((part + 2 * margin) / STRIDE) * STRIDE)


def mapped_in_tiles(
    pixels: Pixels, mapper: Mapper, progress: Callable[[float], None] | None = None
) -> Pixels:
    """A picture of `mapper.scale` times the width and height, without seams.

    A tile is seen with the mapper's margin around it, which shows what is there or, beyond the
    picture, its outermost pixels. `progress` is told the share that is done, after each tile.
    """
    height, width = pixels.shape[:2]
    scale, margin = mapper.scale, mapper.margin
    across = axis(width, mapper.input_size, margin)
    down = axis(height, mapper.input_size, margin)
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    tiles = list(_corners(across, down))
    for done, (left, top) in enumerate(tiles, start=1):
        seen = pixels[_seen(down, top, margin)[:, None], _seen(across, left, margin)]
        place = result[
            top * scale : (top + down.part) * scale, left * scale : (left + across.part) * scale
        ]
        values = mapper.map(seen)[: place.shape[0], : place.shape[1]]
        np.rint(values * 255, out=place, casting="unsafe")
        if progress is not None:
            progress(done / len(tiles))
    return result


def _corners(across: Axis, down: Axis) -> Iterator[tuple[int, int]]:
    for top in down.starts:
        for left in across.starts:
            yield left, top


def _seen(cut: Axis, start: int, margin: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Which rows or columns the network sees of the part that begins at `start`."""
    return np.clip(np.arange(start - margin, start - margin + cut.side), 0, cut.length - 1)
