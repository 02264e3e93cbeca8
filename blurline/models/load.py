"""From a network's name to a detector that is ready to run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import cv2
from threadpoolctl import threadpool_limits

from blurline import metrics
from blurline.errors import ModelError
from blurline.inference.batching import Batcher
from blurline.inference.detector import Detector
from blurline.inference.engine import Engine, InputFormat, Network
from blurline.inference.heads import HEADS
from blurline.inference.onnxruntime import OnnxRuntimeNetwork, cuda_is_here
from blurline.inference.openvino import OpenVinoEngine, Precision
from blurline.inference.torch import TorchNetwork
from blurline.models.catalogue import Model, find
from blurline.models.sources import OwnFile
from blurline.models.wheels import sha256


@dataclass(frozen=True, slots=True)
class Inference:
    """How networks are run.

    Attributes:
        model_dir: the cache of their files.
        threads: CPU threads of each network that runs on the CPU.
        precision: arithmetic on the CPU; a GPU computes in half precision.
        device: `auto` is CUDA for networks whose extra is installed and sees a device. `tensorrt`
            compiles ONNX networks; PyTorch then runs its own on CUDA.
        max_batch_size: most pictures that a network on a GPU computes together.
        max_queue_delay: seconds for which a picture waits for others there.
    """

    model_dir: Path
    threads: int
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    max_batch_size: int = 8
    max_queue_delay: float = 0.005


def load_detectors(
    names: Iterable[str],
    inference: Inference,
    missing: Callable[[str, ModelError], None] | None = None,
) -> dict[str, Detector]:
    """A detector for each name.

    One that can't be loaded is reported to `missing` and left out, so that what needs it is
    refused and all else still runs; without `missing` its error is raised.
    """
    # Pictures already run in parallel; threads of OpenCV's and numpy's own would only take cores
    # from them, those of numpy's BLAS even while they wait.
    cv2.setNumThreads(1)
    threadpool_limits(1, "blas")
    detectors = {}
    for name in dict.fromkeys(names):
        try:
            detectors[name] = load_detector(find(name), inference)
        except ModelError as error:
            if missing is None:
                raise
            missing(name, error)
    return detectors


def load_detector(model: Model, inference: Inference) -> Detector:
    """The network, compiled and ready.

    Raises:
        ModelError: its file is not in the cache, not unchanged, or not readable, or the device
            that the settings name is not there.
    """
    started = perf_counter()
    path = _file(model, inference.model_dir)
    engine = _engine(model, path, inference)
    labels = model.labels or engine.labels
    if not labels:
        raise ModelError(f"{path.name} does not carry its class names")
    detector = Detector(
        name=model.name,
        sha256=sha256(path.read_bytes()),
        engine=engine,
        head=HEADS[model.head],
        labels=labels,
        input_size=model.input_size,
        iou_threshold=model.iou_threshold,
    )
    try:
        detector.warm_up()
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise ModelError(f"{path.name} does not answer as a {model.head} network does") from error
    metrics.MODEL_INFO.labels(detector.name, detector.sha256[:12]).set(1)
    metrics.MODEL_LOAD_SECONDS.labels(detector.name).set(perf_counter() - started)
    return detector


def _engine(model: Model, path: Path, inference: Inference) -> Engine:
    if path.suffix == ".pt":
        return _torch_engine(model.name, path, inference)
    device = inference.device
    if device == "auto":
        device = "cuda" if cuda_is_here() else "cpu"
    input_format = InputFormat(model.colours, model.divisor)
    any_size = not isinstance(model.source, OwnFile)
    if device == "cpu":
        return OpenVinoEngine(
            path,
            input_format,
            threads=inference.threads,
            precision=inference.precision,
            any_size=any_size,
            outputs=model.outputs,
        )
    network = OnnxRuntimeNetwork(
        path,
        input_format,
        device=device,
        half=True,
        max_batch_size=inference.max_batch_size,
        cache_dir=inference.model_dir / "tensorrt",
        any_size=any_size,
        outputs=model.outputs,
    )
    return _batched(model.name, network, inference.max_batch_size, inference)


def _torch_engine(name: str, path: Path, inference: Inference) -> Engine:
    """A batcher even on a CPU, where a batch gains nothing, since calls must not overlap."""
    device = "cuda" if inference.device == "tensorrt" else inference.device
    network = TorchNetwork(path, device=device)
    max_size = inference.max_batch_size if network.on_gpu else 1
    return _batched(name, network, max_size, inference)


def _batched(name: str, network: Network, max_size: int, inference: Inference) -> Batcher:
    return Batcher(network, max_size=max_size, max_delay=inference.max_queue_delay, name=name)


def _file(model: Model, folder: Path) -> Path:
    if isinstance(model.source, OwnFile):
        return model.source.pull(folder)
    if not model.source.is_here(folder):
        raise ModelError(f"the network {model.name} is not in {folder}: run `blurline models pull`")
    return model.source.path_in(folder)
