"""`blurline redact`: pictures from a folder into a folder, without a server."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blurline.cli.pictures import KIND_OF_ENDING, pictures_in
from blurline.errors import BlurlineError, OptionError
from blurline.imaging.encode import encode
from blurline.imaging.header import limits_of, sniff
from blurline.imaging.kind import Kind
from blurline.jobs.job import blur_metadata, detection_metadata
from blurline.models.load import load_detectors
from blurline.queue.crew import usable_cores
from blurline.queue.service import inference
from blurline.settings import Settings
from blurline.stages.frame import Options
from blurline.stages.options import OptionText, default_text, options_of
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
        _write(target, encode(pixels, kind, quality) if changes else treated.picture)
        return {
            "file": str(source),
            "result": str(target),
            "seconds": round(perf_counter() - started, 4),
            "blur_metadata": blur_metadata(treated, self.options),
            "detection_metadata": detection_metadata(treated.frame),
        }


def redact_all(
    source: Path,
    target: Path,
    text: OptionText,
    settings: Settings,
    pipelines: Mapping[str, Pipeline],
    *,
    again: bool,
) -> int:
    """Redact one picture or a folder of them; JSON lines on standard output, progress beside it.

    Returns:
        How many pictures failed; each of them has its line too, and the others are done.

    Raises:
        BlurlineError: nothing was begun: an option, a network or the source is not right.
    """
    files = pictures_in(source)
    pairs = _pairs(files, source, target)
    if {file.resolve() for file in files} & {result.resolve() for _, result in pairs}:
        raise OptionError("the results would overwrite the pictures: name another folder")
    if any(result.suffix.lower() == f".{Kind.GIF.extension}" for _, result in pairs):
        raise OptionError("results are not written as GIF: give the result's name another ending")
    if source.is_dir() and target.exists() and not target.is_dir():
        raise OptionError(f"{target} is a file: name a folder for the results")
    redactor = _redactor(text, settings, pipelines)
    waiting = [pair for pair in pairs if again or not pair[1].exists()]
    console = Console(stderr=True)
    if len(waiting) < len(pairs):
        console.print(
            f"results that are there already: {len(pairs) - len(waiting)} (--again redoes them)"
        )
    threads = settings.worker_threads or 2 * usable_cores()
    failed = 0
    with _progress(console) as progress:
        task = progress.add_task("redacting", total=len(waiting))
        for line in _lines(redactor, waiting, threads):
            failed += "error" in line
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            progress.advance(task)
    console.print(f"redacted: {len(waiting) - failed}, failed: {failed}")
    return failed


def _redactor(text: OptionText, settings: Settings, pipelines: Mapping[str, Pipeline]) -> Redactor:
    pipeline = pipelines.get(settings.default_pipeline)
    if pipeline is None:
        raise OptionError(f"pipeline must be one of {', '.join(pipelines)}")
    options = options_of(text, default_text(settings, pipeline.targets), pipeline.targets)
    return Redactor(
        pipeline=pipeline,
        options=options,
        treatment=Treatment(
            load_detectors(sorted(pipeline.needed_models(options)), inference(settings)),
            limits_of(settings),
            settings.jpeg_quality,
            settings.second_look,
        ),
    )


def _lines(
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


def _target(file: Path, source: Path, target: Path) -> Path:
    """Where the result goes; a GIF's result is a PNG and is named so."""
    if source.is_file():
        return target / _named(file) if target.is_dir() or not target.suffix else target
    return target / file.relative_to(source).parent / _named(file)


def _pairs(files: list[Path], source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Each picture with its result; one whose name is taken by another's keeps its whole name."""
    pairs, taken = [], {_target(file, source, target) for file in files if not _is_gif(file)}
    for file in files:
        result = _target(file, source, target)
        if _is_gif(file) and result in taken:
            result = result.with_name(f"{file.name}.{Kind.PNG.extension}")
        pairs.append((file, result))
    return pairs


def _is_gif(file: Path) -> bool:
    return file.suffix.lower() == f".{Kind.GIF.extension}"


def _named(file: Path) -> str:
    gif = file.suffix.lower() == f".{Kind.GIF.extension}"
    return f"{file.stem}.{Kind.GIF.written.extension}" if gif else file.name


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.close()
            os.chmod(file.name, 0o666 & ~_umask())  # noqa: PTH101
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
