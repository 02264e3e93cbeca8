"""`python -m monitoring.picture docs/monitoring.svg`: the dashboards' main panels, of a real run.

No Grafana is needed: the panels' expressions are asked of a real Prometheus, and drawn.
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blurline.evaluation.plots import STYLE
from monitoring.dashboards.files import FOLDER, panels_of
from monitoring.watched import (
    Prometheus,
    Series,
    drive,
    filled,
    numbers,
    prometheus,
    watched_service,
)

RUN_SECONDS = 90.0
COLUMNS = 2
PANEL_INCHES = 5.0, 2.7
MOST_LINES = 8
UNITS = {"s": "seconds", "percentunit": "share", "none": "", "bytes": "bytes"}
SHOWN = {
    "overview": ("Pictures a second", "Queue", "From upload to result", "The API's answers, 95 %"),
    "pipeline": ("Mean time of a job by stage", "One run of a network, 95 %"),
    "workers": ("Cores in use", "Memory in use"),
    "quality": ("Found in one picture, mean", "Confidence of what is made unreadable, mean"),
}
"""Titles of the panels that are drawn, by dashboard."""

Drawn = tuple[str, str, Mapping[str, Series]]
"""A panel's title and unit, and its series by what they are called."""


def main(path: Path) -> None:
    """Run the service, watch it, and draw what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        with (
            watched_service(parent) as (service, targets),
            prometheus(parent / "prometheus", targets) as server,
        ):
            started = time.time()
            drive(service, RUN_SECONDS)
            ended = time.time()
            panels = [_drawn(panel, server, started, ended) for panel in shown()]
    draw(panels, started, path)


def shown() -> list[dict[str, Any]]:
    """The panels of `SHOWN` as they stand in the dashboards, graphs rather than numbers."""
    return [
        panel
        for name, titles in SHOWN.items()
        for title in titles
        for panel in panels_of((FOLDER / f"{name}.json").read_text())
        if panel["title"] == title and panel["type"] == "timeseries"
    ]


def draw(panels: Sequence[Drawn], started: float, path: Path) -> None:
    """Write an SVG of the panels, the time in seconds after `started`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = -(-len(panels) // COLUMNS)
    with rc_context(STYLE):
        width, height = PANEL_INCHES
        figure = Figure((width * COLUMNS, height * rows), layout="constrained")
        for axes, (title, unit, series) in zip(
            figure.subplots(rows, COLUMNS).flat, panels, strict=False
        ):
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_ylabel(UNITS[unit])
            for name, one in series.items():
                points = [(moment - started, float(text)) for moment, text in numbers(one)]
                axes.plot(*zip(*points, strict=True), label=name, linewidth=1.3)
            axes.set_ylim(bottom=0)
            axes.legend(fontsize=7, ncols=2, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _drawn(panel: dict[str, Any], server: Prometheus, started: float, ended: float) -> Drawn:
    """What a panel shows of that time."""
    answers = [
        (target["legendFormat"], server.over(filled(target["expr"]), started, ended, 1))
        for target in panel["targets"]
    ]
    return panel["title"], panel["fieldConfig"]["defaults"]["unit"], _series(answers)


def _series(answers: Sequence[tuple[str, Sequence[Series]]]) -> dict[str, Series]:
    """The series by name, at most `MOST_LINES`, those without a value left out."""
    named = {
        _name(legend, one["metric"]): one
        for legend, found in answers
        for one in found
        if any(True for _ in numbers(one))
    }
    return dict(sorted(named.items(), key=lambda item: item[0])[:MOST_LINES])


def _name(legend: str, labels: Mapping[str, str]) -> str:
    """What Grafana makes of a legend."""
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


if __name__ == "__main__":
    main(Path(sys.argv[1]))
