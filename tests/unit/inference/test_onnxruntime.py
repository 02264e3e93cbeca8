"""Networks run by ONNX Runtime; most of this runs only where it and `onnx` are installed.

The build for CPUs does: all but the device is the same.
"""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blurline.errors import ModelError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.inference.batching import Batcher
from blurline.inference.detector import Detection, Detector
from blurline.inference.engine import Engine, InputFormat, Outputs
from blurline.inference.heads import HEADS
from blurline.inference.onnxruntime import OnnxRuntimeNetwork, _providers, cuda_is_here
from blurline.inference.openvino import OpenVinoEngine
from blurline.models.catalogue import DetectorTask, find
from blurline.models.load import Inference, load_detector
from blurline.settings import load_settings
from tests.networks import broken, file_of, own_network_file

installed = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")),
    reason="the extra `gpu` is not installed, nor onnx and onnxruntime",
)
with_openvino = pytest.mark.parametrize("name", ["centerface", "platenet", "yunet", "yolo11n"])


def network_of(name: str, **changes: Any) -> OnnxRuntimeNetwork:
    model = find(name)
    options: dict[str, Any] = {
        "device": "cpu",
        "half": False,
        "max_batch_size": 8,
        "cache_dir": Path("nowhere"),
        "any_size": True,
        "outputs": model.outputs,
        "input_format": model.input_format,
        **changes,
    }
    return OnnxRuntimeNetwork(file_of(name), options.pop("input_format"), **options)


def openvino_of(name: str) -> OpenVinoEngine:
    model = find(name)
    return OpenVinoEngine(
        file_of(name),
        model.input_format,
        threads=1,
        precision="f32",
        any_size=True,
        outputs=model.outputs,
    )


class Alone:
    """A network without a batcher, for calls that come one after the other."""

    def __init__(self, network: OnnxRuntimeNetwork) -> None:
        self.labels = network.labels
        self.fixed_size = network.fixed_size
        self.precision = network.precision
        self._network = network

    def infer(self, pixels: Pixels) -> Outputs:
        return self._network.run(pixels[None])


def detections(name: str, engine: Engine, photo: bytes) -> tuple[Detection, ...]:
    """What the network finds in the photo, with the labels that it has in the catalogue."""
    model = find(name)
    task = model.task
    assert isinstance(task, DetectorTask)
    detector = Detector(
        model.name, engine, HEADS[task.head], task.labels, task.input_size, task.iou_threshold
    )
    pixels = decode(photo, read_header(photo, Limits(10**8, 10**8)))
    return detector.detect(pixels, 0.3)


def noise(seed: int, width: int = 96, height: int = 64) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def own_file(path: Path, nodes: list[Any], shape: list[Any], *, names: str = "") -> Path:
    """A network of these nodes, from `images` to `output`."""
    from onnx import TensorProto, helper, save

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "own", [images], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names:
        helper.set_model_props(model, {"names": names})
    save(model, path)
    return path


def constant(name: str, values: "np.ndarray[Any, Any]") -> Any:
    from onnx import helper, numpy_helper

    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))


def own_network(path: Path, **changes: Any) -> OnnxRuntimeNetwork:
    options: dict[str, Any] = {
        "device": "cpu",
        "half": False,
        "max_batch_size": 8,
        "cache_dir": path.parent,
        **changes,
    }
    return OnnxRuntimeNetwork(path, InputFormat(), **options)


def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"mine\.onnx on cuda needs .*blurline\[gpu\]"):
        own_network(tmp_path / "mine.onnx", device="cuda")


@pytest.mark.skipif(cuda_is_here(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there_is_an_error_and_no_cpu_takes_its_place(device: Any) -> None:
    with pytest.raises(ModelError, match=rf"DEVICE={device}|blurline\[gpu\]"):
        load_detector(find("platenet"), Inference(load_settings().model_dir, 1, device=device))


@pytest.mark.skipif(cuda_is_here(), reason="there is a CUDA device")
def test_without_a_device_networks_run_by_openvino() -> None:
    detector = load_detector(find("platenet"), Inference(load_settings().model_dir, 1))
    assert isinstance(detector.engine, OpenVinoEngine)


LOADS = """
import sys
from pathlib import Path
from blurline.inference.engine import InputFormat
from blurline.inference.onnxruntime import OnnxRuntimeNetwork
OnnxRuntimeNetwork(
    Path(sys.argv[1]), InputFormat(), device="cpu", half=False, max_batch_size=1,
    cache_dir=Path("nowhere"),
)
"""


@pytest.mark.process
@installed
def test_onnx_runtime_keeps_no_mark_of_this_machine_to_report_by(tmp_path: Path) -> None:
    # It reports nothing where it believes that it is tested.
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    command = [sys.executable, "-c", LOADS, str(file_of("yunet"))]
    subprocess.run(command, env={**environment, "HOME": str(tmp_path)}, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []


@installed
@with_openvino
def test_outputs_are_those_of_openvino(name: str) -> None:
    pixels = noise(1)
    here, there = network_of(name).run(pixels[None]), openvino_of(name).infer(pixels)
    assert list(here) == list(there)
    for output, values in there.items():
        assert here[output] == pytest.approx(values, rel=1e-2, abs=1e-2)


@installed
@with_openvino
def test_in_half_precision_the_same_is_found(name: str, bus: bytes, zidane: bytes) -> None:
    half = Alone(network_of(name, half=True))
    for photo in (bus, zidane):
        here = detections(name, half, photo)
        there = detections(name, openvino_of(name), photo)
        assert [one.label for one in here] == [one.label for one in there]
        for one, other in zip(here, there, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=0.02)
            assert one.box == pytest.approx(other.box, abs=3)


@installed
@pytest.mark.parametrize("name", ["centerface", "platenet", "yolo11n"])
def test_pictures_get_together_what_each_gets_alone(name: str) -> None:
    network = network_of(name)
    assert network.largest_batch == 8
    pictures = [noise(seed) for seed in range(5)]
    together = network.run(np.stack(pictures))
    for index, pixels in enumerate(pictures):
        for output, values in network.run(pixels[None]).items():
            assert together[output][index : index + 1] == pytest.approx(values, abs=1e-2)


@installed
def test_pictures_of_many_threads_are_run_in_batches() -> None:
    network = network_of("platenet")
    engine = Batcher(network, max_size=4, max_delay=60)
    sizes = [(96, 64), (64, 96)] * 4
    pictures = [noise(seed, *size) for seed, size in enumerate(sizes)]
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(engine.infer, pictures))
    finally:
        engine.close()
    for pixels, answer in zip(pictures, answers, strict=True):
        for output, values in network.run(pixels[None]).items():
            assert answer[output] == pytest.approx(values, abs=1e-2)


@installed
@pytest.mark.parametrize("half", [False, True])
def test_bytes_become_the_colours_and_values_that_the_network_wants(
    half: bool, tmp_path: Path
) -> None:
    from onnx import helper

    nodes = [helper.make_node("Identity", ["images"], ["output"])]
    path = own_file(tmp_path / "mine.onnx", nodes, ["n", 3, "h", "w"])
    pixels = noise(3)
    for colours, divisor in (("rgb", 255.0), ("bgr", 1.0), ("rgb", 1.0), ("bgr", 2.0)):
        network = OnnxRuntimeNetwork(
            path,
            InputFormat(colours, divisor),  # type: ignore[arg-type]
            device="cpu",
            half=half,
            max_batch_size=2,
            cache_dir=tmp_path,
        )
        planes = pixels.transpose(2, 0, 1)[:: 1 if colours == "rgb" else -1]
        expected = planes.astype(np.float32) / divisor
        assert network.run(pixels[None])["output"][0] == pytest.approx(expected, rel=1e-3)


@installed
def test_only_the_outputs_that_are_read_are_computed() -> None:
    import onnx

    from blurline.inference import graph

    model = onnx.load(file_of("centerface"))
    kept = graph.freed(model, any_size=True, outputs=("538", "537"))
    assert [output.name for output in kept.graph.output] == ["538", "537"]
    assert len(kept.graph.node) < len(model.graph.node)
    assert not {"539", "540"} & {name for node in kept.graph.node for name in node.output}
    read = {name for node in kept.graph.node for name in node.input}
    assert {weight.name for weight in kept.graph.initializer} <= read
    with pytest.raises(ValueError, match="999"):
        graph.freed(model, any_size=True, outputs=("999",))


@installed
def test_a_file_of_one_size_keeps_it_and_its_class_names(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Identity", ["images"], ["output"])]
    names = "{0: 'dog', 1: 'cat'}"
    path = own_file(tmp_path / "mine.onnx", nodes, [1, 3, 64, 96], names=names)
    network = own_network(path)
    assert network.fixed_size == (64, 96)
    assert network.labels == ("dog", "cat")
    assert network.largest_batch == 8
    assert own_network(path, any_size=True).fixed_size is None


MIXING = {
    "takes only one": ["flat", "Reshape"],
    "folds two into one": ["open", "Reshape"],
    "adds their mean": ["mean", "Add"],
    "turns them round": ["last first", "Gather"],
}


@installed
@pytest.mark.parametrize("way", MIXING)
def test_a_file_that_mixes_pictures_runs_one_at_a_time(way: str, tmp_path: Path) -> None:
    from onnx import helper

    source, last = MIXING[way]
    sources = {
        "flat": constant("flat", np.array([1, 18432])),
        "open": constant("open", np.array([1, -1])),
        "mean": helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0]),
        "last first": constant("last first", np.array([-1])),
    }
    nodes = [sources[source], helper.make_node(last, ["images", source], ["output"])]
    network = own_network(own_file(tmp_path / "mine.onnx", nodes, [1, 3, 64, 96]))
    assert network.largest_batch == 1
    assert len(network.run(noise(1)[None])["output"]) == 1


@installed
def test_a_batch_that_there_is_no_room_for_is_told_from_other_failures(tmp_path: Path) -> None:
    """The network wants (width / 96) ** 20 floats, and a picture of 64 rows."""
    from onnx import helper

    nodes = [
        constant("axis", np.array([3])),
        constant("unit", np.array([96])),
        constant("power", np.array([20])),
        constant("rows", np.zeros((1, 3, 64, 1), np.float32)),
        helper.make_node("Shape", ["images"], ["sides"]),
        helper.make_node("Gather", ["sides", "axis"], ["width"]),
        helper.make_node("Div", ["width", "unit"], ["units"]),
        helper.make_node("Pow", ["units", "power"], ["count"]),
        helper.make_node("Add", ["images", "rows"], ["sum"]),
        helper.make_node("ReduceMax", ["sum"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "count"], ["many"]),
        helper.make_node("ReduceMax", ["many"], ["output"]),
    ]
    network = own_network(own_file(tmp_path / "mine.onnx", nodes, ["n", 3, "h", "w"]))
    with pytest.raises(MemoryError):
        network.run(noise(1, 96 * 5, 64)[None])
    with pytest.raises(RuntimeError):
        network.run(noise(1, 96, 32)[None])
    assert network.run(noise(1)[None])["output"].shape == (1,)


@installed
def test_a_network_that_can_not_run_is_refused_by_name(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        constant("odd", np.zeros((1, 3, 5, 5), np.float32)),
        helper.make_node("Add", ["images", "odd"], ["output"]),
    ]
    path = own_file(tmp_path / "mine.onnx", nodes, ["n", 3, "h", "w"])
    with pytest.raises(ModelError, match=r"mine\.onnx does not run on cpu"):
        own_network(path)


@installed
@broken
def test_a_file_that_is_no_network_is_refused_by_name(
    content: bytes | None, tmp_path: Path
) -> None:
    path = own_network_file(tmp_path, content)
    with pytest.raises(ModelError, match=r"mine\.onnx"):
        own_network(path)


@installed
def test_a_network_cut_short_is_refused(tmp_path: Path) -> None:
    whole = file_of("yunet").read_bytes()
    path = own_network_file(tmp_path, whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"mine\.onnx"):
        own_network(path)


@installed
def test_tensorrt_is_told_all_sizes_and_batches_beforehand(tmp_path: Path) -> None:
    (first, options), (second, _) = _providers("tensorrt", True, 8, None, tmp_path / "new")
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_profile_min_shapes"].startswith("pixels:1x32x32x3,")
    assert options["trt_profile_opt_shapes"].startswith("pixels:8x384x640x3,")
    assert options["trt_profile_max_shapes"].startswith("pixels:8x1280x1280x3,")
    assert Path(options["trt_engine_cache_path"]).is_dir()
    (_, options), _ = _providers("tensorrt", True, 4, (640, 480), tmp_path)
    for shapes, pictures in (("min", 1), ("opt", 4), ("max", 4)):
        assert f"pixels:{pictures}x640x480x3," in options[f"trt_profile_{shapes}_shapes"]


@installed
def test_class_names_come_from_the_file() -> None:
    assert network_of("yolo11n").labels == find("yolo11n").labels
    assert network_of("centerface").labels == ()
