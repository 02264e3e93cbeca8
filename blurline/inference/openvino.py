"""Networks on the CPU by OpenVINO."""

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import ColorFormat, PrePostProcessor

from blurline.errors import ModelError
from blurline.imaging.decode import Pixels
from blurline.inference.engine import (
    Arithmetic,
    InputFormat,
    Outputs,
    PerColour,
    Precision,
    Size,
    class_names,
)

log = logging.getLogger(__name__)

CORE = ov.Core()
"""The one of this process, which lasts as long as it.

A core gives the thread that first computes with it a stack for signals, and takes it back when it
is dropped. Of several that are dropped in another order than the reverse, the last gives the thread
back a stack that is gone already, and the next signal, such as Ctrl+C, kills the process.
"""

MOST_SIZES = 8
"""Input sizes that a network is kept compiled for; each takes a few tens of megabytes."""


class OpenVinoEngine:
    """An ONNX file, compiled once for each input size that is met, with one stream a thread.

    Sizes are compiled apart because OpenVINO runs a network of fixed size from several threads at
    once, but one of open size hardly faster than from one. The graph itself takes RGB rows and
    turns them into the network's colours, scale and layout.
    """

    def __init__(
        self,
        path: Path,
        input_format: InputFormat,
        *,
        threads: int,
        precision: Precision = "auto",
        any_size: bool = False,
        outputs: tuple[str, ...] = (),
        most_sizes: int = MOST_SIZES,
    ) -> None:
        """Read the file.

        Args:
            path: an ONNX file with one input of shape (n, 3, height, width).
            input_format: what the network was trained on.
            any_size: the network works at every size, even if its file names one.
            outputs: names of the outputs that are read, in that order; () for all.
            threads: CPU threads, and so pictures at a time, for this network.
            most_sizes: input sizes that it is kept compiled for.
            precision: `auto` takes bf16 where the CPU computes it, f32 elsewhere. So does `bf16`,
                with a warning.

        Raises:
            ModelError: the file is missing or OpenVINO can't read it.
        """
        try:
            model = _with_outputs(CORE.read_model(path), outputs)
            self._fixed_size = None if any_size else _fixed_size(model)
            model.reshape([1, 3, *(self._fixed_size or (-1, -1))])
            # Compilation adds names of its own, so the file's names are kept from before.
            self._names = [output.get_any_name() for output in model.outputs]
            self._labels = _labels(model)
            self._model = _prepare(model, input_format)
        except RuntimeError as error:
            raise ModelError(f"{path.name} is no network that OpenVINO can read") from error
        self._precision = arithmetic(precision)
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": self._precision,
        }
        self._most_sizes = most_sizes
        self._compiled = OrderedDict[Size, ov.CompiledModel]()
        self._lock = threading.Lock()
        self._local = threading.local()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names from the file's metadata, as Ultralytics' export writes them; may be ()."""
        return self._labels

    @property
    def fixed_size(self) -> Size | None:
        """See `Engine.fixed_size`."""
        return self._fixed_size

    @property
    def precision(self) -> Arithmetic:
        """See `Engine.precision`."""
        return self._precision

    def infer(self, pixels: Pixels) -> Outputs:
        """The network's outputs for RGB pixels of shape (height, width, 3).

        They are valid until the same thread calls again.
        """
        height, width = pixels.shape[:2]
        desk = self._desk((height, width))
        desk.rows[0] = pixels
        results = desk.request.infer(share_outputs=True)
        return {name: np.asarray(results[i]) for i, name in enumerate(self._names)}

    def _desk(self, size: Size) -> "_Desk":
        """This thread's own place for pictures of that size."""
        desks: dict[Size, _Desk] = self._local.__dict__.setdefault("desks", {})
        if size not in desks:
            if len(desks) >= self._most_sizes:
                desks.clear()
            request = self._compile(size).create_infer_request()
            desks[size] = _Desk(request, request.get_input_tensor().data)
        return desks[size]

    def _compile(self, size: Size) -> ov.CompiledModel:
        """The network for that size; the size that was asked for longest ago makes room."""
        with self._lock:
            if size not in self._compiled:
                model = self._model.clone()
                model.reshape([1, *size, 3])
                self._compiled[size] = CORE.compile_model(model, "CPU", self._options)
                if len(self._compiled) > self._most_sizes:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(size)
            return self._compiled[size]


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    """A request and the memory that it reads: (1, height, width, 3).

    It reads floats: of 8-bit rows OpenVINO would reorder every byte before it converts them.
    """

    request: ov.InferRequest
    rows: NDArray[np.float32]


def _with_outputs(model: ov.Model, names: tuple[str, ...]) -> ov.Model:
    """The model without what only its other outputs need, which then costs nothing."""
    if not names:
        return model
    return ov.Model([model.output(name) for name in names], model.get_parameters(), model.name)


def _prepare(model: ov.Model, input_format: InputFormat) -> ov.Model:
    """The model with rows of RGB, 0 to 255, as its input."""
    processor = PrePostProcessor(model)
    picture = processor.input()
    picture.tensor().set_element_type(ov.Type.f32)
    picture.tensor().set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.RGB)
    picture.model().set_layout(ov.Layout("NCHW"))
    steps = picture.preprocess()
    if input_format.colours == "bgr":
        steps.convert_color(ColorFormat.BGR)
    if input_format.mean != 0:
        steps.mean(_numbers(input_format.mean))
    if input_format.divisor != 1:
        steps.scale(_numbers(input_format.divisor))
    return processor.build()


def _numbers(value: PerColour) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


def _fixed_size(model: ov.Model) -> Size | None:
    """The height and width that the file names, if it names both."""
    shape = model.input().get_partial_shape()
    if len(shape) != 4 or shape[2].is_dynamic or shape[3].is_dynamic:
        return None
    return shape[2].get_length(), shape[3].get_length()


def arithmetic(precision: Precision) -> Arithmetic:
    """What OpenVINO makes of it: on a CPU without bf16 it takes the hint and computes in f32."""
    if precision == "f32" or "BF16" in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32" if precision == "f32" else "bf16"
    if precision == "bf16":
        log.warning("INFERENCE_PRECISION=bf16, but this CPU has none: networks compute in f32")
    return "f32"


def _labels(model: ov.Model) -> tuple[str, ...]:
    """The dictionary `names` that Ultralytics' export leaves in the ONNX metadata."""
    try:
        return class_names(model.get_rt_info(["framework", "names"]).astype(str))
    except RuntimeError:
        return ()
