"""From a network's name to a detector or a mapper that is ready to run.

Engines are imported where one is made: a process that runs no network holds none of them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from blurline.inference.engine import Arithmetic, Engine, Network, Precision
from blurline.inference.heads import HEADS
from blurline.inference.mapper import Mapper
from blurline.models.catalogue import DetectorTask, MapperTask, Model, catalogue, find
from blurline.models.sources import OwnFile
from blurline.models.wheels import sha256

MAPPER_SIZES = 2
"""Input sizes that a mapper is kept compiled for. Its inputs and outputs are large, and most of the
tiles of a picture have one size."""


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
    task = model.task
    if not isinstance(task, DetectorTask):
        raise ModelError(f"{model.name} is no network that finds things")
    started = perf_counter()
    path = _file(model, inference.model_dir)
    engine = _engine(model, path, inference)
    labels = task.labels or engine.labels
    if not labels:
        raise ModelError(f"{path.name} does not carry its class names")
    detector = Detector(
        name=model.name,
        sha256=sha256(path.read_bytes()),
        engine=engine,
        head=HEADS[task.head],
        labels=labels,
        input_size=task.input_size,
        iou_threshold=task.iou_threshold,
    )
    try:
        detector.warm_up()
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise ModelError(f"{path.name} does not answer as a {task.head} network does") from error
    _tell(detector, started)
    return detector


def load_mapper(model: Model, inference: Inference) -> Mapper:
    """The network, read but not yet compiled for the sizes that it will meet.

    Raises:
        ModelError: see `load_detector`.
    """
    task = model.task
    if not isinstance(task, MapperTask):
        raise ModelError(f"{model.name} is no network that makes pictures or masks")
    started = perf_counter()
    path = _file(model, inference.model_dir)
    mapper = Mapper(
        name=model.name,
        engine=_engine(model, path, inference),
        input_size=task.input_size,
        scale=task.scale,
        margin=task.margin,
        sha256=sha256(path.read_bytes()),
    )
    _tell(mapper, started)
    return mapper


class LazyNetworks(Mapping[str, Detector | Mapper]):
    """Networks by name: detectors, and mappers that are loaded when they are first asked for.

    A mapper is among them if its file is there, so that what needs a missing one can be refused at
    once, while a process holds none that it never runs. Several threads may ask.
    """

    def __init__(
        self, detectors: Mapping[str, Detector], mappers: Mapping[str, Model], inference: Inference
    ) -> None:
        """Take over detectors that are loaded, and mappers whose files are there."""
        self.detectors = detectors
        self._models = mappers
        self._inference = inference
        self._mappers: dict[str, Mapper] = {}
        self._locks = {name: threading.Lock() for name in mappers}

    def __getitem__(self, name: str) -> Detector | Mapper:
        """The network, loaded if it was not yet.

        Raises:
            KeyError: it is not there.
            ModelError: it can't be loaded all the same.
        """
        if name in self.detectors:
            return self.detectors[name]
        with self._locks[name]:
            if name not in self._mappers:
                self._mappers[name] = load_mapper(self._models[name], self._inference)
            return self._mappers[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.detectors
        yield from self._models

    def __len__(self) -> int:
        return len(self.detectors) + len(self._models)

    def __contains__(self, name: object) -> bool:
        """Whether the network is there. Nothing is loaded."""
        return name in self.detectors or name in self._models

    @property
    def loaded(self) -> frozenset[str]:
        """Names of those that the process holds by now."""
        return frozenset((*self.detectors, *self._mappers))

    @property
    def precisions(self) -> dict[str, Arithmetic]:
        """In what each computes, or will once it is loaded."""
        found = {name: detector.engine.precision for name, detector in self.detectors.items()}
        if self._models:
            found |= dict.fromkeys(self._models, _arithmetic(self._inference))
        return found


def load_networks(
    names: Iterable[str],
    inference: Inference,
    missing: Callable[[str, ModelError], None] | None = None,
) -> LazyNetworks:
    """The detectors among these networks, and the mappers for when they are needed.

    For `missing` see `load_detectors`.

    Raises:
        ModelError: one can't be loaded, or its file is not there, and nobody listens.
    """
    mappers, others = dict[str, Model](), list[str]()
    for name in dict.fromkeys(names):
        model = catalogue().get(name)
        if model is None or not isinstance(model.task, MapperTask):
            others.append(name)
            continue
        try:
            _file(model, inference.model_dir)
        except ModelError as error:
            if missing is None:
                raise
            missing(name, error)
        else:
            mappers[name] = model
    return LazyNetworks(load_detectors(others, inference, missing), mappers, inference)


def _tell(network: Detector | Mapper, started: float) -> None:
    metrics.MODEL_INFO.labels(network.name, network.sha256[:12]).set(1)
    metrics.MODEL_LOAD_SECONDS.labels(network.name).set(perf_counter() - started)


def _engine(model: Model, path: Path, inference: Inference) -> Engine:
    if path.suffix == ".pt":
        return _torch_engine(model.name, path, inference)
    device = _device(inference)
    if device == "cpu":
        from blurline.inference.openvino import MOST_SIZES, OpenVinoEngine

        return OpenVinoEngine(
            path,
            model.input_format,
            threads=inference.threads,
            precision=inference.precision,
            any_size=model.any_size,
            outputs=model.outputs,
            most_sizes=MAPPER_SIZES if isinstance(model.task, MapperTask) else MOST_SIZES,
        )
    from blurline.inference.onnxruntime import OnnxRuntimeNetwork

    network = OnnxRuntimeNetwork(
        path,
        model.input_format,
        device=device,
        half=True,
        max_batch_size=inference.max_batch_size,
        cache_dir=inference.model_dir / "tensorrt",
        any_size=model.any_size,
        outputs=model.outputs,
    )
    return _batched(model.name, network, inference.max_batch_size, inference)


def _device(inference: Inference) -> Literal["cpu", "cuda", "tensorrt"]:
    if inference.device != "auto":
        return inference.device
    from blurline.inference.onnxruntime import cuda_is_here

    return "cuda" if cuda_is_here() else "cpu"


def _arithmetic(inference: Inference) -> Arithmetic:
    """What an ONNX network computes in."""
    if _device(inference) != "cpu":
        return "f16"
    from blurline.inference.openvino import arithmetic

    return arithmetic(inference.precision)


def _torch_engine(name: str, path: Path, inference: Inference) -> Engine:
    """A batcher even on a CPU, where a batch gains nothing, since calls must not overlap."""
    from blurline.inference.torch import TorchNetwork

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
