"""The figures of a report as pictures, by matplotlib (the extra `evaluate`)."""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurline.errors import OptionError
from blurline.evaluation.figures import Row, recall
from blurline.evaluation.report import Report
from blurline.evaluation.table import band_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    # The same figures make the same bytes: ids without chance, letters as text.
    "svg.hashsalt": "blurline",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLUMNS = 2
PANEL_INCHES = 4.6, 3.4
LEGEND_INCHES = 0.6

Panel = tuple[str, Sequence[Row]]
"""A set's name, and its rows for one target."""


def check_installed() -> None:
    """Make sure that matplotlib is there.

    Raises:
        OptionError: it is not.
    """
    if find_spec("matplotlib") is None:
        raise OptionError("--plots needs: pip install 'blurline[evaluate]'")


def write_plots(report: Report, folder: Path, kind: str) -> list[Path]:
    """Two plots in `folder` for each target with labels, as `svg` or `png`, a panel for each set.

    `TARGET-by-size` shows recall by the labels' shorter side, `TARGET-trade` recall against
    over-blur: a line for each quality level as its threshold moves, a dot for what is shipped, and
    a cross for each peer.
    """
    from matplotlib import rc_context

    written = []
    for target, panels in _panels(report):
        for name, draw in (("by-size", _by_size), ("trade", _trade)):
            path = folder / f"{target}-{name}.{kind}"
            with rc_context(STYLE):
                metadata = {"Date": None} if kind == "svg" else None
                _figure(panels, draw).savefig(path, metadata=metadata, dpi=120)
            written.append(path)
    return written


def _figure(panels: Sequence[Panel], draw: "Callable[[Axes, Sequence[Row]], None]") -> "Figure":
    from matplotlib.figure import Figure

    rows, columns = ceil(len(panels) / COLUMNS), min(COLUMNS, len(panels))
    size = columns * PANEL_INCHES[0], rows * PANEL_INCHES[1] + LEGEND_INCHES
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (title, found) in zip(axes, panels, strict=False):
        axis.set_title(title, fontsize="medium")
        draw(axis, found)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _panels(report: Report) -> Iterator[tuple[str, list[Panel]]]:
    """For each target the sets that have labels of it, with their rows."""
    targets = dict.fromkeys(row.target for one in report.sets for row in one.rows if row.labels)
    for target in targets:
        found = [
            (one.name, [row for row in one.rows if row.target == target and row.labels])
            for one in report.sets
        ]
        yield target, [(name, rows) for name, rows in found if rows]


def _by_size(axis: "Axes", rows: Sequence[Row]) -> None:
    """Recall in each band, a line for each contender."""
    bands = [index for index, band in enumerate(rows[0].short_sides) if band.labels]
    names = [rows[0].short_sides[index] for index in bands]
    for number, row in enumerate(rows):
        shares = [recall(row.short_sides[index]) or 0.0 for index in bands]
        axis.plot(shares, marker=".", label=row.contender, **_look(row, number))
    ticks = [f"{band_name(band)}\n({band.labels})" for band in names]
    axis.set_xticks(range(len(bands)), ticks)
    axis.set_xlabel("shorter side of the label in px (labels)")
    axis.set_ylabel("recall")
    axis.set_ylim(0, 1.02)


def _trade(axis: "Axes", rows: Sequence[Row]) -> None:
    """Recall against over-blur: lines as thresholds move, marks for what is shipped."""
    for number, row in enumerate(rows):
        look = _look(row, number)
        mark = "o" if row.curve else "X"
        if row.curve:
            axis.plot(
                [100 * point.over_blur for point in row.curve],
                [point.covered / row.labels for point in row.curve],
                marker=".",
                markersize=3,
                **look,
            )
        place = [100 * row.over_blur], [row.covered / row.labels]
        axis.plot(*place, mark, color=look["color"], label=row.contender, clip_on=False)
    axis.set_xlabel("over-blur in % of the area")
    axis.set_ylabel("recall")
    axis.set_xlim(0, max(0.1, 300 * max(row.over_blur for row in rows)))
    axis.set_ylim(0, 1.02)


def _look(row: Row, number: int) -> dict[str, Any]:
    return {"color": f"C{number}", "linewidth": 1.6 if row.curve else 0.9}
