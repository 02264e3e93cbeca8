"""A folder redacted into another: what is done already, what is never lost, and how it ends."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurline.cli.journal import PART_PREFIX, FolderError, Journal
from blurline.cli.maker import Maker
from blurline.cli.series import STOPPED, make_all, series_of
from blurline.cli.walk import JOURNAL
from blurline.errors import OptionError
from blurline.imaging.chunks import PNG_SIGNATURE
from blurline.imaging.header import Limits
from blurline.inference.detector import Detectors
from blurline.redaction.styles import Style
from blurline.stages.frame import Frame, Options
from blurline.stages.options import values_of
from blurline.stages.pipeline import Chain, Family
from blurline.treatment.chain import ChainTreatment
from blurline.treatment.redaction import RedactionTreatment
from tests.parts import PATIENCE, ROOT, NothingToBlur, drawing, files_below, picture_file, redacting

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1_000_000)


@dataclass(frozen=True)
class Ended:
    """How it ended: exit status, pictures that were redacted and that failed, what it said."""

    status: int
    redacted: set[str]
    failed: dict[str, str]
    err: str


Run = Callable[..., Ended]


class Stopping(NothingToBlur):
    """As if somebody pressed Ctrl+C, once, while the first picture is looked at."""

    pressed = False

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        if not Stopping.pressed:
            Stopping.pressed = True
            os.kill(os.getpid(), signal.SIGINT)
        return super().run(frame, options, detectors)


def redacted(
    source: Path,
    target: Path,
    stage: type[NothingToBlur],
    recipe: bytes,
    *,
    verbose: bool,
    **how: Any,
) -> int:
    """Redact the pictures in this process; the exit status."""
    chain = Chain((redacting(stage({}), name="test"),))
    treatment = RedactionTreatment({}, LIMITS, quality=90, second_looks=0.0)
    maker = Maker(
        chain,
        values_of(Options((), Style.SOLID)),
        ChainTreatment({Family.REDACTION: treatment}, LIMITS),
        LIMITS,
        90,
        recipe,
        lambda treated: {},
        **how,
    )
    series = series_of(source, target, lambda kind: kind.written)
    return make_all(series, maker, 1, verbose=verbose)


def ended(source: Path, status: int, out: str, err: str) -> Ended:
    """What the lines of a process, or of this one, say of the pictures."""
    lines = [json.loads(line) for line in out.splitlines()]
    base = source if source.is_dir() else source.parent
    named = {os.path.relpath(line["file"], base): line for line in lines}
    failed = {name: line["error"]["code"] for name, line in named.items() if "error" in line}
    return Ended(status, set(named) - set(failed), failed, err)


PRESSING = """
import signal, sys
from pathlib import Path
from tests.service.cli.test_series import Stopping, redacted
before = signal.getsignal(signal.SIGINT)
status = redacted(Path(sys.argv[1]), Path(sys.argv[2]), Stopping, b"", verbose=False)
assert signal.getsignal(signal.SIGINT) is before
sys.exit(status)
"""


def pressed_ctrl_c(source: Path, target: Path) -> Ended:
    """Redact in a process of its own, which a signal that comes amiss may end."""
    done = subprocess.run(
        [sys.executable, "-c", PRESSING, source, target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return ended(source, done.returncode, done.stdout, done.stderr)


@pytest.fixture
def source(tmp_path: Path, small_jpeg: bytes) -> Path:
    """A folder of three pictures."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(small_jpeg)
    (folder / "b.png").write_bytes(picture_file(Image.fromarray(drawing(40, 30)), "PNG"))
    (folder / "sub/a.jpg").write_bytes(small_jpeg + b"another one")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Redacts pictures, in which nothing is looked for."""

    def redact(source: Path, target: Path, *, recipe: bytes = b"", **how: Any) -> Ended:
        verbose, stage = how.pop("verbose", False), how.pop("stage", NothingToBlur)
        capsys.readouterr()
        status = redacted(source, target, stage, recipe, verbose=verbose, **how)
        said = capsys.readouterr()
        return ended(source, status, said.out, said.err)

    return redact


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results_below(folder)}


def results_below(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if path.name != JOURNAL]


def test_a_result_of_the_same_picture_by_the_same_recipe_is_left_alone(
    run: Run, source: Path, target: Path
) -> None:
    assert run(source, target).redacted == {"a.jpg", "b.png", "sub/a.jpg"}
    before = times(target)

    again = run(source, target)

    assert (again.status, again.redacted, again.failed) == (0, set(), {})
    assert "results that are there already: 3" in again.err
    assert times(target) == before
    assert run(source, target, again=True).redacted == {"a.jpg", "b.png", "sub/a.jpg"}


def test_another_picture_recipe_or_result_is_done_anew(
    run: Run, source: Path, target: Path, small_jpeg: bytes
) -> None:
    run(source, target)
    done = (target / "a.jpg").read_bytes()
    (source / "a.jpg").write_bytes(small_jpeg + b"changed")
    assert run(source, target).redacted == {"a.jpg"}
    assert run(source, target, recipe=b"other").redacted == {"a.jpg", "b.png", "sub/a.jpg"}
    for content in (done + b"altered", small_jpeg, b""):
        (target / "a.jpg").write_bytes(content)
        assert run(source, target, recipe=b"other").redacted == {"a.jpg"}
        assert (target / "a.jpg").read_bytes() == done
    (target / "a.jpg").unlink()
    assert run(source, target, recipe=b"other").redacted == {"a.jpg"}


def test_a_copy_of_the_picture_in_the_results_place_is_no_result(
    run: Run, source: Path, target: Path
) -> None:
    shutil.copytree(source, target)

    end = run(source, target)

    assert end.redacted == {"a.jpg", "b.png", "sub/a.jpg"}
    assert all(
        path.read_bytes() != (source / path.relative_to(target)).read_bytes()
        for path in results_below(target)
    )


@pytest.mark.parametrize("how", [{}, {"again": True}])
def test_what_is_no_result_is_never_written_over_unless_forced(
    run: Run, source: Path, target: Path, how: dict[str, bool]
) -> None:
    target.mkdir()
    (target / "a.jpg").write_bytes(b"somebody's own")
    (target / "b.png").symlink_to(source / "a.jpg")

    end = run(source, target, **how)

    assert end.status == 1
    assert end.failed == {"a.jpg": "not_a_result", "b.png": "not_a_result"}
    assert end.redacted == {"sub/a.jpg"}
    assert (target / "a.jpg").read_bytes() == b"somebody's own"
    assert (target / "b.png").is_symlink()
    assert run(source, target, force=True).redacted == {"a.jpg", "b.png"}
    assert not (target / "b.png").is_symlink()


def test_pictures_of_two_folders_do_not_write_over_each_others_results(
    run: Run, source: Path, target: Path, tmp_path: Path, small_jpeg: bytes
) -> None:
    run(source, target)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.jpg").write_bytes(small_jpeg + b"of another camera")
    before = times(target)

    assert run(tmp_path / "other", target).failed == {"a.jpg": "not_a_result"}

    assert times(target) == before
    assert run(tmp_path / "other", target, force=True).redacted == {"a.jpg"}


def test_a_moved_folder_of_pictures_has_its_results(
    run: Run, source: Path, target: Path, tmp_path: Path
) -> None:
    run(source, target)
    source.rename(tmp_path / "moved")
    target.rename(tmp_path / "results")
    assert run(tmp_path / "moved", tmp_path / "results").redacted == set()


def test_results_inside_the_folder_of_pictures_are_resumed_and_never_taken_for_pictures(
    run: Run, source: Path
) -> None:
    for target in (source / "out", source / "sub/deep/out"):
        first = run(source, target)
        assert first.redacted == {"a.jpg", "b.png", "sub/a.jpg"}
        second = run(source, target)
        assert (second.redacted, second.failed) == (set(), {})
        assert "(folders of results)" in second.err


def test_results_are_not_put_among_pictures(run: Run, source: Path, small_jpeg: bytes) -> None:
    before = files_below(source)
    for target in (source, source / "sub", source / "../in"):
        with pytest.raises(OptionError, match="overwrite"):
            run(source, target, force=True, again=True)
    assert files_below(source) == before
    assert (source / "a.jpg").read_bytes() == small_jpeg


def test_a_single_result_is_written_over_only_if_that_is_asked_for(
    run: Run, source: Path, tmp_path: Path
) -> None:
    result = tmp_path / "single/out.png"
    assert run(source / "a.jpg", result).redacted == {"a.jpg"}
    assert result.read_bytes().startswith(PNG_SIGNATURE)
    assert files_below(tmp_path / "single") == [result]
    assert run(source / "a.jpg", result).failed == {"a.jpg": "not_a_result"}
    assert run(source / "a.jpg", result, force=True).redacted == {"a.jpg"}
    assert run(source / "a.jpg", tmp_path / "single").redacted == {"a.jpg"}
    assert run(source / "a.jpg", tmp_path / "single").redacted == set()


def test_what_is_left_out_and_misnamed_is_said_and_named_if_asked_for(
    run: Run, source: Path, target: Path, small_jpeg: bytes
) -> None:
    (source / "notes.txt").write_text("words")
    (source / "odd.webp").write_bytes(small_jpeg + b"odd")
    os.mkfifo(source / "pipe.jpg")

    end = run(source, target)

    assert end.status == 0
    assert "left out: 1 (no pictures), 1 (pipes, sockets or devices)" in end.err
    assert "named otherwise than their content is, which counts: 1" in end.err
    assert "notes.txt" not in end.err
    verbose = run(source, target, verbose=True)
    assert f"left out (no pictures): {source}/notes.txt" in verbose.err
    assert f"{source}/odd.webp is jpeg by its content" in verbose.err
    assert (target / "odd.jpg").exists()


def test_what_can_not_be_read_or_written_fails_alone(
    run: Run, source: Path, target: Path, small_jpeg: bytes
) -> None:
    (source / "huge.jpg").write_bytes(small_jpeg)
    os.truncate(source / "huge.jpg", LIMITS.max_bytes + 1)
    (source / "bad.png").write_bytes(b"words")
    (target / "sub/a.jpg").mkdir(parents=True)

    end = run(source, target)

    assert end.status == 1
    assert end.failed == {
        "huge.jpg": "too_many_bytes",
        "bad.png": "not_an_image",
        "sub/a.jpg": "not_a_result",
    }
    assert end.redacted == {"a.jpg", "b.png"}


class Failing(NothingToBlur):
    """A fault of ours, or of a library, that one picture brings out."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        if frame.size == (40, 30):
            raise RuntimeError("what a library says may hold content")
        return super().run(frame, options, detectors)


def test_a_fault_of_ours_in_one_picture_does_not_end_the_work_on_others(
    run: Run, source: Path, target: Path
) -> None:
    end = run(source, target, stage=Failing)

    assert (end.status, end.failed) == (1, {"b.png": "internal_error"})
    assert end.redacted == {"a.jpg", "sub/a.jpg"}
    assert not (target / "b.png").exists()
    assert "library" not in end.err


def test_ctrl_c_finishes_what_is_under_way_and_the_rest_is_done_next_time(
    run: Run, source: Path, target: Path, small_jpeg: bytes
) -> None:
    for number in range(10):
        (source / f"m{number}.jpg").write_bytes(small_jpeg + b"%d" % number)

    end = pressed_ctrl_c(source, target)

    assert end.status == STOPPED, end.err
    assert "the same command goes on where it stopped" in end.err
    done = {str(path.relative_to(target)) for path in results_below(target)}
    assert done == end.redacted
    rest = run(source, target)
    assert rest.status == 0
    assert end.redacted | rest.redacted == {str(p.relative_to(source)) for p in files_below(source)}
    assert not end.redacted & rest.redacted


def test_what_a_killed_process_leaves_is_no_result_and_not_in_the_way(
    run: Run, source: Path, target: Path
) -> None:
    run(source, target)
    done = {path: path.read_bytes() for path in results_below(target)}
    journal = target / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    # Killed behind the line of b.png and before the file, amid that of sub/a.jpg, and amid a file.
    by_name = {json.loads(line)["result"]: line for line in lines}
    journal.write_bytes(by_name["a.jpg"] + by_name["b.png"] + by_name["sub/a.jpg"][:50])
    (target / "b.png").unlink()
    (target / "sub/a.jpg").unlink()
    (target / f"sub/{PART_PREFIX}0123").write_bytes(b"\xff\xd8")

    assert run(source, target).redacted == {"b.png", "sub/a.jpg"}

    assert {path: path.read_bytes() for path in results_below(target)} == done
    assert run(source, target).redacted == set()


def _hold(folder: Path, held: Any, over: Any) -> None:
    with Journal(folder):
        held.set()
        over.wait(60)


def test_a_folder_of_results_is_one_process_own(run: Run, source: Path, target: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, over = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(target, held, over))
    other.start()
    assert held.wait(60)
    with pytest.raises(FolderError, match="another blurline"):
        run(source, target)
    over.set()
    other.join()
    assert run(source, target).status == 0


def test_a_journal_of_a_later_version_is_not_misread(run: Run, source: Path, target: Path) -> None:
    target.mkdir()
    (target / JOURNAL).write_text('{"format": 2, "result": "a.jpg"}\n')
    with pytest.raises(FolderError, match="later version"):
        run(source, target)
    assert results_below(target) == []


def test_the_journal_tells_nobody_whose_pictures_they_were(
    run: Run, source: Path, target: Path
) -> None:
    run(source, target)
    journal = (target / JOURNAL).read_text()
    assert str(source) not in journal
    assert source.name + "/" not in journal


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=512k", "none", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["/bin/umount", str(disk)], check=True)


def test_a_full_disk_and_one_that_is_only_read_end_it_in_one_sentence(
    run: Run, source: Path, small_disk: Path
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (400, 400, 3), np.uint8)
    large = picture_file(Image.fromarray(noise), "JPEG", quality=90)
    for number in range(6):
        (source / f"n{number}.jpg").write_bytes(large + b"%d" % number)

    with pytest.raises(FolderError, match="No space left on device"):
        run(source, small_disk)

    assert not [path for path in results_below(small_disk) if path.name.startswith(PART_PREFIX)]
    subprocess.run(["/bin/mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    done = {str(path.relative_to(small_disk)) for path in results_below(small_disk)}
    rest = run(source, small_disk)
    assert rest.status == 0
    assert done.isdisjoint(rest.redacted)
    assert len(done | rest.redacted) == 9
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(FolderError, match="Read-only file system"):
        run(source, small_disk)
