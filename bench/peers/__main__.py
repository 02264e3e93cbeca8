"""`make bench-peers`: what users would take instead, its speed beside what it finds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.peers import recall
from bench.peers.contenders import DOES, Means, fetch, finding, running
from bench.peers.environment import environment
from bench.peers.page import LATEST
from bench.peers.result import HEAD, TEXT, Entry, Recipe, Result, lines, notes, to_json
from bench.peers.speed import Speed, Way, best, measure
from bench.photos import Size, make_photos
from blurline.errors import BlurlineError
from blurline.imaging.header import limits_of
from blurline.machine import usable_cores
from blurline.settings import load_settings

PEERS_FOLDER = Path(__file__).parents[2] / "build" / "peers"


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each run, about.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which all take turns.")] = 3,
    width: Annotated[int, typer.Option(min=64, help="Width of the images.")] = 1280,
    height: Annotated[int, typer.Option(min=64, help="Height of the images.")] = 720,
    in_flight: Annotated[int, typer.Option(min=1, help="Images under way in a service.")] = 24,
    data: Annotated[Path, typer.Option(help="Folder of labelled photos.")] = Path("../shared/data"),
    pictures: Annotated[
        int, typer.Option(min=1, help="Labelled photos of each set, at most.")
    ] = 60,
    folder: Annotated[
        Path, typer.Option("--environment", help="Where the peers' packages are installed.")
    ] = PEERS_FOLDER,
) -> None:
    """Measure blurline and what users would take instead, on the same photos in the same run.

    All take turns, since machines differ and drift. What each covers of labelled photos stands
    beside its speed, so that nobody wins by looking less closely.
    """
    console = Console()
    settings = load_settings()
    means = Means(
        settings=settings,
        programs=environment(folder, console.print),
        photos=make_photos(Size("photos", width, height), settings),
        in_flight=in_flight,
        threads=2 * usable_cores(),
    )
    fetch(settings)
    limits = limits_of(settings)
    sets = recall.sets_in(data, pictures, limits)
    if not sets:
        console.print(f"no labelled photos in {data}: recall will not be measured")
    with console.status(f"speed: {rounds} rounds in turns"), running(means) as runners:
        speeds = measure(runners, rounds=rounds, seconds=seconds)
    with console.status("recall"), finding(means) as contenders:
        found = recall.measure(sets, contenders, limits, usable_cores())
    result = Result(
        entries=entries_of(speeds, found),
        recipe=Recipe(
            size=(width, height),
            photos=len(means.photos),
            cores=usable_cores(),
            rounds=rounds,
            seconds=seconds,
            in_flight=in_flight,
            threads=means.threads,
            labelled={target: len(labelled.pictures) for target, labelled in sets.items()},
        ),
    )
    LATEST.write_bytes(to_json(result))
    _show(result, console)
    console.print(f"written to {LATEST}")


def entries_of(speeds: Mapping[Way, Speed], found: recall.Found) -> list[Entry]:
    """For each contender its faster way, and what it covers."""
    entries = []
    for name, does in DOES.items():
        ways = {way: speed for (whose, way), speed in speeds.items() if whose == name}
        how = best(ways)
        recalls = {target: by_name[name] for target, by_name in found.items() if name in by_name}
        slower = {way: speed for way, speed in ways.items() if way != how}
        entries.append(Entry(name, does, how, ways[how], recalls, slower))
    return entries


def _show(result: Result, console: Console) -> None:
    table = Table(box=None, collapse_padding=True, pad_edge=False)
    for name in HEAD:
        text = name in TEXT
        table.add_column(name, justify="left" if text else "right", no_wrap=not text)
    for cells in lines(result):
        table.add_row(*cells)
    console.print(table)
    for note in notes(result):
        console.print(note, highlight=False, markup=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except BlurlineError as error:
        raise SystemExit(f"bench: {error}") from error
