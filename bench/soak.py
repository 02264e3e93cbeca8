"""`python -m bench soak`: whether memory stays flat over many images."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.figures import slope
from bench.load import Load
from bench.meter import MEGABYTE, Sample, sampling, series
from bench.photos import SIZE_HELP, make_photos, one_size
from bench.report import RECIPE, console, progress, publish
from bench.service import GENERATOR, StoreKind, running_service
from blurline.errors import BlurlineError
from blurline.machine import usable_cores
from blurline.settings import load_settings

DISK_PER_IMAGE = 2.5
"""Bytes of disk for each byte of an image's file: original, result, and what goes with them."""


def soak(
    images: Annotated[int, typer.Option(min=1, help="Images to send.")] = 20_000,
    minutes: Annotated[
        float, typer.Option(min=0.05, help="Minutes after which no more are sent.")
    ] = 60,
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    store: Annotated[StoreKind, typer.Option(help="Where pictures are kept.")] = StoreKind.FOLDER,
    in_flight: Annotated[int, typer.Option(min=1, help="Images under way at a time.")] = 24,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between samples.")] = 2,
    folder: Annotated[
        Path | None, typer.Option(help="Where the pictures go meanwhile, if /tmp is too small.")
    ] = None,
) -> None:
    """Resident memory of each process over a long run: its peak, and its slope.

    The slope is fitted to the last three quarters of the samples, in megabytes for a thousand
    images; the first quarter fills the caches. Valkey grows by design until RESULT_TTL is over: see
    `redis-memory`. Every image must be completed in the end.
    """
    settings, chosen = load_settings(), one_size(size)
    photos = make_photos(chosen, settings)
    _check_space(folder, images * sum(map(len, photos)) / len(photos))
    with running_service(store, folder) as service:
        load, count, started = Load(service.stack.url, photos, in_flight), [0.0], time.monotonic()
        with (
            progress("images", images) as show,
            sampling(service.meter, lambda: count[0], every) as samples,
        ):

            def done(number: float) -> None:
                count[0] = max(count[0], number)
                show(count[0])

            sent = load.run(images, done=done, until=started + 60 * minutes)
            seconds = time.monotonic() - started
            done(len(sent))
        with console.status("every image is asked for"), service.client() as client:
            ends = client.ends(one.job_id for one in sent)
        peaks = service.meter.peak_mb()
    publish(
        "soak",
        {
            "images": len(sent),
            "completed": len(ends),
            "images_per_second": round(len(sent) / seconds, 2),
            **_memory(samples, peaks),
            RECIPE: {
                "size": [chosen.width, chosen.height],
                "store": store.value,
                "in_flight": in_flight,
                "cores": usable_cores(),
                "samples": [{"images": one.done, **one.resident_mb} for one in samples],
            },
        },
    )


def _memory(samples: Sequence[Sample], peaks: Mapping[str, float]) -> dict[str, Any]:
    """The largest, first and last resident set of each process, and how it grows."""
    found = {name: series(samples, name) for name in samples[0].resident_mb if name != GENERATOR}
    return {
        "peak_memory_mb": {name: peaks[name] for name in found},
        "memory_mb_at_first": {name: points[0][1] for name, points in found.items()},
        "memory_mb_at_last": {name: points[-1][1] for name, points in found.items()},
        "growth_mb_per_1000_images": {
            name: round(1000 * slope(points), 3) for name, points in found.items()
        },
    }


def _check_space(folder: Path | None, size: float) -> None:
    """Raise if the pictures would fill the disk."""
    place = folder or Path(tempfile.gettempdir())
    needed, free = DISK_PER_IMAGE * size, shutil.disk_usage(place).free
    if needed > free:
        raise BlurlineError(
            f"the pictures need {needed / MEGABYTE:.0f} MB in {place}, where "
            f"{free / MEGABYTE:.0f} MB are free: send fewer --images or name another --folder"
        )
