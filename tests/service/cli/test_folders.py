"""`blurline redact` on folders as people have them: odd names, misnamed files, companions."""

import json
import os
import signal
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from blurline.cli.making import recipe_of
from blurline.cli.walk import JOURNAL
from blurline.inference.detector import Detector
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.pipeline import Chain
from tests.commands import COMMAND, Cli, check_refused
from tests.parts import drawing, files_below, picture_file
from tests.telltales import exif_block, srgb

FAST = ["--targets", "face", "--pipeline", "blur", "--quality", "fast"]
"""Options that need the smaller network only."""


def result_names(folder: Path) -> set[str]:
    return {path.name for path in files_below(folder)} - {JOURNAL}


DETECTOR = Detector("a", None, None, (), input_size=1, iou_threshold=0.5, sha256="one")


def see_through() -> bytes:
    image = Image.fromarray(drawing(64, 48)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return picture_file(image, "PNG", icc_profile=srgb())


def test_a_misnamed_picture_stays_what_it_is_with_all_that_belongs_to_it(
    cli: Cli, tmp_path: Path
) -> None:
    jpeg = picture_file(
        Image.fromarray(drawing()), "JPEG", exif=exif_block(), icc_profile=srgb(), quality=90
    )
    source = tmp_path / "in"
    source.mkdir()
    for name in ("really-jpeg.jpg", "really-jpeg.png", "really-jpeg.webp", "no-ending"):
        (source / name).write_bytes(jpeg)
    (source / "really-png.jpg").write_bytes(see_through())
    transparency = Image.open(BytesIO(see_through())).getchannel("A")

    end = cli("redact", source, tmp_path / "out", *FAST, "--metadata", "keep")

    assert end.code == 0
    lines = {Path(line["file"]).name: line for line in end.lines}
    assert set(lines) == {path.name for path in source.iterdir()}
    assert len({line["result"].lower() for line in end.lines}) == 5
    kinds = {".jpg": "JPEG", ".png": "PNG"}
    for name, line in lines.items():
        with Image.open(line["result"]) as image:
            assert image.format == kinds[Path(line["result"]).suffix]
            assert image.info.get("icc_profile")
            if name == "really-png.jpg":
                assert image.getchannel("A").tobytes() == transparency.tobytes()
                assert line["blur_metadata"]["path"] == "re-encoded"
            else:
                assert image.format == "JPEG"
                assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
                assert line["blur_metadata"]["path"] == "lossless"
    assert "named otherwise than their content is, which counts: 3" in end.err


def test_a_single_result_of_another_kind_is_told_to_be_encoded_anew(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    (tmp_path / "in.webp").write_bytes(small_jpeg)

    end = cli("redact", tmp_path / "in.webp", tmp_path / "out.png", *FAST)

    (line,) = end.lines
    assert line["blur_metadata"]["path"] == "re-encoded"
    assert f"{tmp_path}/in.webp is jpeg by its content" in end.err
    with Image.open(tmp_path / "out.png") as image:
        assert image.format == "PNG"


def test_a_format_that_is_asked_for_is_that_of_the_results_and_of_their_endings(
    cli: Cli, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    jpeg = picture_file(Image.fromarray(drawing()), "JPEG", exif=exif_block(), quality=90)
    for name, content in (("a.jpg", jpeg), ("b.png", see_through()), ("a.webp", see_through())):
        (source / name).write_bytes(content)

    end = cli("redact", source, out, *FAST, "--output-format", "webp", "--metadata", "keep")

    assert end.code == 0
    assert result_names(out) == {"a.jpg.webp", "a.webp", "b.webp"}
    for path in out.glob("*.webp"):
        with Image.open(path) as image:
            assert image.format == "WEBP"
    single = cli("redact", source / "a.jpg", tmp_path / "one.webp", *FAST, "--metadata", "keep")
    assert single.lines[0]["blur_metadata"]["output_format"] == "webp"
    for place in (out / "a.jpg.webp", tmp_path / "one.webp"):
        with Image.open(place) as image:
            assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    words = [source / "a.jpg", tmp_path / "one.png", *FAST, "--output-format", "webp"]
    check_refused(cli("redact", *words), "one.png", "webp")


@pytest.mark.parametrize("ending", ["gif", "heic"])
def test_a_kind_that_is_not_written_is_refused_by_name(
    cli: Cli, tmp_path: Path, small_jpeg: bytes, ending: str
) -> None:
    (tmp_path / "in.jpg").write_bytes(small_jpeg)
    refused = cli("redact", tmp_path / "in.jpg", tmp_path / f"out.{ending}", *FAST)
    check_refused(refused, ending.upper())


@pytest.mark.parametrize(
    ("folder", "done"),
    [("09-appledouble", 1), ("10-endings", 14), ("25-misnamed", 4)],
)
def test_folders_that_people_sent_in_are_done_without_a_failure(
    cli: Cli, data: Path, tmp_path: Path, folder: str, done: int
) -> None:
    source = data / "reports" / folder
    if not source.is_dir():
        pytest.skip("the folders are not beside this checkout")

    end = cli("redact", source, tmp_path / "out", *FAST, "--verbose")

    results = [line["result"] for line in end.lines if "result" in line]
    assert len(set(results)) == done
    told = end.out + end.err
    assert [
        path for path in files_below(source) if path.parent == source and str(path) not in told
    ] == []
    if folder != "10-endings":  # among which lies a HEIC file that is cut off
        assert end.code == 0
    for result in results:
        with Image.open(result) as image:
            image.load()


def test_options_and_networks_make_another_result(
    cli: Cli, tmp_path: Path, small_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.jpg").write_bytes(small_jpeg)
    assert len(cli("redact", source, out, *FAST).lines) == 1
    assert len(cli("redact", source, out, *FAST, "--threads", "1").lines) == 0
    monkeypatch.setenv("FACE_MODEL", "yunet")
    assert len(cli("redact", source, out, *FAST).lines) == 1


def test_the_recipe_is_pipeline_options_networks_and_quality() -> None:
    known = pipelines(load_settings())
    one, two = (Chain((known[name],)) for name in ("blur", "blur_detect"))
    values = one.options.read({"targets": "face"}, {})
    detector = DETECTOR
    recipes = [
        recipe_of(one, values, {"a": detector}, 90),
        recipe_of(two, values, {"a": detector}, 90),
        recipe_of(Chain((known["blur"], known["enhance"])), values, {"a": detector}, 90),
        recipe_of(one, {**values, "metadata": "none"}, {"a": detector}, 90),
        recipe_of(one, values, {"a": replace(detector, sha256="other")}, 90),
        recipe_of(one, values, {"b": detector}, 90),
        recipe_of(one, values, {"a": detector}, 80),
    ]
    assert len(set(recipes)) == len(recipes)
    # An option that a later version brings, and that nobody names, makes no result another one.
    assert b"metadata" not in recipes[0]


@pytest.mark.long
def test_a_run_that_is_killed_leaves_nothing_half_and_goes_on(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(40):
        (source / f"{number}.jpg").write_bytes(small_jpeg + b"%d" % number)
    command = [*COMMAND, "redact", source, out, *FAST, "--threads", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        first = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        first += [json.loads(line) for line in process.stdout]

    rest = cli("redact", source, out, *FAST)

    assert rest.code == 0
    known = {json.loads(line)["result"] for line in (out / JOURNAL).read_bytes().splitlines()}
    assert {path.name for path in files_below(out)} == known | {JOURNAL}
    told = [line["file"] for line in (*first, *rest.lines)]
    assert len(told) == len(set(told)) >= 36
    for path in out.glob("*.jpg"):
        with Image.open(BytesIO(path.read_bytes())) as image:
            image.load()


def test_a_name_that_is_no_text_is_done_and_told(
    cli: Cli, tmp_path: Path, small_jpeg: bytes
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    odd = source / os.fsdecode(b"caf\xe9.jpg")
    odd.write_bytes(small_jpeg)
    (source / "bad\udcff.png").write_bytes(b"words")

    end = cli("redact", source, tmp_path / "out", *FAST, "--verbose")

    assert end.code == 1
    assert {line["file"] for line in end.lines} == {str(odd), str(source / "bad\udcff.png")}
    assert (tmp_path / "out" / odd.name).exists()
