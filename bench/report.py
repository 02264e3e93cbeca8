"""What a measurement leaves behind: a table on the screen and an entry of `bench/latest.json`."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

LATEST = Path(__file__).parent / "latest.json"
RECIPE = "recipe"
"""The entry of a result that says how it was measured; it is for the file, not for the table."""

console = Console()


def publish(name: str, result: Mapping[str, Any], place: Path = LATEST) -> None:
    """Show the result and keep it under its name, beside the results of other names.

    Args:
        name: the subcommand.
        result: figures by name, in groups as deep as need be.
    """
    console.print(table(name, result))
    content = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    content[name] = result
    place.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {place} under {name!r}")


def table(name: str, result: Mapping[str, Any]) -> Table:
    """A row for each figure, below the name of its group."""
    found = Table(name, "value")
    for depth, label, value in rows(result):
        found.add_row("  " * depth + label.replace("_", " "), text(value))
    return found


def rows(result: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    """Depth, name and value of every group and figure, but for recipes and lists.

    A group has the value "".
    """
    for name, value in result.items():
        if name == RECIPE or isinstance(value, list):
            continue
        if isinstance(value, Mapping):
            yield depth, name, ""
            yield from rows(value, depth + 1)
        else:
            yield depth, name, value


def text(value: Any) -> str:
    """A figure as it stands in the table."""
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@contextmanager
def progress(what: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar for long work; the function that is handed out sets how much is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
