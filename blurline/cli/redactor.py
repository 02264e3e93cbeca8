"""Files treated a few at a time, and what became of each."""

import errno
import hashlib
import os
from collections.abc import Iterator
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
from blurline.errors import BlurlineError
from blurline.files import write_whole
from blurline.imaging.encode import encode
from blurline.imaging.header import sniff, too_many_bytes
from blurline.imaging.kind import OutputFormat
from blurline.models.wheels import sha256
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline
from blurline.treatment.redacted import Redacted
from blurline.treatment.redaction import RedactionTreatment
from blurline.treatment.report import blur_metadata, detection_metadata
from blurline.treatment.writing import WriteMethod

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What is wrong with the folder of results for all pictures that would follow, too."""

_FORMATS = frozenset(one.value for one in OutputFormat)


class State(Enum):
    """What became of a picture; `THERE`: its result was there already."""

    REDACTED = auto()
    FAILED = auto()
    THERE = auto()
    LEFT_OUT = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task; `line` tells it where it was redacted or failed."""

    task: Task
    state: State
    line: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Redactor:
    """Treats one file after the other with the same pipeline and options.

    Attributes:
        recipe: digest of all that decides what becomes of a picture, beside its content.
        journal: of the folder of results; None for a single result, which is never there already.
        again: treat pictures whose result is there already, too.
        force: write over files that are no results of ours.
    """

    pipeline: Pipeline
    options: Options
    treatment: RedactionTreatment
    recipe: bytes
    journal: Journal | None = None
    again: bool = False
    force: bool = False

    def treat(self, task: Task) -> Outcome:
        """Write the redacted picture, whole or not at all, and say what was found or is wrong.

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
            treated, options = self._redacted(task, data)
            self._put(task.result, treated.picture, entry)
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
            "blur_metadata": blur_metadata(treated, options),
            "detection_metadata": detection_metadata(treated.frame),
        }
        return Outcome(task, State.REDACTED, line)

    def _content(self, path: Path) -> bytes:
        if path.stat().st_size > self.treatment.limits.max_bytes:
            raise too_many_bytes(self.treatment.limits)
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

    def _redacted(self, task: Task, data: bytes) -> tuple[Redacted, Options]:
        """The redacted picture, and the options that were in force."""
        options = self.options
        usual = options.output_format.of(sniff(data))
        said = KIND_OF_ENDING.get(task.result.suffix.lower()) if task.is_single else None
        asked = said or usual
        if asked is usual or asked.value in _FORMATS:
            if asked is not usual:
                options = replace(options, output_format=OutputFormat(asked.value))
            return self.treatment.redact(data, self.pipeline, options), options
        treated = self.treatment.redact(data, self.pipeline, options, whole=True)
        picture = encode(treated.frame.pixels, asked, self.treatment.quality)
        return replace(treated, picture=picture, way=WriteMethod.REENCODED), options

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


def outcomes(redactor: Redactor, tasks: list[Task], threads: int, stop: Event) -> Iterator[Outcome]:
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
                running |= {pool.submit(redactor.treat, task) for task in more}
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


def failure(source: Path, code: str, message: str) -> dict[str, Any]:
    """What is told of a picture that could not be treated."""
    return {"file": str(source), "error": {"code": code, "message": message}}


def _sha256_of(path: Path) -> str:
    """Of a file's content, in hex; empty where there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
