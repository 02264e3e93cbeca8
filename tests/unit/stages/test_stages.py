"""What the stages do to a picture, and the page that names them all.

The networks here see what they are told to see, since what the stages make of it is in question;
the detectors around them are the real ones.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from blurline.errors import ModelMissingError, OptionError, TooManyRegionsError
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detector
from blurline.inference.engine import Arithmetic, Outputs
from blurline.inference.heads import yolo
from blurline.inference.scan import Scan
from blurline.models.catalogue import find
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.redaction.zones import Zones
from blurline.settings import load_settings
from blurline.stages.blur import Blur
from blurline.stages.defaults import default_chain, default_texts
from blurline.stages.detect import Detect
from blurline.stages.frame import Frame, Options, Quality
from blurline.stages.options import read_options, values_of
from blurline.stages.pipeline import Level, Pipeline, Target
from blurline.treatment.redaction import run_stages
from tests.parts import redacting

SIDE = 320
LABELS = ("face", "car", "person")
Seen = tuple[str, float, tuple[int, int, int, int]]

FACE: Seen = ("face", 0.9, (40, 40, 80, 90))
CAR: Seen = ("car", 0.7, (150, 100, 250, 200))
PERSON: Seen = ("person", 0.8, (20, 30, 100, 300))


@dataclass
class Eye:
    """An engine that sees the same objects in every picture and remembers what it was shown."""

    objects: tuple[Seen, ...] = ()
    shown: list[Pixels] = field(default_factory=list)
    labels: tuple[str, ...] = LABELS
    fixed_size: None = None
    precision: Arithmetic = "f32"

    def infer(self, pixels: Pixels) -> Outputs:
        self.shown.append(pixels.copy())
        tensor = np.zeros((1, 4 + len(LABELS), max(1, len(self.objects))), np.float32)
        for i, (label, score, (left, top, right, bottom)) in enumerate(self.objects):
            centre = ((left + right) / 2, (top + bottom) / 2)
            tensor[0, :4, i] = (*centre, right - left, bottom - top)
            tensor[0, 4 + LABELS.index(label), i] = score
        return {"output0": tensor}


class BrokenEye(Eye):
    def infer(self, pixels: Pixels) -> Outputs:
        raise RuntimeError("the network failed")


def detector(eye: Eye, name: str = "net") -> Detector:
    return Detector(name, eye, yolo, LABELS, SIDE, 0.7)


def picture() -> Pixels:
    """Of the networks' own size, so that they see its very pixels; none of it is black."""
    return np.random.default_rng(3).integers(1, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def target(
    model: str, *labels: str, threshold: float = 0.2, margin: float = 0.0, side: int = SIDE
) -> Target:
    level = Level(Scan((side,)), threshold, margin)
    return Target(model, frozenset(labels), dict.fromkeys(Quality, level))


def solid(*targets: str, **others: Any) -> Options:
    return Options(targets, Style.SOLID, **others)


def black(pixels: Pixels) -> np.ndarray:
    mask: np.ndarray = (pixels == 0).all(axis=2)
    return mask


TWO_NETS = Blur({"face": target("faces", "face"), "car": target("coco", "car")})
ONE_NET = Blur({"car": target("coco", "car"), "person": target("coco", "person")})


# The blur stage


def test_all_networks_look_before_any_pixel_changes() -> None:
    faces, coco = Eye((FACE,)), Eye((CAR,))
    frame = Frame(picture())
    TWO_NETS.run(frame, solid("face", "car"), {"faces": detector(faces), "coco": detector(coco)})
    assert [len(eye.shown) for eye in (faces, coco)] == [1, 1]
    assert (faces.shown[0] == picture()).all()
    assert (coco.shown[0] == picture()).all()
    assert black(frame.pixels).any()


def test_a_network_that_targets_share_looks_once() -> None:
    coco = Eye((CAR, PERSON))
    frame = ONE_NET.run(Frame(picture()), solid("car", "person"), {"coco": detector(coco)})
    assert len(coco.shown) == 1
    assert {redaction.target for redaction in frame.redactions or ()} == {"car", "person"}


def test_a_network_looks_again_for_a_target_that_wants_another_scan() -> None:
    blur = Blur({"car": target("coco", "car"), "person": target("coco", "person", side=160)})
    coco = Eye((CAR, PERSON))
    blur.run(Frame(picture()), solid("car", "person"), {"coco": detector(coco)})
    assert [shown.shape[:2] for shown in coco.shown] == [(SIDE, SIDE), (160, 160)]


def test_only_the_networks_of_the_targets_asked_for_look() -> None:
    faces, coco = Eye((FACE,)), Eye((CAR,))
    TWO_NETS.run(Frame(picture()), solid("car"), {"faces": detector(faces), "coco": detector(coco)})
    assert (len(faces.shown), len(coco.shown)) == (0, 1)


def test_what_is_found_is_redacted_and_listed_and_nothing_else_changes() -> None:
    eyes = {"faces": detector(Eye((FACE, CAR))), "coco": detector(Eye((CAR, PERSON)))}
    frame = TWO_NETS.run(Frame(picture()), solid("face", "car"), eyes)
    assert frame.redactions is not None
    listed = {redaction.target: redaction for redaction in frame.redactions}
    assert {name: redaction.box for name, redaction in listed.items()} == {
        "face": FACE[2],
        "car": CAR[2],
    }
    assert listed["face"].confidence == pytest.approx(0.9)
    expected = picture()
    for left, top, right, bottom in (FACE[2], CAR[2]):
        expected[top:bottom, left:right] = 0
    assert (frame.pixels == expected).all()


def test_every_target_has_a_margin_of_its_own() -> None:
    blur = Blur(
        {
            "car": target("coco", "car", margin=0.1),
            "person": target("coco", "person", margin=0.25),
        }
    )
    frame = blur.run(
        Frame(picture()), solid("car", "person"), {"coco": detector(Eye((CAR, PERSON)))}
    )
    boxes = {redaction.target: redaction.box for redaction in frame.redactions or ()}
    assert boxes == {"car": (140, 90, 260, 210), "person": (0, 0, 120, SIDE)}


@pytest.mark.parametrize(
    ("car_threshold", "person_threshold", "redacted"),
    [
        (0.2, 0.2, {"car", "person"}),
        (0.75, 0.2, {"person"}),
        (0.2, 0.85, {"car"}),
        (0.9, 0.9, set()),
    ],
)
def test_every_target_has_a_threshold_of_its_own(
    car_threshold: float, person_threshold: float, redacted: set[str]
) -> None:
    blur = Blur(
        {
            "car": target("coco", "car", threshold=car_threshold),
            "person": target("coco", "person", threshold=person_threshold),
        }
    )
    frame = blur.run(
        Frame(picture()), solid("car", "person"), {"coco": detector(Eye((CAR, PERSON)))}
    )
    assert {redaction.target for redaction in frame.redactions or ()} == redacted


@pytest.mark.parametrize(
    ("quality", "side", "redacted"),
    [
        (Quality.FAST, 160, set()),
        (Quality.BALANCED, 224, {"car"}),
        (Quality.THOROUGH, 320, {"car"}),
    ],
)
def test_every_quality_has_a_scan_and_a_threshold_of_its_own(
    quality: Quality, side: int, redacted: set[str]
) -> None:
    levels = {
        Quality.FAST: Level(Scan((160,)), threshold=0.8, margin=0.0),
        Quality.BALANCED: Level(Scan((224,)), threshold=0.6, margin=0.0),
        Quality.THOROUGH: Level(Scan((320,)), threshold=0.4, margin=0.0),
    }
    coco = Eye((CAR,))
    blur = Blur({"car": Target("coco", frozenset({"car"}), levels)})
    frame = blur.run(Frame(picture()), solid("car", quality=quality), {"coco": detector(coco)})
    assert [shown.shape[:2] for shown in coco.shown] == [(side, side)]
    assert {redaction.target for redaction in frame.redactions or ()} == redacted


@pytest.mark.parametrize(
    ("thresholds", "redacted"),
    [
        ({}, {"car", "person"}),
        ({"car": 0.75}, {"person"}),
        ({"person": 0.85}, {"car"}),
        ({"car": 0.71, "person": 0.81}, set()),
    ],
)
def test_a_threshold_of_the_callers_goes_before_the_targets_own(
    thresholds: dict[str, float], redacted: set[str]
) -> None:
    options = solid("car", "person", thresholds=thresholds)
    frame = ONE_NET.run(Frame(picture()), options, {"coco": detector(Eye((CAR, PERSON)))})
    assert {redaction.target for redaction in frame.redactions or ()} == redacted


def test_a_threshold_below_the_targets_own_finds_more() -> None:
    blur = Blur({"car": target("coco", "car", threshold=0.9)})
    for thresholds, found in (({}, 0), ({"car": 0.5}, 1)):
        options = solid("car", thresholds=thresholds)
        frame = blur.run(Frame(picture()), options, {"coco": detector(Eye((CAR,)))})
        assert len(frame.redactions or ()) == found


def test_more_things_to_blur_than_are_taken_end_the_picture_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blurline.stages.blur.MOST_REGIONS", 2)
    apart: tuple[Seen, ...] = tuple(("car", 0.9, (x, 40, x + 30, 90)) for x in (0, 100, 200))
    frame = Frame(picture())
    assert len(ONE_NET.find(frame, solid("car"), {"coco": detector(Eye(apart[:2]))})) == 2
    with pytest.raises(TooManyRegionsError) as caught:
        ONE_NET.run(frame, solid("car"), {"coco": detector(Eye(apart))})
    assert caught.value.code == "too_many_regions"
    assert (frame.pixels == picture()).all()


def test_more_candidates_than_can_be_told_apart_end_the_picture_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blurline.inference.detector.MOST_CANDIDATES", 3)
    assert len(detector(Eye((CAR,) * 3)).detect(picture(), 0.5)) == 1
    with pytest.raises(TooManyRegionsError):
        detector(Eye((CAR,) * 4)).detect(picture(), 0.5)


def test_a_crowd_on_the_edges_of_zones_to_ignore_is_measured_so_often_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blurline.stages.regions.MOST_CUT", 2)
    options = solid("car", zones=Zones(ignore=(LEFT_HALF,)))

    def cars(*lefts: int) -> dict[str, Detector]:
        seen = (
            ("car", 0.9, (left, 80 * i, left + 40, 80 * i + 40)) for i, left in enumerate(lefts)
        )
        return {"coco": detector(Eye(tuple(seen)))}

    assert len(ONE_NET.find(Frame(picture()), options, cars(140, 100, 200, 140))) == 3
    with pytest.raises(TooManyRegionsError):
        ONE_NET.find(Frame(picture()), options, cars(140, 140, 200, 140))


LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
CORNER = ((0.75, 0.75), (1.0, 0.75), (1.0, 1.0))
"""A triangle that nothing lies in."""


@pytest.mark.parametrize(
    ("box", "redacted"),
    [
        ((40, 40, 80, 90), False),
        ((0, 0, 160, 320), False),
        ((100, 40, 161, 90), False),
        ((100, 40, 162, 90), True),
        ((150, 40, 170, 90), True),
        ((200, 40, 240, 90), True),
    ],
    ids=["inside", "all of it", "by a hair outside", "a little outside", "across", "elsewhere"],
)
def test_only_what_lies_wholly_inside_a_zone_is_ignored(
    box: tuple[int, int, int, int], redacted: bool
) -> None:
    frame = Frame(picture())
    options = solid("car", zones=Zones(ignore=(LEFT_HALF,)))
    eyes = {"coco": detector(Eye((("car", 0.9, box),)))}
    assert bool(ONE_NET.run(frame, options, eyes).redactions) is redacted
    assert bool(black(frame.pixels).any()) is redacted


def test_two_zones_to_ignore_do_not_add_up() -> None:
    right_half = tuple((x + 0.5, y) for x, y in LEFT_HALF)
    options = solid("car", zones=Zones(ignore=(LEFT_HALF, right_half)))
    across = Eye((("car", 0.9, (150, 40, 170, 90)),))
    assert ONE_NET.run(Frame(picture()), options, {"coco": detector(across)}).redactions


def test_a_zone_ignores_by_the_box_before_it_is_grown() -> None:
    blur = Blur({"car": target("coco", "car", margin=0.5)})
    options = solid("car", zones=Zones(ignore=(LEFT_HALF,)))
    at_the_edge = Eye((("car", 0.9, (110, 40, 160, 90)),))
    frame = blur.run(Frame(picture()), options, {"coco": detector(at_the_edge)})
    assert frame.redactions == ()


@pytest.mark.parametrize("style", Style)
def test_a_zone_is_redacted_by_its_polygon_whatever_is_seen(style: Style) -> None:
    frame = Frame(picture())
    options = Options(("car",), style, zones=Zones(redact=(CORNER,)))
    redactions = ONE_NET.run(frame, options, {"coco": detector(Eye())}).redactions
    assert redactions is not None
    (zone,) = redactions
    assert (zone.target, zone.confidence, zone.box) == ("zone", 1.0, (240, 240, 320, 320))
    assert zone.polygon == ((240, 240), (320, 240), (320, 320))
    changed = (frame.pixels != picture()).any(axis=2)
    above = np.triu(np.ones((80, 80), bool), 1)
    assert changed[240:, 240:][above].mean() > 0.9
    assert not changed[240:, 240:][np.tril(np.ones((80, 80), bool), -3)].any()
    assert not changed[:240].any()
    assert not changed[:, :240].any()


def test_a_zone_to_redact_wins_over_one_to_ignore() -> None:
    frame = Frame(picture())
    upper_left = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.2), (0.0, 0.2))
    options = solid("face", zones=Zones(ignore=(LEFT_HALF,), redact=(upper_left,)))
    redactions = TWO_NETS.run(frame, options, {"faces": detector(Eye((FACE,)))}).redactions or ()
    assert [redaction.target for redaction in redactions] == ["zone"]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[:64, :160] = True
    assert (black(frame.pixels) == expected).all()


def test_networks_see_what_a_zone_hides() -> None:
    faces = Eye((FACE,))
    options = solid("face", zones=Zones(redact=(LEFT_HALF,)))
    TWO_NETS.run(Frame(picture()), options, {"faces": detector(faces)})
    assert (faces.shown[0] == picture()).all()


def test_having_found_nothing_is_not_the_same_as_not_having_looked() -> None:
    assert Frame(picture()).redactions is None
    frame = ONE_NET.run(Frame(picture()), solid("car"), {"coco": detector(Eye())})
    assert frame.redactions == ()
    assert (frame.pixels == picture()).all()


def test_a_target_whose_network_is_missing_is_refused_and_not_left_out() -> None:
    coco, frame = Eye((CAR,)), Frame(picture())
    with pytest.raises(ModelMissingError, match="face"):
        TWO_NETS.run(frame, solid("car", "face"), {"coco": detector(coco)})
    assert (frame.pixels == picture()).all()


# The detection stage


def test_objects_are_listed_as_the_network_sees_them() -> None:
    frame = Detect("net").run(Frame(picture()), solid("car"), {"net": detector(Eye((CAR, PERSON)))})
    found = {d.label: (d.confidence, d.box) for d in frame.detections or ()}
    assert found == {
        "car": (pytest.approx(0.7), CAR[2]),
        "person": (pytest.approx(0.8), PERSON[2]),
    }
    assert (frame.pixels == picture()).all()


def test_objects_below_the_threshold_are_not_listed() -> None:
    eyes = {"net": detector(Eye((CAR, PERSON)))}
    frame = Detect("net", threshold=0.75).run(Frame(picture()), solid("car"), eyes)
    assert [detection.label for detection in frame.detections or ()] == ["person"]


# Pipelines


BLUR_DETECT = redacting(ONE_NET, Detect("coco"), name="both")


def test_the_detection_stage_sees_the_blurred_picture() -> None:
    coco = Eye((CAR,))
    frame, seconds = run_stages(
        BLUR_DETECT, Frame(picture()), solid("car"), {"coco": detector(coco)}
    )
    assert list(seconds) == ["blur", "detect"]
    assert [bool(black(shown).any()) for shown in coco.shown] == [False, True]
    assert (coco.shown[1] == frame.pixels).all()
    assert frame.redactions
    assert frame.detections


@pytest.mark.parametrize("gone", ["faces", "coco", "objects"])
def test_a_missing_network_is_refused_before_any_stage_runs(gone: str) -> None:
    pipeline = redacting(TWO_NETS, Detect("objects"), name="both")
    eyes = {name: Eye((FACE, CAR)) for name in ("faces", "coco", "objects") if name != gone}
    frame = Frame(picture())
    with pytest.raises(ModelMissingError):
        run_stages(
            pipeline,
            frame,
            solid("face", "car"),
            {name: detector(eye) for name, eye in eyes.items()},
        )
    assert (frame.pixels == picture()).all()
    assert not any(eye.shown for eye in eyes.values())


def test_a_network_that_is_not_needed_may_be_missing() -> None:
    pipeline = redacting(TWO_NETS, Detect("coco"), name="both")
    assert pipeline.models(values_of(solid("car"))) == {"coco"}
    frame, _ = run_stages(pipeline, Frame(picture()), solid("car"), {"coco": detector(Eye((CAR,)))})
    assert frame.redactions


def test_a_network_that_fails_lets_no_frame_out() -> None:
    with pytest.raises(RuntimeError, match="the network failed"):
        run_stages(BLUR_DETECT, Frame(picture()), solid("car"), {"coco": detector(BrokenEye())})


def test_a_job_without_a_target_lets_no_frame_out() -> None:
    with pytest.raises(OptionError, match="no target"):
        run_stages(
            BLUR_DETECT, Frame(picture()), Options((), Style.SOLID), {"coco": detector(Eye())}
        )


# The page that names every pipeline


@pytest.fixture
def known() -> dict[str, Pipeline]:
    return pipelines(load_settings())


def test_the_pipelines_and_their_stages_are_these(known: dict[str, Pipeline]) -> None:
    stages = {name: [stage.name for stage in pipeline.stages] for name, pipeline in known.items()}
    assert stages == {
        "blur_detect": ["blur", "detect"],
        "blur": ["blur"],
        "upscale": ["upscale"],
        "background-remove": ["background-remove"],
        "enhance": ["enhance"],
        "style-comic": ["style-comic"],
        "style-aged": ["style-aged"],
    }
    assert [pipeline.name for pipeline in known.values()] == list(known)
    assert all(pipeline.summary for pipeline in known.values())


def test_the_default_pipeline_and_options_exist(known: dict[str, Pipeline]) -> None:
    settings = load_settings()
    targets = default_chain(settings, known).targets
    options = read_options(targets, {}, default_texts(settings))
    assert options == Options(("face", "license_plate"), Style.MOSAIC)


def test_no_pipeline_lets_a_frame_out_without_having_looked(known: dict[str, Pipeline]) -> None:
    for pipeline in known.values():
        eyes = {model: Eye() for model in pipeline.networks}
        detectors = {model: detector(eye, model) for model, eye in eyes.items()}
        for name, target in pipeline.targets.items():
            frame, _ = run_stages(pipeline, Frame(picture()), solid(name), detectors)
            assert frame.redactions == ()
            assert eyes[target.model].shown
            eyes[target.model].shown.clear()


def test_every_target_is_something_that_its_network_knows(known: dict[str, Pipeline]) -> None:
    for pipeline in known.values():
        for name, target in pipeline.targets.items():
            assert target.labels <= set(find(target.model).labels), name


def test_every_target_has_every_quality(known: dict[str, Pipeline]) -> None:
    for pipeline in known.values():
        for name, target in pipeline.targets.items():
            assert set(target.levels) == set(Quality), name
            for level in target.levels.values():
                assert 0 < level.threshold < 1, name
                assert np.min(level.margin) >= 0, name


def test_cars_are_all_vehicles_of_the_road(known: dict[str, Pipeline]) -> None:
    assert known["blur"].targets["car"].labels >= {"car", "motorcycle", "bus", "truck"}


def test_the_settings_choose_the_networks() -> None:
    settings = load_settings(
        face_model="centerface",
        plate_model="plates.onnx",
        vehicle_model="vehicles.onnx",
        detection_model="objects.pt",
    )
    both = pipelines(settings)["blur_detect"]
    assert both.targets["face"].model == "centerface"
    assert both.targets["car"].model == both.targets["person"].model == "vehicles.onnx"
    assert both.targets["license_plate"].model == "plates.onnx"
    assert both.networks == {"centerface", "plates.onnx", "vehicles.onnx", "objects.pt"}
