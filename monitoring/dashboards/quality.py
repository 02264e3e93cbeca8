"""What the networks find, how sure they are, and whether that changes."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import timeseries

from monitoring.dashboards.panels import RATE, Line, board, graph, mean, quantile

REGIONS = "blurline_image_redactions"
OBJECTS = "blurline_image_detections"
NAMES = {REGIONS: "regions made unreadable", OBJECTS: "objects seen"}
LATELY, LONG = "1h", "1d"
DRIFT = (
    "The last hour's mean as a share of the last day's. A camera that was moved, rain, another "
    "sender or other weights move it from 1; so does a fault."
)


def quality() -> builders.Dashboard:
    """Counts, confidences, areas, and their drift."""
    dashboard = board("quality", "blurline quality", "What is found, how sure; its drift.")
    for panel in (*_counts(), *_confidences(), *_areas()):
        dashboard.with_panel(panel)
    return dashboard


def _counts() -> tuple[timeseries.Panel, ...]:
    none = f'sum(rate({REGIONS}_bucket{{le="0.0"}}[{RATE}])) / sum(rate({REGIONS}_count[{RATE}]))'
    return (
        graph(
            "Found in one picture, mean",
            [Line(mean(metric), name) for metric, name in NAMES.items()],
            "none",
        ),
        graph(
            "Drift of what is found in one picture",
            [
                Line(f"({mean(metric, window=LATELY)}) / ({mean(metric, window=LONG)})", name)
                for metric, name in NAMES.items()
            ],
            "none",
            about=DRIFT,
        ),
        graph("Pictures without an unreadable region", [Line(none, "share")], "percentunit"),
        graph(
            "Objects a second, the ten most frequent classes",
            [
                Line(
                    f"topk(10, sum by (label) (rate(blurline_detection_confidence_count[{RATE}])))",
                    "{{label}}",
                )
            ],
            "none",
        ),
    )


def _confidences() -> tuple[timeseries.Panel, ...]:
    redacted = "blurline_redaction_confidence"
    return (
        graph(
            "Confidence of what is made unreadable, mean",
            [Line(mean(redacted, "target"), "{{target}}")],
            "none",
        ),
        graph(
            "Confidence of what is made unreadable, 10 %",
            [Line(quantile(0.1, redacted, "target"), "{{target}}")],
            "none",
            about="One of ten regions was found with less than this. The nearer it is to the "
            "threshold, the more is likely to be missed.",
        ),
        graph(
            "Drift of confidence by target",
            [
                Line(
                    f"({mean(redacted, 'target', LATELY)}) / ({mean(redacted, 'target', LONG)})",
                    "{{target}}",
                )
            ],
            "none",
            about=DRIFT,
        ),
        graph(
            "Confidence by class, mean",
            [Line(mean("blurline_detection_confidence", "label"), "{{label}}")],
            "none",
        ),
    )


def _areas() -> tuple[timeseries.Panel, ...]:
    area = "blurline_image_redacted_ratio"
    return (
        graph(
            "Share of a picture that is made unreadable",
            [Line(mean(area), "mean"), Line(quantile(0.95, area), "95 %")],
            "percentunit",
        ),
        graph(
            "Second looks that found something",
            [
                Line(
                    f'sum(rate(blurline_second_looks_total{{outcome="mended"}}[{RATE}]))'
                    f" / sum(rate(blurline_second_looks_total[{RATE}]))",
                    "mended",
                ),
            ],
            "percentunit",
        ),
    )
