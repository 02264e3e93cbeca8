"""Files treated one after the other, or a few at a time, and what became of each."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from blurline.cli.pictures import KIND_OF_ENDING
from blurline.errors import BlurlineError
from blurline.files import write_whole
from blurline.imaging.encode import encode
from blurline.imaging.header import sniff
from blurline.jobs.results import blur_metadata, detection_metadata
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline
from blurline.treatment.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Redactor:
    """Treats one file after the other with the same pipeline and options."""

    pipeline: Pipeline
    options: Options
    treatment: Treatment

    def redact(self, source: Path, target: Path) -> dict[str, Any]:
        """Write the redacted picture to `target`, whole or not at all, and say what was found.

        The name of `target` decides the kind of file; an ending that says none keeps the source's.
        A file of another kind than the source holds the pixels alone.

        Raises:
            PictureError: the file can't be read as a picture.
            LeakSuspectedError: the result did not stand the second look.
        """
        started = perf_counter()
        data = source.read_bytes()
        own = sniff(data).written
        kind = KIND_OF_ENDING.get(target.suffix.lower(), own)
        changes = kind is not own
        treated = self.treatment.treat(data, self.pipeline, self.options, whole=changes)
        pixels, quality = treated.frame.pixels, self.treatment.quality
        write_whole(target, encode(pixels, kind, quality) if changes else treated.picture)
        return {
            "file": str(source),
            "result": str(target),
            "seconds": round(perf_counter() - started, 4),
            "blur_metadata": blur_metadata(treated, self.options),
            "detection_metadata": detection_metadata(treated.frame),
        }


def outcomes(
    redactor: Redactor, pairs: list[tuple[Path, Path]], threads: int
) -> Iterator[dict[str, Any]]:
    """What became of each picture, in the order in which they are done.

    Only a few pictures are under way at a time, so a folder of millions needs no more memory.
    """
    with ThreadPoolExecutor(threads) as pool:
        todo = iter(pairs)
        running: set[Future[dict[str, Any]]] = set()
        while True:
            for source, target in islice(todo, 2 * threads - len(running)):
                running.add(pool.submit(_attempt, redactor, source, target))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def _attempt(redactor: Redactor, source: Path, target: Path) -> dict[str, Any]:
    try:
        return redactor.redact(source, target)
    except BlurlineError as error:
        return _failure(source, error.code, error.message)
    except OSError as error:
        return _failure(source, "file_error", error.strerror or "the file could not be used")


def _failure(source: Path, code: str, message: str) -> dict[str, Any]:
    return {"file": str(source), "error": {"code": code, "message": message}}
