"""Boxes by size and place: which of very many may meet, found without asking each about each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from blurline.geometry import Boxes

Indices = NDArray[np.intp]

LEVELS = 22
"""Boxes are sorted by their longer side: of level n it is from 2 ** n up to twice that. Those below
a pixel are of level 0."""

FARTHEST = 2.0 ** (LEVELS - 2)
"""Corners are taken to lie no farther out than this, in pixels; no picture is as large."""

PLACES = 2**LEVELS
"""Cells in a row of the grid, more than there are between the farthest corners."""

PIECE = 1 << 20
"""Pairs that are handed out at a time, at most but for those of a single row of cells."""


class Neighbours:
    """A grid for each level, with cells of twice the level's least side.

    No box is longer than a cell, so that its centre lies within half a cell of whatever it meets.
    The boxes of a class are sorted by level, row and column, and each row of cells that a box may
    meet is one slice of them. How many pairs come out depends on how crowded the cells are, not on
    how many boxes there are.
    """

    def __init__(self, boxes: Boxes, classes: NDArray[np.intp]) -> None:
        """Sort the boxes, shape (n, 4); those of different `classes`, shape (n,), never meet."""
        self._corners = np.clip(np.nan_to_num(boxes.astype(np.float64)), -FARTHEST, FARTHEST)
        sides = self._corners[:, 2:] - self._corners[:, :2]
        self._longest = np.maximum(sides.max(axis=1, initial=1.0), 1.0)
        levels = _level(self._longest)
        self._kinds = np.unique(classes, return_inverse=True)[1].astype(np.int64)
        self._levels = np.unique(levels)
        middles = (self._corners[:, :2] + self._corners[:, 2:]) / 2
        columns, rows = _cells(middles, _cell_side(levels)[:, None]).T
        keys = _key(self._kinds, levels, rows, columns)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def pairs(
        self, chosen: Indices, *, least: float, most: float
    ) -> Iterator[tuple[Indices, Indices]]:
        """Pairs of one of the `chosen` and another box of its class that it may meet.

        None is missing that has a pixel in common with it and whose longer side is `least` to
        `most` times as long.
        """
        finest = _level(np.maximum(self._longest[chosen] * least, 1.0))
        coarsest = _level(np.minimum(self._longest[chosen] * most, 2 * FARTHEST))
        for level in self._levels.tolist():
            yield from self._on(level, chosen[(finest <= level) & (level <= coarsest)])

    def _on(self, level: int, chosen: Indices) -> Iterator[tuple[Indices, Indices]]:
        """The pairs with boxes of the level."""
        side = _cell_side(np.array(level))
        corners = self._corners[chosen]
        left, top = _cells(corners[:, :2] - side / 2, side).T
        right, bottom = _cells(corners[:, 2:] + side / 2, side).T
        of, offset = _spread(bottom - top + 1)
        kinds, rows = self._kinds[chosen[of]], top[of] + offset
        first = np.searchsorted(self._keys, _key(kinds, level, rows, left[of]), "left")
        behind = np.searchsorted(self._keys, _key(kinds, level, rows, right[of]), "right")
        counts = behind - first
        pieces = np.cumsum(counts) // PIECE
        for piece in np.split(np.arange(len(of)), np.flatnonzero(np.diff(pieces)) + 1):
            row, offset = _spread(counts[piece])
            yield chosen[of[piece[row]]], self._order[first[piece[row]] + offset]


def _level(sides: NDArray[np.float64]) -> NDArray[np.int64]:
    """The level of each side, which is at least 1."""
    return np.asarray(np.frexp(sides)[1], np.int64) - 1


def _cell_side(level: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.ldexp(2.0, level))


def _cells(points: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray[np.int64]:
    """Column and row of each point, counted from the farthest one."""
    cells = np.floor(points / side) + PLACES // 2
    return np.asarray(np.clip(cells, 0, PLACES - 1), np.int64)


def _key(
    kinds: NDArray[np.int64],
    levels: NDArray[np.int64] | int,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.int64]:
    return np.asarray(((kinds * LEVELS + levels) * PLACES + rows) * PLACES + columns)


def _spread(counts: NDArray[np.int64]) -> tuple[Indices, Indices]:
    """For `counts` of things of each index: the index and the thing's number, thing by thing.

    >>> [part.tolist() for part in _spread(np.array([2, 0, 3]))]
    [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]
    """
    of = np.repeat(np.arange(len(counts)), counts)
    return of, np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
