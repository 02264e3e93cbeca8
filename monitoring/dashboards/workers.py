"""The processes: who runs, how busy, with which networks, and what is left of the machines."""

from grafana_foundation_sdk.builders import dashboard as builders

from monitoring.dashboards.panels import (
    GOOD_ABOVE_ZERO,
    RATE,
    Line,
    Step,
    board,
    graph,
    mean,
    number,
    quantile,
)

PROCESS = "{{job}} {{instance}}"
LITTLE = (Step(None, "red"), Step(0.1, "transparent"))
MUCH = (Step(None, "transparent"), Step(0.8, "red"))


def workers() -> builders.Dashboard:
    """Processes, GPU batches, machines."""
    dashboard = board("workers", "blurline workers", "Processes, GPU batches, memory and disks.")
    for part in (_processes, _networks, _machines):
        part(dashboard)
    return dashboard


def _processes(dashboard: builders.Dashboard) -> None:
    dashboard.with_row(builders.Row("Processes"))
    for panel in (
        number("APIs", 'count(up{job="blurline-api"} == 1)', "none", GOOD_ABOVE_ZERO, width=6),
        number("Workers", "max(blurline_worker_processes)", "none", GOOD_ABOVE_ZERO, width=6),
        number("Threads", "sum(max by (queue) (blurline_worker_threads))", "none", width=6),
        number(
            "Threads that work",
            "sum(max by (queue) (blurline_worker_threads_busy))",
            "none",
            width=6,
        ),
        graph(
            "Jobs that run",
            [Line("blurline_jobs_running", "{{instance}} {{queue}}")],
            "none",
            stacked=True,
        ),
        graph(
            "Pictures a second by worker",
            [
                Line(
                    f'sum by (instance) (rate(blurline_jobs_total{{outcome="completed"}}[{RATE}]))',
                    "{{instance}}",
                )
            ],
            "none",
            stacked=True,
        ),
        graph(
            "Cores in use",
            [Line(f'rate(process_cpu_seconds_total{{job=~"blurline-.*"}}[{RATE}])', PROCESS)],
            "none",
        ),
        graph(
            "Memory in use",
            [Line('process_resident_memory_bytes{job=~"blurline-.*"}', PROCESS)],
            "bytes",
        ),
        graph(
            "Hours since the start",
            [Line('(time() - process_start_time_seconds{job=~"blurline-.*"}) / 3600', PROCESS)],
            "none",
        ),
        graph(
            "Versions",
            [Line("count by (version, job) (blurline_build_info)", "{{job}} {{version}}")],
            "none",
        ),
    ):
        dashboard.with_panel(panel)


def _networks(dashboard: builders.Dashboard) -> None:
    dashboard.with_row(builders.Row("Networks and GPU"))
    for panel in (
        graph(
            "Workers that have loaded a network",
            [Line("count by (model, sha256) (blurline_model_info)", "{{model}} {{sha256}}")],
            "none",
        ),
        graph(
            "Loading a network",
            [Line("max by (model) (blurline_model_load_seconds)", "{{model}}")],
            "s",
        ),
        graph(
            "Pictures of a batch on the GPU, mean",
            [Line(mean("blurline_inference_batch_size", "model"), "{{model}}")],
            "none",
            about="Only where networks run in batches. Load and memory of the card itself come "
            "from an exporter of its maker, such as dcgm-exporter.",
        ),
        graph(
            "Pictures of a batch on the GPU, 95 %",
            [Line(quantile(0.95, "blurline_inference_batch_size", "model"), "{{model}}")],
            "none",
        ),
    ):
        dashboard.with_panel(panel)


def _machines(dashboard: builders.Dashboard) -> None:
    dashboard.with_row(builders.Row("Machines"))
    free = "blurline_disk_free_bytes / blurline_disk_size_bytes"
    available = "blurline_memory_available_bytes / blurline_memory_limit_bytes"
    redis = "max(blurline_redis_memory_bytes) / max(blurline_redis_memory_limit_bytes)"
    for title, expr, legend, steps in (
        ("Disk that is free", free, "{{place}} {{instance}}", LITTLE),
        ("Memory that can be had", available, PROCESS, LITTLE),
        ("Redis' memory in use", redis, "Redis", MUCH),
    ):
        panel = graph(title, [Line(expr, legend)], "percentunit", width=8, steps=steps)
        dashboard.with_panel(panel)
