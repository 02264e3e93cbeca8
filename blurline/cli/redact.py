"""`blurline redact`: pictures from a folder into a folder, without a server."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blurline.cli.models import pull_missing
from blurline.cli.pictures import pictures_in, with_results
from blurline.cli.progress import progress_bar
from blurline.cli.redactor import Redactor, outcomes
from blurline.cli.start import Pipelines, pipelines_of, settings_of
from blurline.errors import OptionError
from blurline.imaging.header import limits_of
from blurline.imaging.kind import Kind
from blurline.machine import usable_cores
from blurline.models.load import load_detectors
from blurline.queue.service import inference
from blurline.settings import Settings
from blurline.stages.options import OptionText, default_text, options_of
from blurline.treatment.treatment import Treatment


def redact(
    context: typer.Context,
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
    settings = settings_of(default_pipeline=pipeline, worker_threads=threads)
    pipelines = pipelines_of(context, settings)
    pull_missing(settings, pipelines)
    failed = _redact_all(source, target, text, settings, pipelines, again=again)
    if failed:
        raise typer.Exit(1)


def _redact_all(
    source: Path,
    target: Path,
    text: OptionText,
    settings: Settings,
    pipelines: Pipelines,
    *,
    again: bool,
) -> int:
    """Redact one picture or a folder of them; JSON lines on standard output, progress beside it.

    Returns:
        How many pictures failed; each of them has its line too, and the others are done.

    Raises:
        BlurlineError: nothing was begun: an option, a network or the source is not right.
    """
    files = pictures_in(source)
    pairs = with_results(files, source, target)
    if {file.resolve() for file in files} & {result.resolve() for _, result in pairs}:
        raise OptionError("the results would overwrite the pictures: name another folder")
    if any(result.suffix.lower() == f".{Kind.GIF.extension}" for _, result in pairs):
        raise OptionError("results are not written as GIF: give the result's name another ending")
    if source.is_dir() and target.exists() and not target.is_dir():
        raise OptionError(f"{target} is a file: name a folder for the results")
    redactor = _redactor(text, settings, pipelines)
    waiting = [pair for pair in pairs if again or not pair[1].exists()]
    console = Console(stderr=True)
    if len(waiting) < len(pairs):
        console.print(
            f"results that are there already: {len(pairs) - len(waiting)} (--again redoes them)"
        )
    threads = settings.worker_threads or 2 * usable_cores()
    failed = 0
    with progress_bar(console) as progress:
        task = progress.add_task("redacting", total=len(waiting))
        for line in outcomes(redactor, waiting, threads):
            failed += "error" in line
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            progress.advance(task)
    console.print(f"redacted: {len(waiting) - failed}, failed: {failed}")
    return failed


def _redactor(text: OptionText, settings: Settings, pipelines: Pipelines) -> Redactor:
    pipeline = pipelines.get(settings.default_pipeline)
    if pipeline is None:
        raise OptionError(f"pipeline must be one of {', '.join(pipelines)}")
    options = options_of(text, default_text(settings, pipeline.targets), pipeline.targets)
    return Redactor(
        pipeline=pipeline,
        options=options,
        treatment=Treatment(
            load_detectors(sorted(pipeline.needed_models(options)), inference(settings)),
            limits_of(settings),
            settings.jpeg_quality,
            settings.second_look,
        ),
    )


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
