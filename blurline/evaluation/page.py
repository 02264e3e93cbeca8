"""The measured part of docs/quality.md: tables and plots from the reports beside it.

`python -m blurline.evaluation.page docs/quality.md REPORT.json...` writes it anew and leaves the
words around it alone.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurline.errors import OptionError
from blurline.evaluation.report import Report, from_json
from blurline.evaluation.table import Table, tables

BEGIN = "<!-- From here on written by `make quality`. -->"
END = "<!-- As far as here. -->"


def filled(page: str, reports: Sequence[Report], plots: Sequence[str]) -> str:
    """The page with the measured part written anew.

    Args:
        page: Markdown that holds `BEGIN` and `END`, each on a line of its own.
        reports: what is shown, in this order.
        plots: links of pictures, relative to the page.

    Raises:
        OptionError: the page lacks one of the marks.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not (begin and end):
        raise OptionError(f"the page must hold the lines {BEGIN} and {END}")
    blocks = [f"![{Path(plot).stem}]({plot})" for plot in plots]
    blocks += [block for report in reports for block in _blocks(report)]
    return before + begin + "\n" + "\n\n".join(blocks) + "\n\n" + end + after


def _blocks(report: Report) -> Iterator[str]:
    if report.limit is not None:
        yield f"**Partial: no more than {report.limit} pictures of each set.**"
    for table in tables(report):
        yield f"### {table.title}"
        yield _markdown(table)
    yield "### settings of these figures"
    yield "\n".join(f"- {name}: `{json.dumps(chosen)}`" for name, chosen in report.settings.items())


def _markdown(table: Table) -> str:
    rule = ("---", *("---:" for _ in table.head[1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (table.head, rule, *table.lines))


def written(page: Path, files: Sequence[Path]) -> str:
    """The page with what these files of reports say, and the plots that lie beside them."""
    reports = [from_json(file.read_bytes()) for file in files]
    folders = dict.fromkeys(file.parent for file in files)
    plots = sorted(plot for folder in folders for plot in folder.glob("*.svg"))
    links = [plot.relative_to(page.parent).as_posix() for plot in plots]
    return filled(page.read_text("utf-8"), reports, links)


if __name__ == "__main__":
    name, *reports = map(Path, sys.argv[1:])
    name.write_text(written(name, reports), "utf-8")
