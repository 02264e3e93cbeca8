"""Networks run by PyTorch; most of this runs only where the extra `torch` is installed."""

import importlib.util
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from blurline.errors import ModelError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.inference.batching import Batcher
from blurline.inference.detector import Detector
from blurline.inference.torch import TorchNetwork
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector
from blurline.models.wheels import WheelMember
from tests.parts import drawing

PLATES = WheelMember(
    "fastanpr==0.1.13",
    "fastanpr/best.pt",
    "58f6ad86f35f09574e13484ead3346ae8cc052facae150041ed4a894ac2f3828",
)

# ultralytics 8.4.190 with torch 2.13.0: YOLO("best.pt").predict(photo, conf=0.03, iou=0.7,
# imgsz=640, device="cpu"). No plate is in these photos, so the network is not sure of any.
ULTRALYTICS = {
    "bus": [
        (0.0935, (388.2, 659.3, 427.4, 696.1)),
        (0.0444, (375.8, 649.1, 430.6, 700.1)),
        (0.0406, (398.0, 663.0, 427.5, 692.2)),
    ],
    "zidane": [(0.0817, (398.3, 538.2, 456.3, 624.1))],
}

installed = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("torch", "ultralytics")),
    reason="the extra `torch` is not installed",
)
# Other packages' own warnings are none of ours.
third_party = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ultralytics asks nobody, installs nothing, and keeps its settings in a folder of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_OFFLINE", "1")
        patch.setenv("YOLO_AUTOINSTALL", "0")
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("ultralytics")))
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PLATES.pull(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def network(offline: None, weights: Path) -> TorchNetwork:
    return TorchNetwork(weights, device="cpu")


@pytest.fixture(scope="module")
def plates(offline: None, weights: Path) -> Detector:
    return load_detector(find(str(weights)), Inference(weights.parent, threads=1, device="cpu"))


def noise(width: int, height: int, seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"mine\.pt needs .*blurline\[torch\]"):
        TorchNetwork(tmp_path / "mine.pt")


@installed
@third_party
def test_class_names_come_from_the_file(plates: Detector) -> None:
    assert plates.labels == ("License_Plate",)


@installed
@third_party
@pytest.mark.parametrize("photo", ULTRALYTICS)
def test_boxes_are_those_that_ultralytics_finds(
    photo: str, plates: Detector, bus: bytes, zidane: bytes
) -> None:
    data = {"bus": bus, "zidane": zidane}[photo]
    found = plates.detect(decode(data, read_header(data, Limits(10**8, 10**8))), 0.03)
    expected = ULTRALYTICS[photo]
    assert [d.confidence for d in found] == pytest.approx([c for c, _ in expected], abs=0.005)
    for detection, (_, box) in zip(found, expected, strict=True):
        assert detection.box == pytest.approx(box, abs=2)


@installed
@third_party
def test_many_threads_get_the_answers_that_one_gets(plates: Detector) -> None:
    sizes = [(320, 192), (192, 320), (320, 320), (256, 64)] * 3
    pictures = [drawing(width, height) for width, height in sizes]

    def answer(pixels: np.ndarray) -> np.ndarray:
        return plates.engine.infer(pixels)["output0"]

    alone = [answer(pixels) for pixels in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(answer, pictures))
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=1e-3)


@installed
@third_party
def test_pictures_get_together_what_each_gets_alone(network: TorchNetwork) -> None:
    pictures = np.stack([noise(320, 192, seed) for seed in range(5)])
    alone = [network.run(pictures[index : index + 1])["output0"] for index in range(5)]
    assert network.run(pictures)["output0"] == pytest.approx(np.concatenate(alone), abs=1e-2)


@installed
@third_party
def test_pictures_of_many_threads_are_run_in_batches(network: TorchNetwork) -> None:
    engine = Batcher(network, max_size=4, max_delay=60)
    pictures = [noise(320, 192, seed) for seed in range(8)]
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(engine.infer, pictures))
    finally:
        engine.close()
    for pixels, answer in zip(pictures, answers, strict=True):
        alone = network.run(pixels[None])["output0"]
        assert answer["output0"] == pytest.approx(alone, abs=1e-2)


@installed
@third_party
def test_a_batch_that_torch_has_no_room_for_is_told_from_other_failures(
    network: TorchNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(tensor: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network, "_network", full)
    with pytest.raises(MemoryError):
        network.run(drawing(64, 64)[None])


@installed
@third_party
def test_a_file_that_is_no_network_is_refused_by_name(offline: None, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"no network at all")
    with pytest.raises(ModelError, match=r"mine\.pt"):
        TorchNetwork(path, device="cpu")


@installed
@third_party
def test_cuda_is_refused_where_there_is_none(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="CUDA"):
        TorchNetwork(tmp_path / "mine.pt", device="cuda")
