"""Where the time of a job goes: waiting, stages, networks."""

from grafana_foundation_sdk.builders import dashboard as builders

from monitoring.dashboards.panels import RATE, Line, board, graph, mean, quantile

STAGES = "blurline_stage_seconds"


def pipeline() -> builders.Dashboard:
    """Stages and networks by time."""
    dashboard = board("pipeline", "blurline pipeline", "Where the time of a job goes.")
    for panel in (
        graph(
            "Mean time of a job by stage",
            [Line(mean(STAGES, "stage"), "{{stage}}")],
            "s",
            stacked=True,
            about="A second look is taken of some pictures only; its mean is of those.",
        ),
        graph("Stages, 95 %", [Line(quantile(0.95, STAGES, "stage"), "{{stage}}")], "s"),
        graph(
            "Threads at work by stage",
            [Line(f"sum by (stage) (rate({STAGES}_sum[{RATE}]))", "{{stage}}")],
            "none",
            stacked=True,
            about="Seconds of work in a second: how many threads are in this stage on average.",
        ),
        graph(
            "Waiting for a worker, 95 % by queue",
            [Line(quantile(0.95, "blurline_job_wait_seconds", "queue"), "{{queue}}")],
            "s",
        ),
        graph(
            "In a worker, mean by pipeline",
            [
                Line(
                    f"sum by (pipeline) (rate({STAGES}_sum[{RATE}])) / sum by (pipeline) "
                    f'(rate(blurline_jobs_total{{outcome="completed"}}[{RATE}]))',
                    "{{pipeline}}",
                )
            ],
            "s",
        ),
        graph(
            "One run of a network, 95 %",
            [Line(quantile(0.95, "blurline_inference_seconds", "model"), "{{model}}")],
            "s",
        ),
        graph(
            "Runs of networks a second",
            [Line(f"sum by (model) (rate(blurline_inference_seconds_count[{RATE}]))", "{{model}}")],
            "none",
        ),
        graph(
            "Second looks a second",
            [
                Line(
                    f"sum by (outcome) (rate(blurline_second_looks_total[{RATE}]))", "{{outcome}}"
                ),
                Line(f"sum(rate(blurline_leaks_suspected_total[{RATE}]))", "held back"),
            ],
            "none",
        ),
        graph(
            "Pictures of a batch upload, mean",
            [Line(mean("blurline_batch_files"), "pictures")],
            "none",
        ),
    ):
        dashboard.with_panel(panel)
    return dashboard
