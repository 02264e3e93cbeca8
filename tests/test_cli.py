"""The command `blurline`: what it teaches, what it does, what it refuses, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
import psutil
import pytest
import typer
from PIL import Image

from blurline import __version__
from blurline.cli.main import app, main
from blurline.models.catalogue import catalogue
from blurline.models.sources import PackageFile
from blurline.settings import load_settings
from blurline.stack.stack import Stack
from tests.parts import PATIENCE, drawing, ended, eventually, files_below, picture_file, upload

COMMAND = [sys.executable, "-m", "blurline.cli.main"]
FAST = ["--targets", "face", "--pipeline", "blur"]
"""Options that need the smaller network only."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it had said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output, which must be JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Ended]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command in this process; an exception that it lets out fails the test."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["blurline", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        code = end.value.code
        assert code is None or isinstance(code, int)
        return Ended(code or 0, said.out, said.err)

    return run


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def check_refused(end: Ended, *said: str) -> None:
    """It ended with one clear line and without having done anything."""
    assert end.code == 2
    assert end.out == ""
    (line,) = end.err.splitlines()
    assert line.startswith("blurline: ")
    assert [words for words in said if words not in line] == []


# What it teaches


def test_there_is_a_command_for_each_need() -> None:
    assert set(COMMANDS) == {
        (),
        ("redact",),
        ("reconcile",),
        ("evaluate",),
        ("up",),
        ("worker",),
        ("demo",),
        ("verify",),
        ("audit",),
        ("audit", "verify"),
        ("models",),
        ("models", "list"),
        ("models", "pull"),
        ("keys",),
        ("keys", "new"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_tells_of_every_option_and_command(cli: Cli, words: tuple[str, ...]) -> None:
    command = COMMANDS[words]

    end = cli(*words, "--help")

    assert end.code == 0
    assert command.help
    assert command.help.splitlines()[0] in end.out
    for name, inner in getattr(command, "commands", {}).items():
        assert re.search(rf"│ {name} +{re.escape(inner.get_short_help_str(20)[:10])}", end.out)
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert " ".join(parameter.help.split()[:3]) in end.out
        assert all(flag in end.out for flag in parameter.opts)


def test_the_help_of_redact_shows_how_it_is_called(cli: Cli) -> None:
    end = cli("redact", "-h")

    assert "blurline redact street.jpg blurred.jpg" in end.out
    assert "face,license_plate" in end.out
    assert "face=0.3,license_plate=0.2" in end.out
    assert "--ignore-zones @hoarding.json" in end.out
    assert all(style in end.out for style in ("mosaic", "solid", "gaussian"))


def test_without_words_it_shows_its_help(cli: Cli) -> None:
    end = cli()

    assert "redact" in end.out + end.err
    assert "demo" in end.out + end.err


def test_the_installed_command_tells_its_version() -> None:
    command = Path(sys.executable).with_name("blurline")

    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"blurline {__version__}\n"


# blurline redact


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


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in files_below(folder)}


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
    assert names(tmp_path / "out") == {"street.jpg", "sub/SMALL.JPEG", "sub/moves.png"}
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
    before = {path: path.stat().st_mtime_ns for path in files_below(out)}

    end = cli("redact", photos, out, *FAST)

    assert end.code == 0
    assert [line["file"] for line in end.lines] == [str(photos / "street.jpg")]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "--again" in end.err


def test_again_redoes_what_is_there(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").unlink()
    out = tmp_path / "out"
    cli("redact", photos, out, *FAST)
    for path in files_below(out):
        path.write_bytes(b"")

    end = cli("redact", photos, out, *FAST, "--again")

    assert end.code == 0
    assert len(end.lines) == 3
    assert all(path.stat().st_size for path in files_below(out))


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
    assert len(results) == len(files_below(tmp_path / "out")) == 2


def test_a_folder_that_is_called_like_a_picture_is_no_picture(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    (tmp_path / "photos/album.jpg").mkdir(parents=True)
    (tmp_path / "photos/album.jpg/one.jpg").write_bytes(small_jpeg)

    end = cli("redact", tmp_path / "photos", tmp_path / "out", *FAST)

    assert end.code == 0
    assert names(tmp_path / "out") == {"album.jpg/one.jpg"}


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


@pytest.mark.parametrize("command", ["up", "demo"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DEFAULT_THRESHOLD", "cat=0.3", "DEFAULT_*: threshold"),
        ("DEFAULT_PIPELINE", "none", "DEFAULT_PIPELINE"),
    ],
)
def test_a_bad_default_is_told_before_anything_starts(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)

    check_refused(cli(command), said)
    assert files_below(tmp_path) == []


# blurline models


def test_the_networks_are_listed_with_their_licences(cli: Cli) -> None:
    end = cli("models", "list")

    assert end.code == 0
    for model in catalogue().values():
        assert re.search(rf"{model.name} .*{re.escape(model.licence)}", end.out)


def test_the_list_says_which_networks_are_here(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here() -> dict[str, bool]:
        out = cli("models", "list").out
        found = re.findall(r"│ (\w+) .*│ (yes|no) +│", out)
        return {name: answer == "yes" for name, answer in found}

    assert here()["yolo11n"]
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert here() == {
        name: isinstance(model.source, PackageFile) for name, model in catalogue().items()
    }


def test_pull_says_where_the_networks_are(cli: Cli) -> None:
    end = cli("models", "pull")

    assert end.code == 0
    pulled = dict(line.split(": ", 1) for line in end.out.splitlines())
    settings = load_settings()
    used = (settings.face_model, settings.plate_model, settings.vehicle_model)
    assert set(pulled) == {*used, settings.detection_model}
    assert all(Path(path).is_file() for path in pulled.values())


def test_a_quiet_pull_says_nothing(cli: Cli) -> None:
    assert cli("models", "pull", "--quiet") == Ended(0, "", "")


def test_an_unknown_network_is_refused_with_the_known_ones(cli: Cli) -> None:
    end = cli("models", "pull", "nonsense")

    assert end.code == 2
    assert "nonsense" in end.err
    assert all(name in end.err for name in catalogue())


# blurline up


@contextmanager
def started(log: Path, *words: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A command that runs on, writing into the log; nothing of it is left in the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *words], env={**os.environ, **environment}, stdout=output, stderr=output
        )
    family = [psutil.Process(process.pid)]
    try:
        yield process
    finally:
        for member in family[0].children(recursive=True) if process.poll() is None else []:
            member.kill()
        process.kill()
        process.wait()


def said(log: Path, pattern: str) -> "re.Match[str]":
    found: re.Match[str] = eventually(
        lambda: re.search(pattern, log.read_text("utf-8")), f"it says {pattern}"
    )
    return found


def end_of(process: "subprocess.Popen[bytes]", signum: signal.Signals) -> tuple[int, list[str]]:
    """Send the signal; the exit status, and the child processes that are still there."""
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signum)
    code = process.wait(PATIENCE)
    _, left = psutil.wait_procs(children, timeout=3)
    names = [" ".join(child.cmdline()[:4]) for child in left]
    for child in left:
        child.kill()
    return code, names


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_everything_that_it_started(
    tmp_path: Path, small_jpeg: bytes, signum: signal.Signals
) -> None:
    log = tmp_path / "log.txt"
    words = ["up", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with started(log, *words) as process:
        url = said(log, r"blurline is up: (\S+)")[1]
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            ended(client, upload(client, small_jpeg))

        code, left = end_of(process, signum)

    assert (code, left) == (0, [])
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    text = log.read_text("utf-8")
    assert f"{url}/docs" in text
    assert str(tmp_path / "data") in text
    assert "Traceback" not in text


def test_nothing_outlives_up_when_it_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    words = ["up", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with started(log, *words) as process:
        said(log, r"blurline is up: (\S+)")
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.kill()
        _, left = psutil.wait_procs(children, timeout=PATIENCE)
    assert left == []


@pytest.fixture
def data_of_stack(stack: Stack, small_jpeg: bytes) -> Path:
    """The data folder of the service that runs."""
    with httpx.Client(base_url=stack.url, timeout=PATIENCE) as client:
        results = ended(client, upload(client, small_jpeg))["results"]
    return Path(unquote(urlsplit(results["original_image_path"]).path)).parents[3]


def refused(*words: str, **environment: str) -> Ended:
    done = subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_port_in_use_is_said_in_one_line(stack: Stack, tmp_path: Path) -> None:
    port = str(urlsplit(stack.url).port)

    end = refused("up", PORT=port, DATA_DIR=str(tmp_path))

    check_refused(end, "PORT", port, "in use")


def test_a_data_folder_in_use_is_said_in_one_line(stack: Stack, data_of_stack: Path) -> None:
    end = refused("up", "--port", "0", "--data-dir", str(data_of_stack))

    check_refused(end, "DATA_DIR", str(data_of_stack), "in use")
    assert httpx.get(f"{stack.url}/health").json()["status"] == "ok"


# blurline demo


def test_the_demo_shows_what_became_of_the_photos(
    tmp_path: Path, bus: bytes, zidane: bytes
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "output"
    photos.mkdir()
    (photos / "bus [1].jpg").write_bytes(bus)
    (photos / "zidane.jpg").write_bytes(zidane)
    log = tmp_path / "log.txt"

    words = ["demo", str(photos), "--output", str(output)]
    with started(log, *words, COLUMNS="200") as process:
        said(log, "runs at")
        children = psutil.Process(process.pid).children(recursive=True)
        code = process.wait(PATIENCE)

    text = log.read_text("utf-8")
    assert code == 0, text
    assert len(children) >= 3
    assert psutil.wait_procs(children, timeout=5)[1] == []
    rows = dict(re.findall(r"│ (\S+(?: \[1\])?\.jpg) +│(.*)│", text))
    assert set(rows) == {"bus [1].jpg", "zidane.jpg"}
    cells = (cell.strip() for cell in rows["bus [1].jpg"].split("│"))
    faces, plates, objects, milliseconds = cells
    assert int(faces) >= 1
    assert int(plates) >= 0
    assert re.search(r"\d person", objects)
    assert int(milliseconds) > 0
    assert str(output / "contact_sheet.png") in text
    with Image.open(output / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"
        # Two rows; a photo and its result side by side, and some colour of the boxes.
        assert sheet.height > 2 * 400
        assert sheet.width > 2 * 400
        assert (np.asarray(sheet) == (64, 220, 96)).all(axis=2).sum() > 1000
    assert {"blurred_bus [1].jpg", "blurred_zidane.jpg"} <= names(output)
    details = json.loads((output / "blurred_zidane.jpg.json").read_bytes())
    assert details["results"]["blur_metadata"]["counts"]["face"] >= 2


def test_the_demo_says_which_photo_is_bad_and_shows_the_others(
    tmp_path: Path, small_jpeg: bytes
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "output"
    (photos / "album.jpg").mkdir(parents=True)
    (photos / "album.jpg/good.jpg").write_bytes(small_jpeg)
    (photos / "good.jpg").write_bytes(small_jpeg)
    (photos / "bad.jpg").write_bytes(b"plain words")

    # A pipeline without detection is as good as any.
    end = refused("demo", str(photos), "--output", str(output), DEFAULT_PIPELINE="blur")

    assert end.code == 1
    assert re.search(r"bad\.jpg .*not an image", end.out)
    assert "Traceback" not in end.out + end.err
    with Image.open(output / "contact_sheet.png") as sheet:
        assert sheet.height > 2 * 400
    pictures = [path for path in files_below(output) if path.name.endswith(".jpg")]
    assert len(pictures) == 2, "photos of the same name in two folders are two photos"


def test_a_demo_that_is_told_to_stop_leaves_nothing_running(tmp_path: Path, bus: bytes) -> None:
    (tmp_path / "bus.jpg").write_bytes(bus)
    log = tmp_path / "log.txt"
    with started(log, "demo", str(tmp_path / "bus.jpg"), "--output", str(tmp_path)) as process:
        said(log, "runs at")

        _, left = end_of(process, signal.SIGTERM)

    assert left == []


def test_a_demo_without_photos_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    check_refused(cli("demo", tmp_path / "missing"), str(tmp_path / "missing"))
