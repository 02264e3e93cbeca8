"""The command `blurline`: its sub-commands put together."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from blurline import __version__
from blurline.cli import keys
from blurline.cli.audit import audit_app
from blurline.cli.demo import demo
from blurline.cli.evaluate import evaluate
from blurline.cli.help import reflow
from blurline.cli.models import models_app
from blurline.cli.reconcile import reconcile
from blurline.cli.redact import redact
from blurline.cli.run import run_app
from blurline.cli.up import up, worker
from blurline.cli.upkeep import upkeep
from blurline.cli.verify import verify
from blurline.errors import BlurlineError
from blurline.pipeline_architecture import pipelines

app = typer.Typer(
    help="Blur faces and number plates in pictures, then list the objects that are left.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"], "obj": pipelines},
)
for command in (redact, verify, reconcile, evaluate, up, worker, upkeep, demo):
    app.command()(command)
app.add_typer(run_app, name="run")
app.add_typer(models_app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(audit_app, name="audit")
reflow(app)


def main() -> None:
    """Run the command; an expected error becomes one line and exit status 2."""
    try:
        app()
    except BlurlineError as error:
        line = Text.assemble(("blurline:", "red"), " ", error.message)
        Console(stderr=True).print(line, soft_wrap=True)
        raise SystemExit(2) from error


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blurline {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every setting is also an environment variable: see docs/settings.md."""


if __name__ == "__main__":
    main()
