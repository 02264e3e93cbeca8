"""What a run says: speed and recall side by side, and its form as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from bench.peers.recall import Recall
from bench.peers.speed import Speed
from blurline.errors import BlurlineError

HEAD = (
    "",
    "does",
    "images/s",
    "range",
    "ratio",
    "CPU ms",
    "faces",
    "over",
    "plates",
    "over",
)
TEXT = HEAD[:2]
"""The columns that hold words; all others hold figures."""

NOTHING_MEASURED = "no photos"
NOT_LOOKED_FOR = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender: what it does with a picture, how it was run, how fast, and what it covers.

    Attributes:
        recalls: by target; one that it does not look for is missing.
        slower: other ways to run it, which were tried in the same rounds.
    """

    name: str
    does: str
    how: str
    speed: Speed
    recalls: Mapping[str, Recall]
    slower: Mapping[str, Speed]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was measured with.

    Attributes:
        photos: different photos that are sent, each many times.
        in_flight: images that are under way in a service at a time.
        threads: of blurline's worker.
        labelled: labelled photos by target.
    """

    size: tuple[int, int]
    photos: int
    cores: int
    rounds: int
    seconds: float
    in_flight: int
    threads: int
    labelled: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run; the first entry is blurline."""

    entries: Sequence[Entry]
    recipe: Recipe
    bench_peers: Literal[1] = 1


_FORM = TypeAdapter(Result)


def to_json(result: Result) -> bytes:
    """The result as JSON."""
    return _FORM.dump_json(result, indent=1) + b"\n"


def from_json(text: bytes) -> Result:
    """A result that `to_json` wrote.

    Raises:
        BlurlineError: it is something else, or of another version.
    """
    try:
        return _FORM.validate_json(text)
    except ValidationError as error:
        raise BlurlineError(
            "the file is no result of `make bench-peers` in this version"
        ) from error


def lines(result: Result) -> list[tuple[str, ...]]:
    """The cells below `HEAD`, a line for each contender."""
    return [
        (
            entry.name,
            entry.does,
            f"{entry.speed.images_per_second:.1f}",
            f"{min(entry.speed.runs):.1f}-{max(entry.speed.runs):.1f}",
            f"{entry.speed.against_first:.0%}",
            f"{entry.speed.cpu_ms:.0f}",
            *_recall(entry, result, "face"),
            *_recall(entry, result, "license_plate"),
        )
        for entry in result.entries
    ]


def notes(result: Result) -> list[str]:
    """What has to be known to read the table."""
    recipe = result.recipe
    width, height = recipe.size
    labels = {
        target: next(e.recalls[target].labels for e in result.entries if target in e.recalls)
        for target in recipe.labelled
    }
    counted = [
        f"{labels[target]} labels of `{target}` in {pictures} photos"
        for target, pictures in recipe.labelled.items()
    ]
    recall = (
        f"Faces and plates: the share of labels that is covered, of {', '.join(counted)}. "
        "Over: over-blur, the share of the photos' area that is redacted away from labels."
    )
    return [
        f"{width} x {height}, {recipe.cores} cores; medians of {recipe.rounds} rounds in which all "
        f"took turns, about {recipe.seconds:g} s each; {recipe.in_flight} images under way in the "
        "services.",
        "Range: of the rounds; where it is wide, the machine had other work, and the figures mean "
        "little. Ratio: images a second against blurline's in the same round. CPU: of an image, "
        "the load generator's not counted.",
        *(f"{entry.name}: {_how(entry)}." for entry in result.entries),
        recall if counted else "Recall was not measured: there were no labelled photos.",
    ]


def markdown(result: Result) -> str:
    """The table and its notes for a page."""
    rule = ("---" if name in TEXT else "---:" for name in HEAD)
    table = [f"| {' | '.join(cells)} |" for cells in (HEAD, tuple(rule), *lines(result))]
    return "\n".join([*table, "", *(f"- {note}" for note in notes(result)), ""])


def _how(entry: Entry) -> str:
    slower = (f"; {way}: {speed.images_per_second:.1f}/s" for way, speed in entry.slower.items())
    return entry.how + "".join(slower)


def _recall(entry: Entry, result: Result, target: str) -> tuple[str, str]:
    if target not in result.recipe.labelled:
        return NOTHING_MEASURED, NOTHING_MEASURED
    if target not in entry.recalls:
        return NOT_LOOKED_FOR, NOT_LOOKED_FOR
    found = entry.recalls[target]
    return f"{found.covered / found.labels:.1%}", f"{found.over_blur:.2%}"
