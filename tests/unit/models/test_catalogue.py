"""The networks that are known by name, and those that a user names by path."""

import re
from pathlib import Path

import pytest

from blurline.errors import ModelError
from blurline.inference.engine import InputFormat
from blurline.inference.heads import HEADS
from blurline.inference.letterbox import STRIDE
from blurline.models.catalogue import DetectorTask, Model, catalogue, find
from blurline.models.conversion import Converted
from blurline.models.export import Exported
from blurline.models.sources import OwnFile, PackageFile
from blurline.models.wheels import WheelMember
from blurline.settings import load_settings

MODELS = list(catalogue().values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_network_names_one_exact_file(model: Model) -> None:
    match model.source:
        case Exported(weights):
            files = [weights]
        case Converted(text, weights, digest):
            files = [text, weights]
            assert re.fullmatch(r"[0-9a-f]{64}", digest)
        case WheelMember() | PackageFile() as source:
            files = [source]
    for file in files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        if isinstance(file, WheelMember):
            assert re.fullmatch(r"[\w.-]+==[\w.]+", file.wheel)
    assert model.source.path_in(Path("cache")).suffix == ".onnx"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_network_says_how_it_is_read(model: Model) -> None:
    assert model.task.input_size % STRIDE == 0
    assert model.purpose
    assert model.origin
    if isinstance(model.task, DetectorTask):
        assert model.task.head in HEADS
        assert model.labels
        assert len(set(model.labels)) == len(model.labels)
        assert 0 < model.task.iou_threshold < 1
    else:
        assert 2 * model.task.margin < model.task.input_size


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("yunet", "MIT"),
        ("centerface", "MIT"),
        ("platenet", "MIT"),
        ("yolov8n_plate", "AGPL-3.0"),
        ("yolo11n", "AGPL-3.0"),
        ("waifu2x_photo", "MIT"),
        ("realesr_x4", "BSD-3-Clause"),
        ("realesrgan_x4", "BSD-3-Clause"),
        ("u2netp", "Apache-2.0"),
        ("modnet", "Apache-2.0"),
    ],
)
def test_every_network_carries_the_licence_of_its_weights(name: str, licence: str) -> None:
    assert find(name).licence == licence


def test_the_default_networks_are_in_the_catalogue() -> None:
    settings = load_settings()
    chosen = {
        settings.face_model,
        settings.plate_model,
        settings.vehicle_model,
        settings.detection_model,
    }
    assert chosen <= set(catalogue())


def test_the_objects_are_those_of_coco() -> None:
    labels = find("yolo11n").labels
    assert len(labels) == 80
    assert (labels[0], labels[2], labels[79]) == ("person", "car", "toothbrush")


@pytest.mark.parametrize("name", ["yolo12x", "", "weights.bin", "weights.onnx.zip"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        find(name)
    assert all(known in caught.value.message for known in (*catalogue(), ".onnx", ".pt"))


@pytest.mark.parametrize("name", ["weights/plates.onnx", "/srv/plates.pt"])
def test_a_path_is_a_network_of_ones_own(name: str) -> None:
    model = find(name)
    assert (model.name, model.source) == ("plates", OwnFile(Path(name)))
    assert model.task == DetectorTask("yolo", (), input_size=640, iou_threshold=0.7)
    assert model.input_format == InputFormat("rgb", 255.0)
    assert not model.any_size
    assert model.labels == ()


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/plates.onnx").source == OwnFile(tmp_path / "plates.onnx")
