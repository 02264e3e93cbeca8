"""`make bench`: one subcommand for each thing that is measured."""

import sys
from collections.abc import Collection, Sequence

import typer
from rich.text import Text

from bench.codec import codec
from bench.crowd import crowd
from bench.fairness import fairness
from bench.growth import growth
from bench.install_size import install_size
from bench.latency import latency
from bench.looks import looks
from bench.redis_memory import redis_memory
from bench.report import console
from bench.soak import soak
from bench.spike import spike
from bench.startup import startup
from bench.throughput import throughput
from bench.transforms import transforms
from blurline.errors import BlurlineError

DEFAULT = throughput.__name__
HELP = ("-h", "--help")

app = typer.Typer(
    help="Measure blurline on this machine. Each subcommand starts a service of its own, prints a "
    "table and keeps the figures in bench/latest.json. Without a subcommand it is `throughput`. "
    "Only ratios to the kernel limit of the same run compare well between machines.",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": list(HELP)},
    add_completion=False,
)
COMMANDS = {
    command.__name__.replace("_", "-"): command
    for command in (
        throughput,
        codec,
        looks,
        latency,
        fairness,
        spike,
        soak,
        startup,
        growth,
        crowd,
        redis_memory,
        install_size,
        transforms,
    )
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def arguments(given: Sequence[str], commands: Collection[str]) -> list[str]:
    """The command line with the default subcommand where none is named."""
    named = bool(given) and (given[0] in commands or given[0] in HELP)
    return list(given) if named else [DEFAULT, *given]


def main() -> None:
    """Run the subcommand; an expected error becomes one line and exit status 2."""
    try:
        app(args=arguments(sys.argv[1:], COMMANDS), prog_name="python -m bench")
    except BlurlineError as error:
        console.print(Text.assemble(("bench:", "red"), " ", error.message), soft_wrap=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
