"""`blurline evaluate`: what the blur stage finds in labelled pictures, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from blurline import __version__
from blurline.cli.models import pull_missing
from blurline.cli.progress import progress_bar
from blurline.cli.sets import tasks_of
from blurline.cli.start import Pipelines, pipelines_of, settings_of
from blurline.errors import OptionError
from blurline.evaluation import average_precision, plots
from blurline.evaluation.contender import Contender, Shipped
from blurline.evaluation.coverage import COVERED, GROWN
from blurline.evaluation.measurement import Measurement
from blurline.evaluation.peers import load_peers
from blurline.evaluation.peers import sources as peer_sources
from blurline.evaluation.report import Report, to_json
from blurline.evaluation.table import tables
from blurline.files import write_whole
from blurline.imaging.header import limits_of
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.redaction.zones import Zones
from blurline.settings import Settings
from blurline.stages.blur import Blur
from blurline.stages.defaults import default_texts
from blurline.stages.detect import Detect
from blurline.stages.frame import Options, Quality
from blurline.stages.options import read_options


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller asks for; without `targets` it is what each set has labels of."""

    sets: Sequence[str]
    targets: str
    qualities: Sequence[Quality]
    threshold: str
    limit: int | None
    threads: int
    peers: bool
    json_file: Path | None
    plots: Path | None
    plot_format: Literal["svg", "png"]


def evaluate(
    context: typer.Context,
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
        int | None, typer.Option(metavar="N", min=1, help="Only the first pictures of each set.")
    ] = None,
    threads: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Pictures at a time. CPU times are told for 1 only."),
    ] = 1,
) -> None:
    """Measure what the blur stage finds in labelled pictures, and what it costs.

    Prints for each set how many of its labels are redacted, by their size, and how much else is.
    For sets with COCO labels it measures the detection network as well.

        blurline evaluate faces/ plates/ --json report.json
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
        settings = settings_of()
        pipelines = pipelines_of(context, settings)
        pull_missing(settings, pipelines)
        if peers:
            for source in peer_sources():
                source.pull(settings.model_dir)
        _measure(request, settings, pipelines)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _measure(request: Request, settings: Settings, pipelines: Pipelines) -> None:
    """Measure the sets, print the tables, and write the files that were asked for.

    Raises:
        BlurlineError: an option or a set is not right; nothing has been measured then.
    """
    stages = [stage for pipeline in pipelines.values() for stage in pipeline.stages]
    blur = next(stage for stage in stages if isinstance(stage, Blur))
    detect = next(stage for stage in stages if isinstance(stage, Detect))
    defaults = default_texts(settings)
    tasks = tasks_of(request.sets, request.targets, request.limit, settings, blur)
    _prepare_places(request)
    targets = [name for name in blur.targets if any(name in task.targets for task in tasks)]
    models = {blur.targets[name].model for name in targets}
    if any(task.is_for_detection for task in tasks):
        average_precision.check_installed()
        models.add(detect.model)
    how = replace(inference(settings), threads=request.threads)
    detectors = load_detectors(sorted(models), how)
    contenders: list[Contender] = []
    if targets:
        contenders += [
            Shipped(blur, options, detectors)
            for options in _options(request, targets, defaults, blur)
        ]
    if request.peers:
        contenders += load_peers(targets, how)
    measurement = Measurement(
        contenders=contenders,
        labels={name: blur.targets[name].labels for name in targets},
        detector=detectors.get(detect.model),
        limits=limits_of(settings),
        threads=request.threads,
        curves=request.plots is not None,
    )
    # The bar shares its process with what is measured.
    with progress_bar(Console(stderr=True), refresh_per_second=1) as progress:
        total = sum(len(task.labelled.pictures) for task in tasks)
        bar = progress.add_task("measuring", total=total)
        sets, combined = measurement.run(tasks, lambda: progress.advance(bar))
    report = Report(
        version=__version__,
        limit=request.limit,
        threads=request.threads,
        precision=", ".join(sorted({one.engine.precision for one in detectors.values()})),
        covered=COVERED,
        grown=GROWN,
        settings={contender.name: contender.settings for contender in contenders},
        sets=sets,
        combined=combined,
    )
    _show(report)
    if request.json_file:
        write_whole(request.json_file, to_json(report))
    if request.plots:
        plots.write_plots(report, request.plots, request.plot_format)


def _prepare_places(request: Request) -> None:
    """Make sure that what will be written can be, before an hour has gone into it."""
    if request.plots:
        plots.check_installed()
    if request.json_file and request.json_file.is_dir():
        raise OptionError(f"{request.json_file} is a folder: name a file for the report")
    for folder in (request.json_file and request.json_file.parent, request.plots):
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{folder}: {error.strerror or 'not to be written'}") from error


def _qualities(words: list[str]) -> list[Quality]:
    known = [quality.value for quality in Quality]
    for word in words:
        if word not in (*known, "all"):
            raise OptionError(f"--quality must be one of {', '.join(known)}, all")
    return [Quality(word) for word in (known if "all" in words else dict.fromkeys(words))]


def _options(
    request: Request, targets: Sequence[str], defaults: Mapping[str, str], blur: Blur
) -> list[Options]:
    """What is measured at each quality level; no zones, which belong to a camera, not to a set."""
    texts = [
        {"targets": ",".join(targets), "quality": quality, "threshold": request.threshold}
        for quality in request.qualities
    ]
    return [replace(read_options(blur.targets, text, defaults), zones=Zones()) for text in texts]


def _show(report: Report) -> None:
    """Print the report as tables."""
    console = Console()
    for table in tables(report):
        console.print(table.title, style="bold", highlight=False, soft_wrap=True)
        grid = Table(box=None, collapse_padding=True, pad_edge=False)
        for index, name in enumerate(table.head):
            grid.add_column(name, justify="right" if index else "left", no_wrap=True)
        for line in table.lines:
            grid.add_row(*line)
        console.print(grid, "")
    if report.limit is not None:
        console.print(f"This is partial: no more than {report.limit} pictures of each set.")
    if report.threads > 1:
        console.print("No CPU times: several pictures ran at a time.")
