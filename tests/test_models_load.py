"""From a network's name to a detector."""

import base64
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blurline.errors import ModelError
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector, load_detectors
from blurline.settings import load_settings
from tests.networks import file_of

# An ONNX file as Ultralytics exports it by default, with a fixed input of 640 x 640: a max-pooling
# over 32 x 32 and a reshape to (1, 4 + 2, 200), and the class names {0: 'dog', 1: 'cat'}.
FIXED_SIZE = base64.b64decode(
    "CAg6wwEKPQoGaW1hZ2VzEgFwIgdNYXhQb29sKhUKDGtlcm5lbF9zaGFwZUAgQCCgAQcqEAoHc3RyaWRlc0AgQCCgAQcKGA"
    "oBcAoBcxIHb3V0cHV0MCIHUmVzaGFwZRIBZyohCAMQB0IBc0oYAQAAAAAAAAAGAAAAAAAAAMgAAAAAAAAAWiIKBmltYWdl"
    "cxIYChYIARISCgIIAQoCCAMKAwiABQoDCIAFYh4KB291dHB1dDASEwoRCAESDQoCCAEKAggGCgMIyAFCBAoAEA1yHQoFbm"
    "FtZXMSFHswOiAnZG9nJywgMTogJ2NhdCd9"
)


@pytest.fixture
def inference() -> Inference:
    return Inference(load_settings().model_dir, threads=1)


@pytest.fixture
def own(tmp_path: Path) -> Callable[[bytes], str]:
    """The path of an own network with this content."""

    def write(content: bytes) -> str:
        path = tmp_path / "mine.onnx"
        path.write_bytes(content)
        return str(path)

    return write


def test_networks_are_known_by_the_names_that_were_asked_for(inference: Inference) -> None:
    detectors = load_detectors(["yunet", "yolo11n", "yunet"], inference)
    assert list(detectors) == ["yunet", "yolo11n"]
    assert detectors["yunet"].labels == ("face",)
    assert detectors["yolo11n"].name == "yolo11n"


def test_an_own_network_brings_its_class_names(
    own: Callable[[bytes], str], inference: Inference
) -> None:
    path = own(file_of("yolo11n").read_bytes())
    detector = load_detectors([path], inference)[path]
    assert detector.name == "mine"
    assert detector.labels == find("yolo11n").labels


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (640, 640), (64, 64)])
def test_an_own_network_of_fixed_size_sees_pictures_of_every_size(
    size: tuple[int, int], own: Callable[[bytes], str], inference: Inference
) -> None:
    detector = load_detector(find(own(FIXED_SIZE)), inference)
    assert detector.labels == ("dog", "cat")
    black = np.zeros((size[1], size[0], 3), np.uint8)
    assert detector.detect(black, 0.5) == ()


def test_an_own_network_without_class_names_is_refused(
    own: Callable[[bytes], str], inference: Inference
) -> None:
    with pytest.raises(ModelError, match=r"mine\.onnx does not carry its class names"):
        load_detector(find(own(file_of("yunet").read_bytes())), inference)


@pytest.mark.parametrize("ending", ["onnx", "pt"])
def test_an_own_network_that_is_not_there_is_named(
    ending: str, tmp_path: Path, inference: Inference
) -> None:
    with pytest.raises(ModelError, match=rf"no file mine\.{ending}$"):
        load_detector(find(str(tmp_path / f"mine.{ending}")), inference)


def test_a_network_that_was_not_pulled_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"yunet .*blurline models pull"):
        load_detector(find("yunet"), Inference(tmp_path, threads=1))


def test_a_network_that_was_changed_is_never_loaded(tmp_path: Path) -> None:
    cached = Path(shutil.copy(file_of("yunet"), tmp_path))
    assert load_detector(find("yunet"), Inference(tmp_path, threads=1)).labels == ("face",)
    with cached.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="yunet"):
        load_detector(find("yunet"), Inference(tmp_path, threads=1))


@pytest.mark.parametrize("missing", ["centerface", "no-such-network", "/nowhere/mine.onnx"])
def test_a_missing_network_is_reported_and_the_others_are_loaded(
    missing: str, tmp_path: Path
) -> None:
    shutil.copy(file_of("yunet"), tmp_path)
    inference = Inference(tmp_path, threads=1)
    reported: list[tuple[str, str]] = []
    detectors = load_detectors(
        [missing, "yunet"], inference, lambda name, error: reported.append((name, error.code))
    )
    assert list(detectors) == ["yunet"]
    assert reported == [(missing, "bad_model")]


@pytest.mark.parametrize("missing", ["centerface", "no-such-network", "/nowhere/mine.onnx"])
def test_a_missing_network_is_an_error_where_nobody_listens(missing: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_detectors([missing], Inference(tmp_path, threads=1))


def test_an_own_network_that_detects_nothing_like_yolo_is_refused_at_once(
    own: Callable[[bytes], str], inference: Inference
) -> None:
    path = own(file_of("yunet").read_bytes())
    with pytest.raises(ModelError, match="does not answer as a yolo network does"):
        load_detector(replace(find(path), labels=("face",)), inference)
