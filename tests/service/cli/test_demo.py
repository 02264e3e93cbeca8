"""`blurline demo`: what it shows, and that nothing outlives it."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from tests.commands import Cli, check_refused, end_of, run_apart, said, started
from tests.heic_files import heic
from tests.parts import PATIENCE, drawing, files_below, names_below


def test_the_demo_shows_what_became_of_the_photos_and_which_are_bad(
    tmp_path: Path, bus: bytes, zidane: bytes, small_jpeg: bytes
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "output"
    (photos / "album.jpg").mkdir(parents=True)
    (photos / "bus [1].jpg").write_bytes(bus)
    (photos / "zidane.jpg").write_bytes(zidane)
    (photos / "album.jpg/zidane.jpg").write_bytes(small_jpeg)
    (photos / "bad.jpg").write_bytes(b"plain words")
    (photos / "new.heic").write_bytes(heic(drawing(96, 64)))
    log = tmp_path / "log.txt"

    words = ["demo", str(photos), "--output", str(output)]
    with started(log, *words, COLUMNS="200") as process:
        said(log, "runs at")
        children = psutil.Process(process.pid).children(recursive=True)
        code = process.wait(PATIENCE)

    text = log.read_text("utf-8")
    assert code == 1, text
    assert "Traceback" not in text
    assert len(children) >= 3
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert re.search(r"bad\.jpg .*not an image", text)
    rows = re.findall(r"│ (\S+(?: \[1\])?\.(?:jpg|heic)) +│(.*)│", text)
    assert {name for name, _ in rows} >= {"bus [1].jpg", "zidane.jpg", "new.heic"}
    cells = (cell.strip() for cell in dict(rows)["bus [1].jpg"].split("│"))
    faces, plates, objects, milliseconds = cells
    assert int(faces) >= 1
    assert int(plates) >= 0
    assert re.search(r"\d person", objects)
    assert int(milliseconds) > 0
    assert str(output / "contact_sheet.png") in text
    with Image.open(output / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"
        # Four rows; a photo and its result side by side, and some colour of the boxes.
        assert sheet.height > 4 * 400
        assert sheet.width > 2 * 400
        assert (np.asarray(sheet) == (64, 220, 96)).all(axis=2).sum() > 1000
    pictures = {path.name for path in files_below(output) if path.name.endswith(".jpg")}
    # Photos of the same name in two folders are two photos, and a result is named what it is.
    assert pictures == {
        "blurred_bus [1].jpg",
        "blurred_zidane.jpg",
        "blurred_2_zidane.jpg",
        "blurred_new.jpg",
    }
    counts = [
        json.loads(path.read_bytes())["results"]["blur_metadata"]["counts"]
        for path in files_below(output)
        if path.name.endswith("zidane.jpg.json")
    ]
    assert sorted(found.get("face", 0) >= 2 for found in counts) == [False, True]


def test_a_demo_that_is_told_to_stop_leaves_nothing_running(tmp_path: Path, bus: bytes) -> None:
    (tmp_path / "bus.jpg").write_bytes(bus)
    log = tmp_path / "log.txt"
    words = ["demo", str(tmp_path / "bus.jpg"), "--output", str(tmp_path)]
    with started(log, *words, PIPELINES="blur", DEFAULT_PIPELINE="blur") as process:
        said(log, "runs at")

        _, left = end_of(process, signal.SIGTERM)

    assert left == []


def test_a_demo_without_photos_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    check_refused(cli("demo", tmp_path / "missing"), str(tmp_path / "missing"))


def test_every_pipeline_shows_its_result_of_every_photo(tmp_path: Path, small_jpeg: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(small_jpeg)
    output = tmp_path / "output"

    end = run_apart(
        "demo", str(tmp_path / "photo.jpg"), "--output", str(output), "--every-pipeline"
    )

    assert end.code == 0, end.err
    names = names_below(output)
    for pipeline in pipelines(load_settings()):
        assert pipeline in end.out
        assert any(name.startswith(f"{pipeline}_photo") for name in names), pipeline
    with Image.open(output / "contact_sheet.png") as sheet:
        assert sheet.height > 2 * 480
