"""From a network's name to a detector."""

import base64
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blurline.errors import ModelError, ModelMissingError
from blurline.inference.mapper import mapper_of
from blurline.models.catalogue import DetectorTask, find
from blurline.models.load import (
    Inference,
    load_detector,
    load_detectors,
    load_mapper,
    load_networks,
)
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
    model = find(own(file_of("yunet").read_bytes()))
    assert isinstance(model.task, DetectorTask)
    with pytest.raises(ModelError, match="does not answer as a yolo network does"):
        load_detector(replace(model, task=replace(model.task, labels=("face",))), inference)


def test_a_mapper_is_loaded_when_it_is_first_asked_for(inference: Inference) -> None:
    networks = load_networks(["yunet", "u2netp"], inference)
    assert list(networks) == ["yunet", "u2netp"]
    assert len(networks) == 2
    assert "u2netp" in networks
    assert networks.loaded == {"yunet"}
    mapper = mapper_of(networks, "u2netp")
    assert networks["u2netp"] is mapper
    assert networks.loaded == {"yunet", "u2netp"}
    assert list(networks.detectors) == ["yunet"]


def test_what_a_mapper_computes_in_is_known_before_it_is_loaded(inference: Inference) -> None:
    networks = load_networks(["u2netp"], inference)
    told = networks.precisions["u2netp"]
    assert not networks.loaded
    assert mapper_of(networks, "u2netp").engine.precision == told


def test_threads_that_ask_at_once_share_one_network(inference: Inference) -> None:
    networks = load_networks(["realesr_x2"], inference)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(networks.__getitem__, ["realesr_x2"] * 8))
    assert all(one is found[0] for one in found)


def test_a_mapper_whose_file_is_missing_is_known_at_once(tmp_path: Path) -> None:
    shutil.copy(file_of("u2netp"), tmp_path)
    inference, reported = Inference(tmp_path, threads=1), list[str]()
    names = ["modnet", "yunet", "u2netp"]
    networks = load_networks(names, inference, lambda name, _: reported.append(name))
    assert reported == ["modnet", "yunet"]
    assert list(networks) == ["u2netp"]
    with pytest.raises(ModelMissingError, match="modnet"):
        mapper_of(networks, "modnet")
    with pytest.raises(KeyError):
        networks["modnet"]
    with pytest.raises(ModelError, match="modnet"):
        load_networks(["modnet"], inference)


def test_a_network_does_only_what_it_is_for(inference: Inference) -> None:
    networks = load_networks(["yunet"], inference)
    with pytest.raises(ModelError, match="yunet is no network that makes pictures"):
        mapper_of(networks, "yunet")
    with pytest.raises(ModelError, match="yunet is no network that makes pictures"):
        load_mapper(find("yunet"), inference)
    with pytest.raises(ModelError, match="u2netp is no network that finds things"):
        load_detector(find("u2netp"), inference)


def test_a_process_that_runs_no_network_holds_no_engine() -> None:
    program = (
        "import sys\n"
        "from blurline.models.load import Inference, load_networks\n"
        "from blurline.settings import load_settings\n"
        "inference = Inference(load_settings().model_dir, threads=1)\n"
        "networks = load_networks(['modnet', 'u2netp'], inference)\n"
        "assert len(networks) == 2\n"
        "print([name for name in ('openvino', 'onnxruntime', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
