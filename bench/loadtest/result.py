"""What a whole run found: a table, a page, and figures for machines."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.loadtest.accounts import Account
from bench.loadtest.generators import Outcome

COLUMNS = (
    *("uploads/s", "seconds", "uploads", "taken", "refused", "errors", "pictures"),
    *("p50 ms", "p95 ms", "p99 ms", "max ms", "followed", "completed", "job p95 s"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """One generator: what it found, and what became of the pictures that were accepted."""

    outcome: Outcome
    account: Account

    def problems(self) -> list[str]:
        """Thresholds that were missed and pictures that did not end well, as sentences."""
        return [*self.outcome.missed, *self.account.problems()]


def publish(results: Sequence[Result], folder: Path, console: Console) -> None:
    """Show the results, and keep them as `summary.json` and `summary.html` in the folder."""
    console.print(table(results))
    for result in results:
        for line in lines(result):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    text = json.dumps([content(result) for result in results], indent=1)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    console.save_html(str(folder / "summary.html"), clear=False)
    console.print(f"reports: {folder}", highlight=False)


def table(results: Sequence[Result]) -> Table:
    """A row for each scenario of each generator."""
    found = Table("generator", "scenario", box=None, pad_edge=False)
    for name in COLUMNS:
        found.add_column(name, justify="right")
    for result in results:
        for scenario, one in result.outcome.scenarios.items():
            cells = [f"{one.rate:.2f}", f"{one.seconds:.0f}"]
            cells += map(str, (one.uploads, one.taken, one.refused, one.errors))
            cells.append(str(result.outcome.pictures(scenario)))
            cells += [f"{ms:.0f}" for ms in (one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms)]
            cells += [str(one.followed), str(one.completed), f"{one.job_p95_ms / 1000:.1f}"]
            found.add_row(result.outcome.generator, scenario, *cells)
    return found


def lines(result: Result) -> Iterator[str]:
    """The account and the verdict on one generator."""
    name, account = result.outcome.generator, result.account
    ends = ", ".join(f"{count} {status}" for status, count in account.ends.items())
    yield f"{name}: {account.accepted} pictures accepted: {ends or 'none'}"
    yield from (f"{name} MISSED {problem}" for problem in result.problems())
    if not result.problems():
        yield f"{name}: every threshold was kept, every accepted picture ended once, as completed"


def content(result: Result) -> dict[str, Any]:
    """The result as JSON has it."""
    outcome = result.outcome
    return {
        "generator": outcome.generator.value,
        "scenarios": {
            name: {**asdict(one), "pictures": outcome.pictures(name)}
            for name, one in outcome.scenarios.items()
        },
        "account": asdict(result.account),
        "problems": result.problems(),
    }
