"""What is made of a report: JSON, tables, plots, and the page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blurline.errors import OptionError
from blurline.evaluation.average_precision import Precision
from blurline.evaluation.figures import Band, CurvePoint, Row
from blurline.evaluation.page import BEGIN, END, filled, written
from blurline.evaluation.plots import write_plots
from blurline.evaluation.report import Report, SetReport, from_json, to_json
from blurline.evaluation.table import tables
from tests.parts import ROOT

BANDS = (Band(0, 8, 0, 0), Band(8, None, 4, 3))
CURVE = (CurvePoint(0.1, 4, 0.08, 6.0), CurvePoint(0.5, 2, 0.01, 2.0))
ROW = Row("balanced", "face", 2, 4, 3, BANDS, BANDS, 0.0123, 3.5, 12.34, CURVE)
PEER = replace(ROW, contender="peer", covered=2, cpu_ms=None, curve=())
PLATE = replace(ROW, target="license_plate")
ALARM = replace(ROW, labels=0, covered=0, short_sides=(), widths=(), curve=())
REPORT = Report(
    version="1.2.3",
    limit=None,
    threads=1,
    precision="auto",
    covered=0.85,
    grown=0.3,
    settings={"balanced": {"face": {"threshold": 0.2}}, "peer": {}},
    sets=(
        SetReport("faces/a", 2, {"face": 4}, 1, (ROW, PEER)),
        SetReport("negatives/b", 2, {}, 0, (ALARM,)),
        SetReport("plates/c", 2, {"license_plate": 4}, 0, (PLATE,)),
        SetReport("coco/d", 2, {"cup": 3}, 0, (), Precision("net", 2, 3, 0.4567, 0.6)),
    ),
    combined=(replace(ROW, pictures=4),),
)


def test_a_report_comes_back_from_its_json_as_it_was() -> None:
    assert from_json(to_json(REPORT)) == REPORT


def test_the_json_tells_its_version_and_all_counts() -> None:
    content = json.loads(to_json(REPORT))

    assert content["blurline_evaluation"] == 1
    row = content["sets"][0]["rows"][0]
    assert (row["labels"], row["covered"], row["pictures"]) == (4, 3, 2)
    assert row["short_sides"][1] == {"at_least": 8, "below": None, "labels": 4, "covered": 3}
    assert content["settings"]["balanced"]["face"]["threshold"] == 0.2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        to_json(REPORT).replace(b'"blurline_evaluation": 1', b'"blurline_evaluation": 2'),
        to_json(REPORT).replace(b'"threads": 1', b'"threads": "many"'),
    ],
)
def test_what_is_no_report_of_this_version_is_refused(text: bytes) -> None:
    with pytest.raises(OptionError, match="no report"):
        from_json(text)


def test_tables_tell_recall_by_size_and_what_it_costs() -> None:
    faces, *_ = tables(REPORT)

    assert faces.title == "faces/a (2 pictures): face, recall by the shorter side in px"
    assert faces.head == ("", "all", "<8", ">=8", "over-blur", "regions", "CPU ms")
    assert faces.lines == (
        ("labels", "4", "0", "4", "", "", ""),
        ("balanced", ".750", "", ".750", "1.23 %", "3.50", "12.3"),
        ("peer", ".500", "", ".750", "1.23 %", "3.50", ""),
    )


def test_there_is_a_table_for_each_thing_that_is_told() -> None:
    assert [table.title for table in tables(REPORT)] == [
        "faces/a (2 pictures): face, recall by the shorter side in px",
        "negatives/b (2 pictures): face, false alarms",
        "plates/c (2 pictures): license_plate, recall by the shorter side in px",
        "plates/c (2 pictures): license_plate, recall by the width in px",
        "all sets with labels: face, recall by the shorter side in px",
        "detection, on the pictures as they are",
    ]


# The page


PAGE = f"# Quality\n\nWords.\n\n{BEGIN}\nold tables\n{END}\n\nMore words.\n"


def test_the_page_keeps_its_words_and_gets_new_tables() -> None:
    page = filled(PAGE, [REPORT], ["quality/face-trade.svg"])

    before, rest = page.split(f"{BEGIN}\n")
    tables, after = rest.split(f"{END}\n")
    assert (before, after) == ("# Quality\n\nWords.\n\n", "\nMore words.\n")
    assert "old tables" not in tables
    assert "| balanced | .750 |  | .750 | 1.23 % | 3.50 | 12.3 |" in tables
    assert "](quality/face-trade.svg)" in tables
    assert '"threshold": 0.2' in tables
    assert filled(page, [REPORT], ["quality/face-trade.svg"]) == page


def test_every_line_of_a_table_has_as_many_cells_as_its_head() -> None:
    page = filled(PAGE, [REPORT], [])

    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_partial_report_says_so_on_the_page() -> None:
    assert "Partial" in filled(PAGE, [replace(REPORT, limit=20)], [])
    assert "Partial" not in filled(PAGE, [REPORT], [])


@pytest.mark.parametrize("page", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", PAGE.replace(END, "")])
def test_a_page_without_a_place_for_tables_is_left_alone(page: str) -> None:
    with pytest.raises(OptionError, match="must hold the lines"):
        filled(page, [REPORT], [])


def test_the_page_of_this_project_shows_what_its_reports_say() -> None:
    page = ROOT / "docs/quality.md"
    reports = [ROOT / "docs/quality" / f"{name}.json" for name in ("faces", "plates")]

    assert written(page, reports) == page.read_text()


# Plots


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_plots_are_the_same_bytes_for_the_same_figures(tmp_path: Path, kind: str) -> None:
    plots = write_plots(REPORT, tmp_path, kind)
    first = [path.read_bytes() for path in plots]

    assert [path.name for path in plots] == [
        f"{target}-{name}.{kind}"
        for target in ("face", "license_plate")
        for name in ("by-size", "trade")
    ]
    assert [path.read_bytes() for path in write_plots(REPORT, tmp_path, kind)] == first


def test_a_plot_names_its_axes_with_their_units_and_every_contender(tmp_path: Path) -> None:
    by_size, trade, *_ = (path.read_text() for path in write_plots(REPORT, tmp_path, "svg"))

    for words in ("recall", "faces/a", "balanced", "peer"):
        assert words in by_size
        assert words in trade
    assert "in px" in by_size
    assert "in % of the area" in trade


def test_a_report_without_labels_has_no_plots(tmp_path: Path) -> None:
    report = replace(REPORT, sets=REPORT.sets[1:2], combined=())

    assert write_plots(report, tmp_path, "svg") == []
