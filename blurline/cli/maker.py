"""Files treated a few at a time, and what became of each."""

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

from blurline.cli.journal import PART_PREFIX, Entry, FolderError, Journal, digest
from blurline.cli.pictures import Task
from blurline.cli.walk import KIND_OF_ENDING
from blurline.errors import BlurlineError, OptionError
from blurline.files import write_whole
from blurline.imaging.decode import decode
from blurline.imaging.encode import encode
from blurline.imaging.header import Limits, read_header, sniff, too_many_bytes
from blurline.imaging.kind import Kind, OutputFormat
from blurline.models.wheels import sha256
from blurline.stages.options import OUTPUT_FORMAT
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Chain, Transforming
from blurline.treatment.outputs import Context, Output, Source, Treated, Treating

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What is wrong with the folder of results for all pictures that would follow, too."""

_FORMATS = frozenset(one.value for one in OutputFormat)


class State(Enum):
    """What became of a picture; `THERE`: its result was there already."""

    MADE = auto()
    FAILED = auto()
    THERE = auto()
    LEFT_OUT = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task; `line` tells it where something was made or failed."""

    task: Task
    state: State
    line: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Maker:
    """Treats one file after the other with the same pipelines and options.

    Attributes:
        values: of the options of the chain.
        limits: of the pictures.
        quality: 1 to 100, where a kind is written that no option asks for.
        recipe: digest of all that decides what becomes of a picture, beside its content.
        tell: what a line says of what came of a picture.
        journal: of the folder of results; None for a single result, which is never there already.
        again: treat pictures whose result is there already, too.
        force: write over files that are no results of ours.
    """

    chain: Chain
    values: Values
    treatment: Treating
    limits: Limits
    quality: int
    recipe: bytes
    tell: Callable[[Treated], dict[str, Any]]
    journal: Journal | None = None
    again: bool = False
    force: bool = False

    def written(self, kind: Kind) -> Kind:
        """The kind that a picture of that kind is written as."""
        return written(self.chain, self.values, kind)

    def treat(self, task: Task) -> Outcome:
        """Write what comes of a picture, whole or not at all, and say what was found or is wrong.

        The kind of the result follows from the content of the picture and the options, never from
        the picture's name. The name of a single result may ask for another kind; TIFF and BMP,
        which no option asks for, then hold the pixels alone.

        Raises:
            FolderError: there can't be any more results.
        """
        path = task.picture.path
        started = perf_counter()
        try:
            data = self._content(path)
            entry = Entry(digest(os.fsencode(path.absolute())), digest(data, self.recipe), "")
            if self._is_there(task.result, data, entry):
                return Outcome(task, State.THERE)
            treated, picture = self._made(task, data)
            beside = [(_beside(task.result, output), output) for output in treated.outputs[1:]]
            for path_beside, _ in beside:
                self._is_there(path_beside, data, entry)
            for path_beside, output in beside:
                self._put(path_beside, output.data, entry)
            self._put(task.result, picture, entry)
        except FolderError:
            raise
        except BlurlineError as error:
            if error.code == "unsupported_kind" and path.suffix.lower() not in KIND_OF_ENDING:
                return Outcome(task, State.LEFT_OUT)
            return Outcome(task, State.FAILED, failure(path, error.code, error.message))
        except OSError as error:
            said = error.strerror or "the file could not be used"
            return Outcome(task, State.FAILED, failure(path, "file_error", said))
        except Exception as error:  # one picture must not end the work on all others
            said = f"the picture could not be treated ({type(error).__name__})"
            return Outcome(task, State.FAILED, failure(path, BlurlineError.code, said))
        line = {
            "file": str(path),
            "result": str(task.result),
            "seconds": round(perf_counter() - started, 4),
            **({"beside": [str(path) for path, _ in beside]} if beside else {}),
            **self.tell(treated),
        }
        return Outcome(task, State.MADE, line)

    def _content(self, path: Path) -> bytes:
        if path.stat().st_size > self.limits.max_bytes:
            raise too_many_bytes(self.limits)
        return path.read_bytes()

    def _is_there(self, result: Path, data: bytes, entry: Entry) -> bool:
        """Whether the result is there as we wrote it, of this picture and by this recipe.

        Raises:
            BlurlineError: `not_a_result`, what is there would be lost.
        """
        if not os.path.lexists(result):
            return False
        known, present = self.journal and self.journal.entry(result), _sha256_of(result)
        if known and (known.made_from, known.sha256) == (entry.made_from, present):
            return not self.again
        if self.force or (known and known.source == entry.source):
            return False
        if known is None and present in (sha256(data), sha256(b"")):
            return False  # the picture as it is, or nothing: no content is lost
        whose = "the result of another picture" if known else "no result that is known here"
        raise BlurlineError(
            f"{result} is there already and is {whose}; --force writes over it",
            code="not_a_result",
        )

    def _made(self, task: Task, data: bytes) -> tuple[Treated, bytes]:
        """What came of the picture, and its result in the kind that is asked for."""
        usual = self.written(sniff(data))
        said = KIND_OF_ENDING.get(task.result.suffix.lower()) if task.is_single else None
        asked = said or usual
        between = asked if asked is usual or asked.value in _FORMATS else Kind.PNG
        values = self.values
        if between is not usual:
            values = {**values, OUTPUT_FORMAT.name: OutputFormat(between.value)}
        source = Source(data, read_header(data, self.limits))
        treated = self.treatment.treat(source, self.chain, values, Context())
        if treated.primary.media_type != between.content_type:
            raise OptionError(
                f"the result is transparent in places, which {between} has no way to say: ask for "
                "png, webp or avif"
            )
        if asked is between:
            return treated, treated.primary.data
        return treated, _pixels_alone(treated.primary.data, asked, self.quality)

    def _put(self, result: Path, picture: bytes, entry: Entry) -> None:
        """Write the result behind its line in the journal."""
        try:
            if self.journal:
                self.journal.add(result, replace(entry, sha256=sha256(picture)))
            write_whole(result, picture, prefix=PART_PREFIX)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise FolderError(f"{result.parent}: {error.strerror}") from error
            raise


def outcomes(maker: Maker, tasks: list[Task], threads: int, stop: Event) -> Iterator[Outcome]:
    """What became of each picture, in the order in which they are done.

    Only a few pictures are under way at a time, so a folder of millions needs no more memory. When
    `stop` is set no more are begun, and those under way are finished.

    Raises:
        FolderError: there can't be any more results; what is under way is finished and told first.
    """
    with ThreadPoolExecutor(threads) as pool:
        todo = iter(tasks)
        running: set[Future[Outcome]] = set()
        problem: FolderError | None = None
        while True:
            if stop.is_set() or problem:
                running = {future for future in running if not future.cancel()}
            else:
                more = islice(todo, 2 * threads - len(running))
                running |= {pool.submit(maker.treat, task) for task in more}
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    yield future.result()
                except FolderError as error:
                    problem = error
    if problem:
        raise problem


def written(chain: Chain, values: Values, kind: Kind) -> Kind:
    """The kind that a picture of that kind is written as: PNG for JPEG, if no JPEG can hold what a
    stage makes, and where the caller leaves it to us."""
    asked = OutputFormat(OUTPUT_FORMAT.of(values))
    found = asked.of(kind)
    if found is Kind.JPEG and asked is OutputFormat.SAME:
        try:
            for stage in (stage for pipeline in chain.pipelines for stage in pipeline.stages):
                if isinstance(stage, Transforming):
                    stage.check({**values, "output_format": OutputFormat.JPEG})
        except OptionError:
            return Kind.PNG
    return found


def _beside(result: Path, output: Output) -> Path:
    """Where another output goes: `cat.mask.png` beside `cat.jpg`."""
    return result.with_name(f"{result.stem}.{output.name}")


def _pixels_alone(picture: bytes, kind: Kind, quality: int) -> bytes:
    """A picture that we have written, in another kind."""
    header = read_header(picture, Limits(len(picture), sys.maxsize))
    return encode(decode(picture, header), kind, quality)


def failure(source: Path, code: str, message: str) -> dict[str, Any]:
    """What is told of a picture that could not be treated."""
    return {"file": str(source), "error": {"code": code, "message": message}}


def _sha256_of(path: Path) -> str:
    """Of a file's content, in hex; empty where there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
