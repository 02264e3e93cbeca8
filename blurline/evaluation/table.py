"""A report as tables of text, for the terminal and for a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blurline.evaluation.figures import Band, Row, recall
from blurline.evaluation.report import Report

BY_WIDTH = frozenset({"license_plate"})
"""Targets whose labels are also told by width: they are much wider than high."""

COSTS = ("over-blur", "regions", "CPU ms")


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the heads of the columns, and the lines below them."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def tables(report: Report) -> Iterator[Table]:
    """Tables for each set and target, then for all sets together, and one for detection.

    Recall and average precision are told from 0 to 1, over-blur in per cent of the area; regions
    are redactions a picture.
    """
    groups = [(f"{one.name} ({one.pictures} pictures)", one.rows) for one in report.sets]
    for name, rows in [*groups, ("all sets with labels", report.combined)]:
        for target in dict.fromkeys(row.target for row in rows):
            yield from _of_target(f"{name}: {target}", [r for r in rows if r.target == target])
    measured = [(one.name, one.detection) for one in report.sets if one.detection]
    if measured:
        lines = [
            (name, d.network, f"{d.pictures}", f"{d.labels}", _share(d.ap), _share(d.ap50))
            for name, d in measured
        ]
        head = ("set", "network", "pictures", "labels", "AP", "AP50")
        yield Table("detection, on the pictures as they are", head, tuple(lines))


def band_name(band: Band) -> str:
    """The band's sizes, such as `<8`, `8-12` or `>=48`."""
    if band.below is None:
        return f">={band.at_least:g}"
    return f"{band.at_least:g}-{band.below:g}" if band.at_least else f"<{band.below:g}"


def _of_target(title: str, rows: Sequence[Row]) -> Iterator[Table]:
    if rows[0].labels == 0:
        false_alarms = tuple((row.contender, *_costs(row)) for row in rows)
        yield Table(f"{title}, false alarms", ("", *COSTS), false_alarms)
        return
    by_side = _recalls(rows, [row.short_sides for row in rows])
    costs = [("",) * len(COSTS), *(_costs(row) for row in rows)]
    yield Table(
        f"{title}, recall by the shorter side in px",
        (*by_side.head, *COSTS),
        tuple((*line, *cost) for line, cost in zip(by_side.lines, costs, strict=True)),
    )
    if rows[0].target in BY_WIDTH:
        by_width = _recalls(rows, [row.widths for row in rows])
        yield Table(f"{title}, recall by the width in px", by_width.head, by_width.lines)


def _recalls(rows: Sequence[Row], bands: Sequence[Sequence[Band]]) -> Table:
    """How many labels of each size there are, and below the share that each row covers."""
    counts = ("labels", f"{rows[0].labels}", *(f"{band.labels}" for band in bands[0]))
    shares = [
        (row.contender, _share(recall(row)), *(_share(recall(band)) for band in found))
        for row, found in zip(rows, bands, strict=True)
    ]
    return Table("", ("", "all", *map(band_name, bands[0])), (counts, *shares))


def _costs(row: Row) -> tuple[str, str, str]:
    cpu = "" if row.cpu_ms is None else f"{row.cpu_ms:.1f}"
    return f"{100 * row.over_blur:.2f} %", f"{row.redactions_per_picture:.2f}", cpu


def _share(value: float | None) -> str:
    """Three digits without the zero before the point."""
    return "" if value is None else f"{value:.3f}".removeprefix("0")
