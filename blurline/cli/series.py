"""A folder of pictures, or one of them: what is to be done, how far it is, what came of it."""

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Event
from types import FrameType

from rich.console import Console

from blurline.cli.journal import Journal
from blurline.cli.maker import Maker, State, failure, outcomes
from blurline.cli.pictures import Task, named, with_results
from blurline.cli.progress import progress_bar
from blurline.cli.walk import (
    JOURNAL,
    KIND_OF_ENDING,
    LeftOut,
    Picture,
    Walk,
    check_file,
    check_found,
    counted,
    head_of,
    walk,
)
from blurline.errors import OptionError, PictureError
from blurline.imaging.header import sniff
from blurline.imaging.kind import Kind

STOPPED = 130
"""Exit status after Ctrl+C, as shells have it."""

OVERWRITE = "the results would overwrite the pictures: name another folder"


@dataclass(frozen=True, slots=True)
class Series:
    """What is to be done.

    Attributes:
        tasks: the pictures and their results.
        found: what else lies in the folder.
        folder: of the results and their journal; None for a single result, which has none.
    """

    tasks: list[Task]
    found: Walk
    folder: Path | None


def series_of(source: Path, target: Path, written: Callable[[Kind], Kind]) -> Series:
    """What is to be done with the picture or folder `source`.

    Args:
        written: the kind that a picture of some kind is written as.

    Raises:
        BlurlineError: there is nothing, or its results would lie where they must not.
    """
    if source.is_dir():
        series = _of_folder(source, target, written)
    else:
        check_file(source)
        series = _of_file(source, target, written)
    real = cache(Path.resolve)  # of folders, of which there are few
    results = {real(task.result.parent) / task.result.name for task in series.tasks}
    for path in (task.picture.path for task in series.tasks):
        lies = path.resolve() if path.is_symlink() else real(path.parent) / path.name
        if lies in results:
            raise OptionError(OVERWRITE)
    return series


def _of_folder(source: Path, target: Path, written: Callable[[Kind], Kind]) -> Series:
    if target.exists() and not target.is_dir():
        raise OptionError(f"{target} is a file: name a folder for the results")
    inside, outside = target.resolve(), source.resolve()
    strange = target.exists() and not (target / JOURNAL).exists() and any(target.iterdir())
    if inside == outside or (inside.is_relative_to(outside) and strange):
        raise OptionError(OVERWRITE)
    found = walk(source, target)
    check_found(found, source)
    return Series(with_results(found.pictures, source, target, written), found, target)


def _of_file(source: Path, target: Path, written: Callable[[Kind], Kind]) -> Series:
    try:
        kind = sniff(head_of(source))
    except (OSError, PictureError):
        kind = None  # which is told as a failure of this picture
    picture = Picture(source, kind)
    if target.is_dir() or not target.suffix:
        result = target / named(source.name, kind and written(kind))
        return Series([Task(picture, result)], Walk(), target)
    asked = KIND_OF_ENDING.get(target.suffix.lower())
    if asked and asked.written is not asked:
        kind_name = asked.upper()
        raise OptionError(f"results are not written as {kind_name}: give the result another ending")
    return Series([Task(picture, target, is_single=True)], Walk(), None)


def make_all(series: Series, maker: Maker, threads: int, *, verbose: bool) -> int:
    """Make the results of the series; JSON lines on standard output, all else beside it.

    Returns:
        The exit status: 0 if all was done, 1 if pictures failed or something can't be read, 130 if
        a signal ended it. What was made or failed has its line, whatever the end.

    Raises:
        FolderError: results can't be written, or not any longer.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    counts: Counter[State] = Counter()
    with ExitStack() as cleanup:
        if series.folder:
            journal = cleanup.enter_context(Journal(series.folder))
            journal.sweep(task.result for task in series.tasks)
            maker = replace(maker, journal=journal)
        stop = cleanup.enter_context(_stopping())
        for path, said in series.found.unreadable:
            _tell(failure(path, "file_error", said))
        try:
            with progress_bar(console) as progress:
                bar = progress.add_task(maker.chain.name, total=len(series.tasks))
                for outcome in outcomes(maker, series.tasks, threads, stop):
                    counts[outcome.state] += 1
                    if outcome.line:
                        _tell(outcome.line)
                    elif outcome.state is State.LEFT_OUT:
                        series.found.leave_out(LeftOut.OTHER_KIND, outcome.task.picture.path)
                    progress.advance(bar)
        finally:
            for line in _closing_lines(series, counts, maker, verbose=verbose):
                console.print(line)
    if counts.total() < len(series.tasks):
        return STOPPED
    return 1 if counts[State.FAILED] or series.found.unreadable else 0


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _closing_lines(
    series: Series, counts: Counter[State], maker: Maker, *, verbose: bool
) -> Iterator[str]:
    left_out = series.found.left_out
    misnamed = [task.picture for task in series.tasks if task.is_misnamed]
    if verbose:
        for reason, paths in sorted(left_out.items()):
            yield from (f"left out ({reason}): {path}" for path in paths)
    if verbose or len(series.tasks) == 1:
        yield from (f"{one.path} is {one.kind} by its content" for one in misnamed)
    hint = "" if verbose else "; --verbose names them"
    if left_out:
        yield f"left out: {counted(left_out)}{hint}"
    if misnamed:
        yield f"named otherwise than their content is, which counts: {len(misnamed)}{hint}"
    if there := counts[State.THERE]:
        yield f"results that are there already: {there} (--again redoes them)"
    if unreadable := len(series.found.unreadable):
        yield f"folders and files that can't be read: {unreadable}"
    if undone := len(series.tasks) - counts.total():
        yield f"not done: {undone}; the same command goes on where it stopped"
    done = "redacted" if maker.chain.targets else "made"
    yield f"{done}: {counts[State.MADE]}, failed: {counts[State.FAILED]}"


@contextmanager
def _stopping() -> Iterator[Event]:
    """An event that Ctrl+C or SIGTERM sets; a second one ends the process at once."""
    stop = Event()

    def ask(signum: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signum, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
