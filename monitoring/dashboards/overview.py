"""The first look: is what was promised kept, does work get done, what is wrong."""

from grafana_foundation_sdk.builders import dashboard as builders

from monitoring.dashboards.panels import (
    GOOD_ABOVE_ZERO,
    RANGE,
    RATE,
    Line,
    Step,
    board,
    graph,
    number,
    quantile,
    words,
)

ASKED = 'route!~"/health|/metrics"'
FAILED = f"sum(increase(blurline_http_requests_total{{status=~'5..',{ASKED}}}[{RANGE}]))"
REQUESTS = f"sum(increase(blurline_http_requests_total{{{ASKED}}}[{RANGE}]))"
IN_TIME = (
    f"sum(increase(blurline_job_seconds_bucket{{le='60.0',queue!='transform_queue'}}[{RANGE}]))"
)
ENDED = f"sum(increase(blurline_job_seconds_count{{queue!='transform_queue'}}[{RANGE}]))"
AVAILABLE = f"1 - ({FAILED} or vector(0)) / {REQUESTS}"
FAST = f"{IN_TIME} / {ENDED}"
LOG_LINES = """
Each line of the log names the job and the request that it is about (`LOG_FORMAT=json` makes an
object of it). To follow one picture: `docker compose logs api worker | grep JOB_ID`, or
`kubectl -n blurline logs -l app.kubernetes.io/part-of=blurline --tail=-1 | grep JOB_ID`.
The link *Logs* above leads to what *Logs at* says, such as a query of Loki in Explore.
"""


def overview() -> builders.Dashboard:
    """Promises, the present, and the last hour."""
    dashboard = board("overview", "blurline overview", "Promises, throughput, queue, API, errors.")
    for part in (_promises, _now, _work, _trouble):
        part(dashboard)
    return dashboard.with_panel(words("Logs", LOG_LINES))


def _promises(dashboard: builders.Dashboard) -> None:
    budget = (Step(None, "red"), Step(0, "orange"), Step(0.25, "green"))
    dashboard.with_row(builders.Row("Promises, over the time that is shown"))
    for panel in (
        number(
            "Requests answered",
            AVAILABLE,
            "percentunit",
            (Step(None, "red"), Step(0.999, "green")),
            about="Share of requests not answered 5xx; promised are 99.9 %. Probes don't count.",
        ),
        number("Error budget left", f"1 - (1 - ({AVAILABLE})) / 0.001", "percentunit", budget),
        number(
            "Jobs within a minute",
            FAST,
            "percentunit",
            (Step(None, "red"), Step(0.99, "green")),
            about="Share of jobs that ended within 60 s of their upload; promised are 99 %.",
        ),
        number("Latency budget left", f"1 - (1 - {FAST}) / 0.01", "percentunit", budget),
        number(
            "Alerts that fire",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            "none",
            (Step(None, "green"), Step(1, "red")),
        ),
        number(
            "Leaks suspected",
            f"sum(increase(blurline_leaks_suspected_total[{RANGE}]))",
            "none",
            (Step(None, "green"), Step(1, "red")),
        ),
    ):
        dashboard.with_panel(panel)


def _now(dashboard: builders.Dashboard) -> None:
    dashboard.with_row(builders.Row("Now"))
    waiting = (Step(None, "green"), Step(500, "orange"), Step(800, "red"))
    age = (Step(None, "green"), Step(60, "orange"), Step(120, "red"))
    for panel in (
        number("Worker processes", "max(blurline_worker_processes)", "none", GOOD_ABOVE_ZERO),
        number(
            "Threads busy",
            "sum(max by (queue) (blurline_worker_threads_busy))"
            " / sum(max by (queue) (blurline_worker_threads))",
            "percentunit",
        ),
        number("Jobs waiting", "blurline:queue:depth", "none", waiting),
        number("Oldest waiting job", "max(blurline_queue_oldest_age_seconds)", "s", age),
        number("Until the queues are empty", "max(blurline_queue_estimated_seconds)", "s"),
        number(
            "Pictures a second",
            f'sum(max by (queue) (rate(blurline_images_total{{outcome="completed"}}[{RATE}])))',
            "none",
        ),
    ):
        dashboard.with_panel(panel)


def _work(dashboard: builders.Dashboard) -> None:
    dashboard.with_row(builders.Row("Work"))
    for panel in (
        graph(
            "Pictures a second",
            [
                Line(f'sum(rate(blurline_uploads_total{{outcome="taken"}}[{RATE}]))', "handed in"),
                Line(
                    "sum by (outcome) "
                    f"(max by (queue, outcome) (rate(blurline_images_total[{RATE}])))",
                    "{{outcome}}",
                ),
                Line(f'sum(rate(blurline_jobs_total{{outcome="retried"}}[{RATE}]))', "retried"),
            ],
            "none",
        ),
        graph(
            "Queues",
            [
                Line("max by (queue) (blurline_queue_depth)", "{{queue}}: waiting"),
                Line("max by (queue) (blurline_queue_processing)", "{{queue}}: running"),
                Line("max(blurline_queue_capacity)", "places of each"),
            ],
            "none",
        ),
        graph(
            "From upload to result",
            [
                Line(quantile(share, "blurline_job_seconds"), f"{share:.0%}")
                for share in (0.5, 0.95, 0.99)
            ],
            "s",
            steps=(Step(None, "transparent"), Step(60, "red")),
        ),
        graph(
            "The API's answers, 95 %",
            [Line(quantile(0.95, "blurline_http_request_seconds", "route"), "{{route}}")],
            "s",
            about="From a request's head to the beginning of its answer; an upload's with the time "
            "that its sender took.",
        ),
    ):
        dashboard.with_panel(panel)


def _trouble(dashboard: builders.Dashboard) -> None:
    dashboard.with_row(builders.Row("Trouble"))
    for panel in (
        graph(
            "Answers a second by status",
            [Line(f"sum by (status) (rate(blurline_http_requests_total[{RATE}]))", "{{status}}")],
            "none",
            stacked=True,
        ),
        graph(
            "Failed jobs a second by code",
            [Line(f"sum by (code) (rate(blurline_job_failures_total[{RATE}]))", "{{code}}")],
            "none",
            stacked=True,
        ),
        graph(
            "Errors of store and Redis a second",
            [
                Line(f"sum(rate(blurline_store_errors_total[{RATE}]))", "store"),
                Line(f"sum(rate(blurline_redis_errors_total[{RATE}]))", "Redis"),
            ],
            "none",
        ),
        graph(
            "Webhooks a second",
            [Line(f"sum by (outcome) (rate(blurline_webhooks_total[{RATE}]))", "{{outcome}}")],
            "none",
        ),
    ):
        dashboard.with_panel(panel)
