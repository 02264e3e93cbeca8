"""`blurline redact`: pictures from a folder into a folder, without a server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from blurline.cli.making import Making, or_file
from blurline.cli.start import Pipelines, pipelines_of, settings_of
from blurline.errors import OptionError
from blurline.settings import Settings
from blurline.stages.defaults import default_chain, default_texts
from blurline.stages.pipeline import Chain, Family, Pipeline
from blurline.treatment.outputs import BLUR, DETECT, Treated


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
    output_format: Annotated[
        str,
        typer.Option(
            help="Kind of the results: same (default: the source's, with PNG for GIF and JPEG for "
            "HEIC), jpeg, png, webp, or avif."
        ),
    ] = "",
    pipeline: Annotated[
        str | None, typer.Option(help="Pipeline: blur_detect (default) or blur.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also do pictures whose result is there already.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write over files that are no results of blurline, too."),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Pictures at a time. Default: two a core."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Name the files that are left out, and why.")
    ] = False,
) -> None:
    """Blur pictures without a server.

    Prints one line of JSON a picture: what was blurred and what was seen, or why it failed. What
    lies in a folder counts by its content. A result that is there already, of the same picture with
    the same options and networks, is left alone, so an interrupted run goes on where it stopped.
    Exit status 0: all is done; 1: something failed, and the rest is done; 2: nothing was begun, or
    there can be no more results; 130: stopped by Ctrl+C.

        blurline redact street.jpg blurred.jpg

        blurline redact photos/ out/ --targets face,car

        blurline redact cam7/ out/ --ignore-zones @hoarding.json
    """
    texts = {
        "targets": targets,
        "style": style,
        "quality": quality,
        "threshold": threshold,
        "ignore_zones": or_file(ignore_zones),
        "redact_zones": or_file(redact_zones),
        "metadata": metadata,
        "on_failure": on_failure,
        "output_format": output_format,
    }
    settings = settings_of(default_pipeline=pipeline, worker_threads=threads)
    pipelines = pipelines_of(context, settings)
    default_chain(settings, pipelines)
    chosen = Chain((_chosen(settings, pipelines),))
    values = chosen.options.read(texts, default_texts(settings))
    making = Making(source, target, again=again, force=force, verbose=verbose, tell=_told)
    if status := making.run(settings, chosen, values, asked=bool(output_format)):
        raise typer.Exit(status)


def _chosen(settings: Settings, pipelines: Pipelines) -> Pipeline:
    redacting = {name: one for name, one in pipelines.items() if one.family is Family.REDACTION}
    if settings.default_pipeline not in redacting:
        raise OptionError(f"pipeline must be one of {', '.join(redacting)}")
    return redacting[settings.default_pipeline]


def _told(treated: Treated) -> dict[str, Any]:
    reports = treated.reports
    return {"blur_metadata": reports[BLUR], "detection_metadata": reports.get(DETECT)}
