"""Contenders treat pictures, and rows come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blurline.errors import PictureError
from blurline.evaluation.average_precision import average_precision
from blurline.evaluation.contender import Contender, Redacted, Remembering, Shipped
from blurline.evaluation.coverage import mask_of
from blurline.evaluation.dataset import (
    LabelledBox,
    LabelledPicture,
    LabelledSet,
    labelled_set,
    unlabelled_set,
)
from blurline.evaluation.measurement import Measurement, Task
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.inference.detector import Detection, Detectors
from blurline.inference.engine import Arithmetic, Engine, Outputs
from blurline.models.load import Inference, load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import PixelBox, Style
from blurline.settings import load_settings
from blurline.stages.frame import Options, Quality
from blurline.stages.pipeline import Stage
from tests.labelled import entry, face_set, write_set

LIMITS = Limits(10_000_000, 10_000_000)
LABELS = {"face": frozenset({"face"}), "license_plate": frozenset({"license_plate"})}


@dataclass(frozen=True)
class Painter:
    """A contender that redacts the same region of every picture, whatever it shows."""

    region: PixelBox
    name: str = "painter"
    targets: frozenset[str] = frozenset({"face", "license_plate"})
    settings: dict[str, Any] = field(default_factory=dict)

    def redact(self, pixels: Pixels, targets: Sequence[str]) -> Redacted:
        mask = mask_of([self.region], pixels.shape[1], pixels.shape[0])
        return Redacted(dict.fromkeys(targets, mask), dict.fromkeys(targets, 1), 0.003)


def measurement(*contenders: Contender, **others: Any) -> Measurement:
    return Measurement(contenders, LABELS, detector=None, limits=LIMITS, **others)


def labelled(folder: Path, small_jpeg: bytes, *boxes: Any, pictures: int = 1) -> LabelledSet:
    files = {f"{number}.jpg": small_jpeg for number in range(pictures)}
    images = [entry(name, 320, 240, *boxes) for name in files]
    folder.mkdir()
    known = {"face", "license_plate", "cup"}
    return labelled_set(write_set(folder, files, images), known, LIMITS)


FACE = (10, 10, 40, 50, "face")
PLATE = (100, 100, 160, 120, "license_plate")
AROUND_BOTH = Painter((0, 0, 200, 200))


def test_each_set_has_a_row_for_each_contender_and_target(
    tmp_path: Path, small_jpeg: bytes
) -> None:
    faces = Task(labelled(tmp_path / "a", small_jpeg, FACE), ("face",))
    both = Task(labelled(tmp_path / "b", small_jpeg, FACE, PLATE), ("face", "license_plate"))
    blind = Painter((300, 200, 310, 210), "blind", frozenset({"face"}))
    calls: list[None] = []

    sets, _ = measurement(AROUND_BOTH, blind).run([faces, both], lambda: calls.append(None))

    rows = [[(row.target, row.contender, row.covered) for row in one.rows] for one in sets]
    assert rows == [
        [("face", "painter", 1), ("face", "blind", 0)],
        [("face", "painter", 1), ("face", "blind", 0), ("license_plate", "painter", 1)],
    ]
    assert [one.labels for one in sets] == [{"face": 1}, {"face": 1, "license_plate": 1}]
    assert len(calls) == 2


def test_rows_over_several_sets_count_every_picture_once(tmp_path: Path, small_jpeg: bytes) -> None:
    sets = [
        labelled(tmp_path / "a", small_jpeg, FACE, pictures=3),
        labelled(tmp_path / "b", small_jpeg, (250, 10, 300, 60, "face")),
        labelled(tmp_path / "c", small_jpeg, PLATE),
    ]

    _, combined = measurement(AROUND_BOTH).run([Task(one, ("face",)) for one in sets], list)

    (row,) = combined
    assert (row.target, row.pictures, row.labels, row.covered) == ("face", 4, 4, 3)


def test_whatever_is_redacted_where_nothing_is_labelled_is_a_false_alarm(
    tmp_path: Path, small_jpeg: bytes
) -> None:
    (tmp_path / "a.jpg").write_bytes(small_jpeg)
    nothing = unlabelled_set(tmp_path, [tmp_path / "a.jpg"], LIMITS)

    (one,), _ = measurement(AROUND_BOTH).run([Task(nothing, ("face",))], list)

    (row,) = one.rows
    assert (row.labels, row.redactions_per_picture) == (0, 1)
    assert row.over_blur == pytest.approx(200 * 200 / (320 * 240), abs=1e-6)


@pytest.mark.parametrize(("threads", "cpu_ms"), [(1, 3.0), (2, None)])
def test_cpu_times_are_told_for_one_picture_at_a_time(
    tmp_path: Path, small_jpeg: bytes, threads: int, cpu_ms: float | None
) -> None:
    task = Task(labelled(tmp_path / "a", small_jpeg, FACE, pictures=3), ("face",))

    (one,), _ = measurement(AROUND_BOTH, threads=threads).run([task], list)

    assert [row.cpu_ms for row in one.rows] == [cpu_ms]


def test_a_picture_that_can_not_be_decoded_ends_the_run(tmp_path: Path, small_jpeg: bytes) -> None:
    task = Task(labelled(tmp_path / "a", small_jpeg, FACE, pictures=3), ("face",))
    path = task.labelled.pictures[1].path
    path.write_bytes(small_jpeg[: len(small_jpeg) // 2])

    with pytest.raises(PictureError):
        measurement(AROUND_BOTH).run([task], list)


# The blur stage as shipped


@pytest.fixture(scope="module")
def blur() -> Stage:
    (stage,) = pipelines(load_settings())["blur"].stages
    return stage


@pytest.fixture(scope="module")
def detectors(blur: Stage) -> Detectors:
    inference = Inference(load_settings().model_dir, threads=1)
    return load_detectors([blur.targets["face"].model], inference)


def shipped(blur: Stage, detectors: Detectors, quality: Quality, **thresholds: float) -> Shipped:
    return Shipped(blur, Options(("face",), Style.SOLID, quality, thresholds), detectors)


@pytest.mark.parametrize("quality", Quality)
def test_the_stage_covers_faces_that_it_finds(
    tmp_path: Path, zidane: bytes, blur: Stage, detectors: Detectors, quality: Quality
) -> None:
    faces = labelled_set(face_set(tmp_path, zidane), {"face"}, LIMITS)

    contender = shipped(blur, detectors, quality)
    (one,), _ = measurement(contender, curves=True).run([Task(faces, ("face",))], list)

    (row,) = one.rows
    assert (row.contender, row.labels, row.covered) == (quality, 2, 2)
    assert row.cpu_ms is not None
    assert row.cpu_ms > 0
    in_force = contender.threshold("face")
    (there,) = [point for point in row.curve if point.threshold == in_force]
    assert (there.covered, there.over_blur, there.redactions_per_picture) == (
        row.covered,
        row.over_blur,
        row.redactions_per_picture,
    )
    assert [point.threshold for point in row.curve] == sorted(
        point.threshold for point in row.curve
    )
    assert row.curve[0].over_blur >= row.curve[-1].over_blur


def test_each_threshold_of_a_curve_gives_what_a_run_at_it_gives(
    zidane: bytes, blur: Stage, detectors: Detectors
) -> None:
    pixels = decode(zidane, read_header(zidane, LIMITS))
    thresholds = (0.02, 0.1, 0.9)

    swept = shipped(blur, detectors, Quality.THOROUGH).swept(pixels, ("face",), "face", thresholds)

    for threshold, found in zip(thresholds, swept, strict=True):
        alone = shipped(blur, detectors, Quality.THOROUGH, face=threshold)
        expected = alone.redact(pixels, ("face",))
        assert (found.masks["face"] == expected.masks["face"]).all()
        assert found.regions == expected.regions


def test_what_is_measured_leaves_the_picture_as_it_is(
    zidane: bytes, blur: Stage, detectors: Detectors
) -> None:
    pixels = decode(zidane, read_header(zidane, LIMITS))
    before = pixels.copy()

    found = shipped(blur, detectors, Quality.FAST).redact(pixels, ("face",))

    assert found.masks["face"].any()
    assert (pixels == before).all()


def test_the_settings_tell_what_was_in_force(blur: Stage, detectors: Detectors) -> None:
    settings = shipped(blur, detectors, Quality.FAST, face=0.35).settings

    assert set(settings) == {"face"}
    assert settings["face"]["threshold"] == 0.35
    assert settings["face"]["model"] == blur.targets["face"].model
    assert settings["face"]["margin"] == blur.targets["face"].levels[Quality.FAST].margin


@dataclass(frozen=True)
class Counting:
    """An engine that counts how often its network runs."""

    engine: Engine
    runs: list[tuple[int, ...]] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    fixed_size: tuple[int, int] | None = None
    precision: Arithmetic = "f32"

    def infer(self, pixels: Pixels) -> Outputs:
        self.runs.append(pixels.shape)
        return self.engine.infer(pixels)


def test_the_networks_run_once_for_a_whole_curve(
    zidane: bytes, blur: Stage, detectors: Detectors
) -> None:
    pixels = decode(zidane, read_header(zidane, LIMITS))
    ((name, detector),) = detectors.items()
    counting = Counting(detector.engine)
    contender = shipped(blur, {name: replace(detector, engine=counting)}, Quality.FAST)
    contender.redact(pixels, ("face",))
    once = len(counting.runs)

    for _ in contender.swept(pixels, ("face",), "face", (0.1, 0.2, 0.3, 0.4)):
        pass

    assert len(counting.runs) == 2 * once


def test_a_remembered_answer_is_that_of_its_own_picture(detectors: Detectors) -> None:
    ((_, detector),) = detectors.items()
    remembering = Remembering(detector.engine)
    pictures = [np.full((64, 64, 3), value, np.uint8) for value in (0, 200, 0)]

    black, grey, again = (remembering.infer(picture) for picture in pictures)

    name = next(iter(black))
    assert (black[name] == again[name]).all()
    assert (black[name] != grey[name]).any()


# The detection network

CUP = (10.0, 20.0, 110.0, 120.0)


def found_in(*detections: Detection, ignored: bool = False) -> tuple[float, float]:
    """AP and AP50 where one cup is labelled."""
    picture = LabelledPicture(Path("a.jpg"), 320, 240, (LabelledBox("cup", CUP, ignored),))
    precision = average_precision("net", [(picture, detections)])
    return precision.ap, precision.ap50


@pytest.mark.parametrize(
    ("detections", "ap", "ap50"),
    [
        ([("cup", 0.9, CUP)], 1.0, 1.0),
        ([], 0.0, 0.0),
        ([("bowl", 0.9, CUP)], 0.0, 0.0),
        ([("face", 0.9, CUP), ("cup", 0.8, CUP)], 1.0, 1.0),
        # A box of IoU .75 counts at the first six of the ten thresholds from .5 to .95.
        ([("cup", 0.9, (10.0, 20.0, 110.0, 95.0))], 0.6, 1.0),
        # A surer box elsewhere halves the precision.
        ([("cup", 0.9, (200.0, 20.0, 300.0, 120.0)), ("cup", 0.8, CUP)], 0.5, 0.5),
        ([("cup", 0.9, CUP), ("cup", 0.8, CUP)], 1.0, 1.0),
    ],
)
def test_average_precision_is_coco_s(
    detections: list[tuple[str, float, tuple[float, float, float, float]]], ap: float, ap50: float
) -> None:
    assert found_in(*(Detection(*one) for one in detections)) == (
        pytest.approx(ap, abs=0.01),
        pytest.approx(ap50, abs=0.01),
    )


def test_average_precision_is_told_without_a_word_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found_in(Detection("cup", 0.9, CUP))

    assert capsys.readouterr().out == ""
