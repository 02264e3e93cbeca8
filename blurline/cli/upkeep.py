"""`blurline upkeep`: queues and store kept in order, by a process that takes no job."""

import typer

from blurline.cli.start import pipelines_of, settings_of
from blurline.worker.upkeep import run_upkeep


def upkeep(context: typer.Context) -> None:
    """Keep all queues and the store in order, and send webhooks, without taking a job.

    Workers do the same beside their jobs. Run one of these where workers of a queue may be scaled
    to none: jobs that wait for their next try, or whose worker has died, would wait for ever. It
    loads no network. SIGTERM ends it.
    """
    settings = settings_of()
    run_upkeep(settings, pipelines_of(context, settings))
