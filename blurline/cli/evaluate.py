"""`blurline evaluate`: what the blur stage finds in labelled pictures, and what it costs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from blurline import __version__
from blurline.cli.pictures import pictures_in
from blurline.errors import OptionError
from blurline.evaluation import average_precision, peers, plots
from blurline.evaluation.contender import Contender, Shipped
from blurline.evaluation.coverage import COVERED, GROWN
from blurline.evaluation.dataset import (
    LABEL_FILE,
    DatasetError,
    LabelledSet,
    labelled_set,
    unlabelled_set,
)
from blurline.evaluation.measurement import Measurement, Task
from blurline.evaluation.report import Report, to_json
from blurline.evaluation.table import tables
from blurline.imaging.header import Limits, limits_of
from blurline.models.load import load_detectors
from blurline.models.wheels import write_whole
from blurline.queue.service import inference
from blurline.redaction.zones import Zones
from blurline.settings import Settings
from blurline.stages.detect import Detect
from blurline.stages.frame import Options, Quality
from blurline.stages.options import OptionText, default_text, options_of, parse_targets
from blurline.stages.pipeline import Pipeline, Stage

SLICE = re.compile(r"(.+)\[(-?\d*:-?\d*(?::[1-9]\d*)?)\]")
"""`FOLDER[start:stop:step]`: a part of a set, as Python slices a list."""

USUAL_TARGETS = ("face", "license_plate")
"""What is looked for in a set that has labels of it, unless the caller says."""


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


def evaluate_sets(request: Request, settings: Settings, pipelines: Mapping[str, Pipeline]) -> None:
    """Measure the sets, print the tables, and write the files that were asked for.

    Raises:
        BlurlineError: an option or a set is not right; nothing has been measured then.
    """
    stages = [stage for pipeline in pipelines.values() for stage in pipeline.stages]
    blur = next(stage for stage in stages if stage.targets)
    detect = next(stage for stage in stages if isinstance(stage, Detect))
    defaults = default_text(settings, blur.targets)
    tasks = _tasks(request, settings, blur)
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
        contenders += peers.load_peers(targets, how)
    measurement = Measurement(
        contenders=contenders,
        labels={name: blur.targets[name].labels for name in targets},
        detector=detectors.get(detect.model),
        limits=_limits(settings),
        threads=request.threads,
        curves=request.plots is not None,
    )
    with _progress() as progress:
        total = sum(len(task.labelled.pictures) for task in tasks)
        bar = progress.add_task("measuring", total=total)
        sets, combined = measurement.run(tasks, lambda: progress.advance(bar))
    report = Report(
        version=__version__,
        limit=request.limit,
        threads=request.threads,
        precision=settings.inference_precision,
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


def _limits(settings: Settings) -> Limits:
    return limits_of(settings)


def _options(
    request: Request, targets: Sequence[str], defaults: OptionText, blur: Stage
) -> list[Options]:
    """What is measured at each quality level; no zones, which belong to a camera, not to a set."""
    texts = [
        OptionText(targets=",".join(targets), quality=quality, threshold=request.threshold)
        for quality in request.qualities
    ]
    return [replace(options_of(text, defaults, blur.targets), zones=Zones()) for text in texts]


def _tasks(request: Request, settings: Settings, blur: Stage) -> list[Task]:
    """The sets that the arguments name, and what is looked for in each."""
    asked = parse_targets(request.targets, blur.targets) if request.targets else ()
    known = frozenset(average_precision.COCO_CLASSES).union(
        *(target.labels for target in blur.targets.values())
    )
    tasks = []
    for argument in request.sets:
        labelled = _set(argument, known, _limits(settings))
        usual = [name for name in USUAL_TARGETS if blur.targets[name].labels & labelled.labels]
        labelled = replace(labelled, pictures=labelled.pictures[: request.limit])
        task = Task(labelled, asked or tuple(usual))
        if not task.targets and not task.is_for_detection:
            raise OptionError(f"{argument} has no labels: say by --targets what is looked for")
        tasks.append(task)
    return tasks


def _set(argument: str, known: frozenset[str], limits: Limits) -> LabelledSet:
    folder, part = Path(argument), ""
    if not folder.exists() and (match := SLICE.fullmatch(argument)):
        folder, part = Path(match[1]), match[2]
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    if (folder / LABEL_FILE).exists():
        labelled = labelled_set(folder, known, limits)
    else:
        labelled = unlabelled_set(folder, pictures_in(folder), limits)
    if part:
        start_stop_step = (int(number) if number else None for number in part.split(":"))
        pictures = labelled.pictures[slice(*start_stop_step)]
        labelled = LabelledSet(f"{labelled.name}[{part}]", pictures)
    if not labelled.pictures:
        raise DatasetError(f"{argument} holds no picture")
    return labelled


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        # The bar shares its process with what is measured.
        refresh_per_second=1,
    )


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
