"""Networks on the CPU by OpenVINO."""

import ast
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from openvino.preprocess import ColorFormat, PrePostProcessor

from blurline.errors import ModelError
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Outputs

Precision = Literal["auto", "bf16", "f32"]


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What a network wants to see: its order of colours, and what 8-bit values are divided by."""

    colours: Literal["rgb", "bgr"] = "rgb"
    divisor: float = 255.0


class OpenVinoEngine:
    """An ONNX file, compiled for any input size, with one stream a thread.

    The graph itself takes 8-bit RGB rows and turns them into the network's colours, scale and
    layout, so that no Python code touches the values.
    """

    def __init__(
        self, path: Path, input_format: InputFormat, *, threads: int, precision: Precision = "auto"
    ) -> None:
        """Read and compile the file.

        Args:
            path: an ONNX file with one input of shape (n, 3, height, width).
            input_format: what the network was trained on.
            threads: CPU threads, and so pictures at a time, for this network.
            precision: `auto` takes bf16 where the CPU computes it, f32 elsewhere.

        Raises:
            ModelError: the file is missing or OpenVINO can't read it.
        """
        core = ov.Core()
        try:
            model = core.read_model(path)
            model.reshape([1, 3, -1, -1])
            self._labels = _labels(model)
            # Compilation adds names of its own, so the file's names are kept from before.
            self._names = [output.get_any_name() for output in model.outputs]
            prepared = _prepare(model, input_format)
            self._compiled = core.compile_model(
                prepared,
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": threads,
                    "INFERENCE_PRECISION_HINT": _precision(core, precision),
                },
            )
        except RuntimeError as error:
            raise ModelError(f"{path.name} is no network that OpenVINO can read") from error
        self._local = threading.local()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names from the file's metadata, as Ultralytics' export writes them; may be ()."""
        return self._labels

    def infer(self, pixels: Pixels) -> Outputs:
        """The network's outputs for RGB pixels of shape (height, width, 3)."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        results = request.infer([pixels[None]], share_inputs=True, share_outputs=True)
        return {name: np.asarray(results[i]) for i, name in enumerate(self._names)}


def _prepare(model: ov.Model, input_format: InputFormat) -> ov.Model:
    """The model with 8-bit RGB rows as its input."""
    processor = PrePostProcessor(model)
    picture = processor.input()
    picture.tensor().set_element_type(ov.Type.u8)
    picture.tensor().set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.RGB)
    picture.model().set_layout(ov.Layout("NCHW"))
    steps = picture.preprocess().convert_element_type(ov.Type.f32)
    if input_format.colours == "bgr":
        steps.convert_color(ColorFormat.BGR)
    if input_format.divisor != 1:
        steps.scale(input_format.divisor)
    return processor.build()


def _precision(core: ov.Core, precision: Precision) -> str:
    if precision == "auto":
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if "BF16" in capabilities else "f32"
    return precision


def _labels(model: ov.Model) -> tuple[str, ...]:
    """The dictionary `names` that Ultralytics' export leaves in the ONNX metadata."""
    try:
        names: Any = ast.literal_eval(model.get_rt_info(["framework", "names"]).astype(str))
    except (RuntimeError, ValueError, SyntaxError):
        return ()
    return tuple(str(names[index]) for index in sorted(names)) if isinstance(names, dict) else ()
