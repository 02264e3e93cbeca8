"""`blurline run`: any pipeline on files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.cli.walk import JOURNAL
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from tests.commands import Cli, check_refused
from tests.parts import drawing, files_below, picture_file
from tests.pixels import difference, photo

PIPELINES = pipelines(load_settings())


@pytest.fixture
def dark(tmp_path: Path, bus: bytes) -> Path:
    path = tmp_path / "dark.png"
    Image.fromarray((photo(bus) * 0.35).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, small_jpeg: bytes) -> Path:
    """Three pictures, one of which is none."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(small_jpeg)
    (folder / "sub/b.gif").write_bytes(picture_file(Image.fromarray(drawing(40, 30)), "GIF"))
    (folder / "broken.jpg").write_bytes(small_jpeg[:500])
    return folder


def test_a_picture_gets_better_and_its_line_says_how(
    cli: Cli, dark: Path, tmp_path: Path, bus: bytes
) -> None:
    end = cli("run", "enhance", dark, tmp_path / "better.png")

    assert end.code == 0
    (line,) = end.lines
    assert line["reports"]["enhance"]["white"] < 128
    assert line["pixels"] == [810, 1080]
    better = photo((tmp_path / "better.png").read_bytes())
    assert difference(better, photo(bus)) < 0.2 * difference(photo(dark.read_bytes()), photo(bus))


def test_a_folder_goes_on_where_it_stopped_and_other_options_are_other_results(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = ("run", "style-comic", folder, out)

    first = cli(*run)
    assert first.code == 1
    assert {Path(line["file"]).name: "error" in line for line in first.lines} == {
        "a.jpg": False,
        "b.gif": False,
        "broken.jpg": True,
    }
    assert {path.name for path in files_below(out)} == {"a.jpg", "b.png", JOURNAL}
    before = (out / "a.jpg").read_bytes()

    again = cli(*run)
    assert "results that are there already: 2" in again.err
    assert (out / "a.jpg").read_bytes() == before

    other = cli(*run, "--tones", "3", "--ink", "0")
    assert "made: 2, failed: 1" in other.err
    assert (out / "a.jpg").read_bytes() != before

    default = cli(*run, "--tones", "3", "--ink", "0", "--strength", "1")
    assert "results that are there already: 2" in default.err


def test_a_chain_redacts_first_and_then_does_the_rest(cli: Cli, tmp_path: Path, bus: bytes) -> None:
    (tmp_path / "bus.jpg").write_bytes(bus)
    end = cli(
        "run", "style-aged,blur", tmp_path / "bus.jpg", tmp_path / "old.png", "--targets", "person"
    )
    (line,) = end.lines
    assert line["reports"]["blur"]["counts"]["person"] >= 3
    assert list(line["reports"]) == ["blur", "style-aged"]
    assert "redacted: 1, failed: 0" in end.err


def test_the_kind_follows_from_the_name_of_a_single_result(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    (tmp_path / "a.jpg").write_bytes(small_jpeg)
    for name in ("a.webp", "a.tif", "a.bmp"):
        assert cli("run", "style-aged", tmp_path / "a.jpg", tmp_path / name).code == 0
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (320, 240)
            assert picture.format == {"a.webp": "WEBP", "a.tif": "TIFF", "a.bmp": "BMP"}[name]


def test_transparency_is_not_lost_in_a_kind_that_has_none(cli: Cli, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (40, 30), (200, 120, 80, 10))
    (tmp_path / "a.png").write_bytes(picture_file(picture, "PNG"))
    end = cli("run", "enhance", tmp_path / "a.png", tmp_path / "b.jpg")
    assert end.code == 1
    (line,) = end.lines
    assert line["error"]["code"] == "bad_option"
    assert not (tmp_path / "b.jpg").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("enhance", "a.jpg", "b.jpg", "--ink", "1"), ("no option ink", "denoise, sharpen")),
        (("enhance", "--ink=1", "a.jpg", "b.jpg"), ("no option ink", "denoise, sharpen")),
        (("enhance", "a.jpg", "b.jpg", "c.jpg"), ("one picture or folder",)),
        (
            ("enhance", "a.jpg", "b.jpg", "--sharpen", "2"),
            ("sharpen must be a number",),
        ),
        (("engrave", "a.jpg", "b.jpg"), ("pipeline must be one of", "style-comic")),
        (("enhance,enhance", "a.jpg", "b.jpg"), ("each pipeline once",)),
        (("enhance", "nothing.jpg", "b.jpg"), ("nothing.jpg",)),
        (("enhance", "a.jpg", "a.jpg"), ("overwrite",)),
    ],
)
def test_what_can_not_be_done_is_one_clear_line(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_jpeg: bytes,
    words: tuple[str, ...],
    said: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(small_jpeg)
    check_refused(cli("run", *words), *said)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_the_help_of_a_chain_shows_the_options_of_all_its_pipelines(cli: Cli) -> None:
    out = cli("run", "blur,style-comic", "--help").out
    for name in ("targets", "style", "tones", "ink", "strength", "output-format"):
        assert re.search(rf"--{name}\b", out), name
    assert "grain" not in out


def test_the_list_names_every_pipeline(cli: Cli) -> None:
    out = cli("run", "--help").out
    for pipeline in PIPELINES.values():
        assert re.search(rf"│ {pipeline.name} +{re.escape(pipeline.summary[:20])}", out)


def test_lines_are_json_that_others_read(cli: Cli, tmp_path: Path, small_jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(small_jpeg)
    end = cli("run", "style-comic", tmp_path / "a.jpg", tmp_path / "b.jpg")
    (line,) = map(json.loads, end.out.splitlines())
    assert line.keys() == {"file", "result", "seconds", "reports", "pixels"}


def test_a_cut_out_jpeg_becomes_png_with_its_mask_beside_it_and_is_done_once(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.jpg").unlink()
    out = tmp_path / "out"
    run = ("run", "background-remove", folder, out)

    first = cli(*run)
    assert first.code == 0
    assert {Path(line["result"]).name: Path(line["beside"][0]).name for line in first.lines} == {
        "a.png": "a.mask.png",
        "b.png": "b.mask.png",
    }
    assert {path.name for path in files_below(out)} == {
        "a.png",
        "a.mask.png",
        "b.png",
        "b.mask.png",
        JOURNAL,
    }
    assert "results that are there already: 2" in cli(*run).err


def test_a_file_that_lies_where_a_mask_would_is_never_written_over(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    (tmp_path / "a.jpg").write_bytes(small_jpeg)
    (tmp_path / "b.mask.png").write_bytes(b"something of mine")
    end = cli("run", "background-remove", tmp_path / "a.jpg", tmp_path / "b.png")
    (line,) = end.lines
    assert line["error"]["code"] == "not_a_result"
    assert (tmp_path / "b.mask.png").read_bytes() == b"something of mine"
    assert not (tmp_path / "b.png").exists()
