"""From a network's name to a detector that is ready to run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
from threadpoolctl import threadpool_limits

from blurline.errors import ModelError
from blurline.inference.detector import Detector
from blurline.inference.engine import Engine
from blurline.inference.heads import HEADS
from blurline.inference.openvino import InputFormat, OpenVinoEngine, Precision
from blurline.inference.torch import TorchEngine
from blurline.models.catalogue import Model, find
from blurline.models.sources import OwnFile
from blurline.models.wheels import sha256


@dataclass(frozen=True, slots=True)
class Inference:
    """How networks are run: the cache of their files, CPU threads each, arithmetic, device."""

    model_dir: Path
    threads: int
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


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
        ModelError: its file is not in the cache, not unchanged, or not readable.
    """
    path = _file(model, inference.model_dir)
    engine: Engine
    if path.suffix == ".pt":
        engine = TorchEngine(path, device=inference.device)
    else:
        engine = OpenVinoEngine(
            path,
            InputFormat(model.colours, model.divisor),
            threads=inference.threads,
            precision=inference.precision,
            any_size=not isinstance(model.source, OwnFile),
            outputs=model.outputs,
        )
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
    return detector


def _file(model: Model, folder: Path) -> Path:
    if isinstance(model.source, OwnFile):
        return model.source.pull(folder)
    if not model.source.is_here(folder):
        raise ModelError(f"the network {model.name} is not in {folder}: run `blurline models pull`")
    return model.source.path_in(folder)
