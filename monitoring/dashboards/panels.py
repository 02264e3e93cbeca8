"""What the dashboards are made of: panels of one look, each from a title and its expressions."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, text, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.text import TextMode

RATE = "$__rate_interval"
RANGE = "$__range"
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="prometheus")

COLUMNS = 24
SMALL, TALL = 4, 8
"""Heights in Grafana's grid, which has 24 columns."""

LOGS = "logs"
"""The variable that holds where logs are to be seen."""


@dataclass(frozen=True, slots=True)
class Line:
    """One expression, and what its series are called; `{{label}}` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A colour from a value on; None is from the lowest on."""

    value: float | None
    colour: str


GOOD_ABOVE_ZERO = (Step(None, "red"), Step(1, "green"))


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """The value below which `share` (0 to 1) of a histogram's observations lie."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({histogram}_bucket{where}[{RATE}])"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate}))"


def mean(metric: str, by: str = "", window: str = RATE) -> str:
    """The mean of what a histogram or summary has seen."""
    grouped = f"sum by ({by})" if by else "sum"
    total = f"{grouped} (rate({metric}_sum[{window}]))"
    return f"{total} / {grouped} (rate({metric}_count[{window}]))"


def number(
    title: str, expr: str, unit: str, steps: Sequence[Step] = (), *, width: int = 4, about: str = ""
) -> stat.Panel:
    """One value, large."""
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .height(SMALL)
        .span(width)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(Line(expr), 0))
    )
    return panel.thresholds(_thresholds(steps)) if steps else panel


def graph(
    title: str,
    lines: Sequence[Line],
    unit: str,
    *,
    width: int = 12,
    stacked: bool = False,
    about: str = "",
    steps: Sequence[Step] = (),
) -> timeseries.Panel:
    """Lines over time; `steps` are drawn as limits."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(TALL)
        .span(width)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if steps:
        style = common_builders.GraphThresholdsStyleConfig()
        panel.thresholds(_thresholds(steps)).thresholds_style(
            style.mode(common.GraphThresholdsStyleMode.DASHED)
        )
    for index, line in enumerate(lines):
        panel.with_target(_query(line, index))
    return panel


def words(title: str, content: str, *, width: int = COLUMNS, height: int = SMALL) -> text.Panel:
    """A panel of Markdown."""
    panel = text.Panel().title(title).mode(TextMode.MARKDOWN).content(content)
    return panel.height(height).span(width)


def board(name: str, title: str, about: str) -> builders.Dashboard:
    """An empty dashboard with the links that all have."""
    others = (
        builders.DashboardLink("blurline")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags(["blurline"])
        .as_dropdown(True)
        .keep_time(True)
    )
    logs = (
        builders.DashboardLink("Logs")
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"${{{LOGS}}}")
        .tooltip("Where this installation keeps its logs")
        .target_blank(True)
    )
    place = builders.TextBoxVariable(LOGS).label("Logs at").default_value("/explore")
    return (
        builders.Dashboard(title)
        .uid(f"blurline-{name}")
        .description(about)
        .tags(["blurline"])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(place)
        .link(others)
        .link(logs)
    )


def _query(line: Line, index: int) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(line.expr).ref_id(chr(ord("A") + index)).range()
    return query.datasource(SOURCE).legend_format(line.legend)


def _thresholds(steps: Sequence[Step]) -> builders.ThresholdsConfig:
    models = [dashboard.Threshold(value=step.value, color=step.colour) for step in steps]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(models)
