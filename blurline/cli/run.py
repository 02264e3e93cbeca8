"""`blurline run`: any pipeline, or several one after the other, on files, without a server.

Each pipeline is a command of its own, whose flags follow from the options that it declares.
"""

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from blurline.cli.help import unbroken
from blurline.cli.making import Making, or_file
from blurline.cli.start import Pipelines, settings_of
from blurline.errors import OptionError
from blurline.settings import load_settings
from blurline.stages.defaults import default_texts
from blurline.stages.optiontable import Option
from blurline.stages.pipeline import SEPARATOR, Chain, chain_of
from blurline.treatment.outputs import Treated

HELP = """Run any pipeline on a picture, or on a folder of them, without a server.

Several names with commas are done one after the other, and what redacts always comes first.

    blurline run enhance dark.jpg better.jpg

    blurline run blur,style-comic photos/ comics/ --tones 4

    blurline run style-aged --help
"""

COMMAND_HELP = """{summary}.

Prints one line of JSON a picture: what there is to tell of it, or why it failed. What lies in a
folder counts by its content. A result that is there already, of the same picture with the same
options and networks, is left alone, so an interrupted run goes on where it stopped. Exit status
0: all is done; 1: something failed, and the rest is done; 2: nothing was begun, or there can be no
more results; 130: stopped by Ctrl+C.

    blurline run {name} in.jpg out.png
"""

OWN = "Options of the pipeline"


class PipelineGroup(TyperGroup):
    """A command for each pipeline, and for each chain of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The pipelines' names, in their order."""
        return list(_known(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a pipeline, or of several whose names have commas between them.

        Raises:
            OptionError: there is no such pipeline.
        """
        return typer.main.get_command(_command(chain_of(_known(ctx), cmd_name)))


run_app = typer.Typer(cls=PipelineGroup, help=unbroken(HELP), no_args_is_help=True)


@run_app.callback()
def _run() -> None:
    """Have the group a group, though it has no command of its own."""


def _known(context: Any) -> Pipelines:
    found: Pipelines = context.find_root().obj(load_settings())
    return found


def _command(chain: Chain) -> typer.Typer:
    """An app whose one command runs the chain."""
    app = typer.Typer(add_completion=False)
    app.command(
        chain.name.replace(SEPARATOR, "-"),
        help=unbroken(
            COMMAND_HELP.format(
                summary=", then ".join(one.summary for one in chain.pipelines),
                name=chain.name,
            )
        ),
        # What is unknown is told of by us: with the options that there are.
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(_function(chain))
    return app


def _function(chain: Chain) -> Callable[..., None]:
    """The command's function, with a parameter for each option of the chain."""

    def run(context: typer.Context, source: Path, target: Path, **flags: Any) -> None:
        again, force, verbose, threads = (
            flags.pop(name) for name in ("again", "force", "verbose", "threads")
        )
        texts = {name: or_file(text) for name, text in flags.items()}
        for word in (str(source), str(target), *context.args):
            if word.startswith("--"):
                texts[word.lstrip("-").partition("=")[0].replace("-", "_")] = word
        settings = settings_of(worker_threads=threads)
        values = chain.options.read(texts, default_texts(settings))
        if context.args:
            raise OptionError("name one picture or folder, and one result or folder for results")
        making = Making(source, target, _told, again=again, force=force, verbose=verbose)
        asked = bool(texts.get("output_format"))
        if status := making.run(settings, chain, values, asked=asked):
            raise typer.Exit(status)

    parameters = [
        *(
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
            for name, annotation in FIRST.items()
        ),
        *(_parameter(option) for option in chain.options.values()),
        *(
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (default, annotation) in LAST.items()
        ),
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


FIRST: dict[str, Any] = {
    "context": typer.Context,
    "source": Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    "target": Annotated[
        Path, typer.Argument(help="Where the result goes, or the folder of results.")
    ],
}
LAST: dict[str, tuple[Any, Any]] = {
    "again": (
        False,
        Annotated[
            bool, typer.Option("--again", help="Also do pictures whose result is there already.")
        ],
    ),
    "force": (
        False,
        Annotated[
            bool,
            typer.Option("--force", help="Write over files that are no results of blurline, too."),
        ],
    ),
    "threads": (
        None,
        Annotated[
            int | None,
            typer.Option(metavar="N", min=1, help="Pictures at a time. Default: two a core."),
        ],
    ),
    "verbose": (
        False,
        Annotated[
            bool, typer.Option("--verbose", help="Name the files that are left out, and why.")
        ],
    ),
}


def _parameter(option: Option[Any]) -> Parameter:
    """The flag of an option of a pipeline."""
    told = option.help[0].upper() + option.help[1:]
    if option.example and not option.words:
        told += f", such as {option.example}"
    flag = typer.Option(
        f"--{_flag(option)}",
        metavar="|".join(option.words) or "TEXT",
        help=f"{told}. Default: {option.default or 'none'}.",
        rich_help_panel=OWN,
        show_default=False,
    )
    return Parameter(
        option.name, Parameter.KEYWORD_ONLY, default="", annotation=Annotated[str, flag]
    )


def _flag(option: Option[Any]) -> str:
    return option.name.replace("_", "-")


def _told(treated: Treated) -> dict[str, Any]:
    return {
        "reports": treated.reports,
        "pixels": [treated.primary.width, treated.primary.height],
    }
