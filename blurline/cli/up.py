"""`blurline up` and `blurline worker`: the service in the foreground, all of it or one worker."""

from pathlib import Path
from typing import Annotated

import typer

from blurline.access.admission import open_admission
from blurline.cli.models import pull_missing
from blurline.cli.start import check_defaults, pipelines_of, settings_of, treat_stop_as_interrupt
from blurline.stack.stack import running_stack


def up(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the API listens on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for queue and pictures.")] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Worker processes.")
    ] = None,
) -> None:
    """Run the whole service in the foreground: queue, API and workers, until Ctrl+C.

    Without REDIS_URL it brings its own Valkey, without S3_BUCKET it keeps pictures in a folder.
    """
    settings = settings_of(port=port, host=host, data_dir=data_dir, num_workers=workers)
    pipelines = pipelines_of(context, settings)
    check_defaults(settings, pipelines)
    open_admission(settings)
    treat_stop_as_interrupt()
    try:
        pull_missing(settings, pipelines)
        with running_stack(settings, {}) as stack:
            typer.echo(f"blurline is up: {stack.url} (API description at {stack.url}/docs)")
            typer.echo(f"pictures and queue: {settings.data_dir.resolve()}; Ctrl+C stops it")
            try:
                stack.supervisor.watch(lambda: False)
            except KeyboardInterrupt:
                typer.echo("stopping: running jobs are finished first")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def worker(context: typer.Context) -> None:
    """Run one worker process. SIGTERM lets it finish its jobs and leave."""
    from blurline.worker.service import run_worker

    settings = settings_of()
    run_worker(settings, pipelines_of(context, settings))
