"""`blurline reconcile`: the queue made anew out of the store."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blurline.cli.progress import progress_bar
from blurline.cli.start import pipelines_of, settings_of
from blurline.cli.store import store_of
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.stack import valkey
from blurline.storage.vault import open_vault
from blurline.worker.reconciler import NEWER_THAN, SHARDS, open_reconciler


def reconcile(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is lost, and queue nothing.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            metavar="N", min=0, help="Seconds that an upload may be under way before it is lost."
        ),
    ] = 60,
    newer_than: Annotated[
        float, typer.Option(metavar="N", min=0, help="Days after which a job is not run any more.")
    ] = NEWER_THAN / timedelta(days=1),
    data_dir: Annotated[Path | None, typer.Option(help="Data folder of the service.")] = None,
) -> None:
    """Queue jobs that are in the store, have not ended, and are unknown to Redis.

    For after Redis has lost its memory; workers do the same by themselves, a little later. The
    service may run meanwhile, and no job is queued twice. Exit status 0: all that was lost is
    queued; 1: something can't be read, or --dry-run found lost jobs; 2: Redis or the store is away.

        blurline reconcile --dry-run
    """
    settings = settings_of(data_dir=data_dir)
    store = store_of(settings)
    redis = connect(settings.redis_url or _own_url(settings))
    queues = Queues(redis, settings, pipelines_of(context, settings))
    reconciler = open_reconciler(settings, queues, store, open_vault(settings, store))
    with progress_bar(Console(stderr=True)) as progress:
        task = progress.add_task("looking through the store", total=len(SHARDS))
        found = reconciler.reconcile(
            older_than=timedelta(seconds=older_than),
            newer_than=timedelta(days=newer_than),
            dry_run=dry_run,
            done=lambda shards: progress.update(task, completed=shards),
        )
    typer.echo(
        f"orders: {found.kept}, lost: {found.lost}, queued again: {found.requeued}, "
        f"unreadable: {found.unreadable}"
    )
    if found.unreadable or (dry_run and found.lost):
        raise typer.Exit(1)


def _own_url(settings: Settings) -> str:
    """Where the embedded Valkey of a service in the data folder listens, or else the default."""
    path = settings.data_dir.resolve() / valkey.SOCKET
    return f"unix://{path}" if path.exists() else DEFAULT_URL
