"""Networks run by OpenVINO."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from blurline.errors import ModelError
from blurline.imaging.decode import Pixels
from blurline.inference.engine import InputFormat, Precision
from blurline.inference.openvino import CORE, MOST_SIZES, OpenVinoEngine
from blurline.models.catalogue import find
from tests.networks import broken, file_of, own_network_file
from tests.parts import drawing


@pytest.fixture(scope="module")
def objects() -> OpenVinoEngine:
    return OpenVinoEngine(file_of("yolo11n"), InputFormat(), threads=2, precision="f32")


@pytest.fixture(scope="module")
def faces() -> OpenVinoEngine:
    return OpenVinoEngine(file_of("yunet"), InputFormat("bgr", 1), threads=2, precision="f32")


def pictures() -> list[Pixels]:
    """Pictures that all differ, in two sizes."""
    chance = np.random.default_rng(5)
    sizes = [(64, 96), (96, 64)]
    return [chance.integers(0, 256, (*sizes[i % 2], 3), dtype=np.uint8) for i in range(24)]


def test_class_names_come_from_the_file(objects: OpenVinoEngine) -> None:
    assert objects.labels == find("yolo11n").labels


def test_a_file_without_class_names_has_none(faces: OpenVinoEngine) -> None:
    assert faces.labels == ()


def test_outputs_keep_the_names_of_the_file(faces: OpenVinoEngine) -> None:
    names = {f"{what}_{stride}" for what in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
    assert set(faces.infer(drawing(96, 64))) == names


def test_outputs_follow_the_size_of_the_input(objects: OpenVinoEngine) -> None:
    for width, height in ((96, 64), (64, 96)):
        anchors = sum((width // stride) * (height // stride) for stride in (8, 16, 32))
        (output,) = objects.infer(drawing(width, height)).values()
        assert output.shape == (1, 84, anchors)


def test_the_order_of_colours_is_the_networks_own(faces: OpenVinoEngine) -> None:
    swapped = OpenVinoEngine(file_of("yunet"), InputFormat("rgb", 1), threads=1, precision="f32")
    pixels = pictures()[0]
    here, there = faces.infer(pixels), swapped.infer(np.ascontiguousarray(pixels[..., ::-1]))
    for name, values in here.items():
        assert there[name] == pytest.approx(values, abs=1e-4)


def test_values_are_divided_as_the_network_wants(faces: OpenVinoEngine) -> None:
    halved = OpenVinoEngine(file_of("yunet"), InputFormat("bgr", 2), threads=1, precision="f32")
    even = pictures()[0] & 0xFE
    here, there = faces.infer(even // 2), halved.infer(even)
    for name, values in here.items():
        assert there[name] == pytest.approx(values, abs=1e-4)


def test_means_are_taken_before_values_are_divided(faces: OpenVinoEngine) -> None:
    """By colour, in the network's own order."""
    own = InputFormat("bgr", mean=(10.0, 20.0, 30.0), divisor=(2.0, 4.0, 1.0))
    engine = OpenVinoEngine(file_of("yunet"), own, threads=1, precision="f32")
    pixels = pictures()[0]
    here = engine.infer(pixels * np.array([1, 4, 2], np.float32) + np.array([30, 20, 10]))
    for name, values in faces.infer(pixels).items():
        assert here[name] == pytest.approx(values, abs=1e-4)


def test_many_threads_get_the_answers_that_one_gets(objects: OpenVinoEngine) -> None:
    def answer(pixels: Pixels) -> np.ndarray:
        return objects.infer(pixels)["output0"].copy()

    alone = [answer(pixels) for pixels in pictures()]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(answer, pictures()))
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=1e-3)


def test_an_answer_stays_the_same_after_more_sizes_than_are_kept(faces: OpenVinoEngine) -> None:
    first = drawing(32, 32)
    answer = faces.infer(first)["cls_8"].copy()
    for i in range(MOST_SIZES):
        faces.infer(drawing(64 + 32 * i, 32))
    assert faces.infer(first)["cls_8"] == pytest.approx(answer, abs=1e-4)


@pytest.mark.parametrize("wanted", ["auto", "bf16", "f32"])
def test_what_a_network_says_that_it_computes_in_is_what_openvino_does(
    wanted: Precision, caplog: pytest.LogCaptureFixture
) -> None:
    engine = OpenVinoEngine(file_of("yunet"), InputFormat("bgr", 1), threads=1, precision=wanted)
    options = {"INFERENCE_PRECISION_HINT": wanted} if wanted != "auto" else {}
    options |= {"EXECUTION_MODE_HINT": "PERFORMANCE"}
    compiled = CORE.compile_model(CORE.read_model(file_of("yunet")), "CPU", options)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    assert engine.precision == used
    in_vain = wanted == "bf16" and used == "f32"
    assert ("this CPU has none" in caplog.text) is in_vain


@broken
def test_a_file_that_is_no_network_is_refused_by_name(
    content: bytes | None, tmp_path: Path
) -> None:
    path = own_network_file(tmp_path, content)
    with pytest.raises(ModelError, match=r"mine\.onnx"):
        OpenVinoEngine(path, InputFormat(), threads=1)


def test_a_network_cut_short_is_refused(tmp_path: Path) -> None:
    whole = file_of("yunet").read_bytes()
    path = own_network_file(tmp_path, whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"mine\.onnx"):
        OpenVinoEngine(path, InputFormat(), threads=1)
