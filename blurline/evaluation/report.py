"""What an evaluation says, and its form as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from blurline.errors import OptionError
from blurline.evaluation.average_precision import Precision
from blurline.evaluation.figures import Row


@dataclass(frozen=True, slots=True)
class SetReport:
    """One set: its labels by how often they count, how many are ignored, and a row for each
    contender and target."""

    name: str
    pictures: int
    labels: dict[str, int]
    ignored: int
    rows: tuple[Row, ...]
    detection: Precision | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run.

    Attributes:
        blurline_evaluation: version of this form.
        version: of blurline.
        limit: pictures of each set that were looked at, None for all: such a report is partial.
        threads: pictures at a time.
        precision: arithmetic of the networks.
        covered, grown: see `blurline.evaluation.coverage`.
        settings: of each contender, by its name.
        combined: rows over all sets that have labels of the target, where there are several.
    """

    version: str
    limit: int | None
    threads: int
    precision: str
    covered: float
    grown: float
    settings: dict[str, dict[str, Any]]
    sets: tuple[SetReport, ...]
    combined: tuple[Row, ...]
    blurline_evaluation: Literal[1] = 1

    def rows(self) -> Sequence[tuple[str, Row]]:
        """All rows with the name of their set, the combined ones last."""
        rows = [(one.name, row) for one in self.sets for row in one.rows]
        return rows + [("all sets", row) for row in self.combined]


_FORM = TypeAdapter(Report)


def to_json(report: Report) -> bytes:
    """The report as JSON."""
    return _FORM.dump_json(report, indent=1) + b"\n"


def from_json(text: bytes) -> Report:
    """A report that `to_json` wrote.

    Raises:
        OptionError: it is something else, or of another version.
    """
    try:
        return _FORM.validate_json(text)
    except ValidationError as error:
        raise OptionError("the file is no report of `blurline evaluate` in this version") from error
