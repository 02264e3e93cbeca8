"""Figures from measurements: plain arithmetic, no clocks."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import linear_regression


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """The 50th, 95th and 99th percentile by the nearest-rank method; empty for no values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    ranks = {f"p{share}": -(-share * len(ordered) // 100) - 1 for share in (50, 95, 99)}
    return {name: round(ordered[rank], 1) for name, rank in ranks.items()}


def ratios(rates: Sequence[float], limits: Sequence[float]) -> list[float]:
    """Each rate against the mean of the limits before and after it; one limit more than rates."""
    means = [(before + after) / 2 for before, after in pairwise(limits)]
    return [rate / mean for rate, mean in zip(rates, means, strict=True)]


def slope(points: Sequence[tuple[float, float]], skip: float = 0.25) -> float:
    """Growth of y with x by least squares, without the first share of the points.

    A process fills its caches first; what it needs afterwards shows whether it leaks. 0 for fewer
    than two points.
    """
    rest = points[int(len(points) * skip) :]
    if len({x for x, _ in rest}) < 2:
        return 0.0
    return linear_regression([x for x, _ in rest], [y for _, y in rest]).slope


def steady_rate(ends: Iterable[float], start: float, slots: int) -> float:
    """Jobs a second between the first end after `start` and the last but `slots` ends.

    In the beginning some workers still wait, and in the end some have nothing left to do. 0 for
    too few ends.
    """
    ordered = sorted(end for end in ends if end >= start)
    window = ordered[: len(ordered) - slots]
    if len(window) < 2 or window[-1] == window[0]:
        return 0.0
    return (len(window) - 1) / (window[-1] - window[0])


def split(total: float, parts: dict[str, float], rest: str) -> dict[str, float]:
    """The parts of a total, and under the name `rest` what they leave, which may be below zero."""
    return {**parts, rest: total - sum(parts.values())}


def rounded(figures: dict[str, float], digits: int = 2) -> dict[str, float]:
    """The same figures to so many digits."""
    return {name: round(value, digits) for name, value in figures.items()}
