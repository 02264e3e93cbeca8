"""Networks in 32 bits and in bf16: that of the CPU where it has it, else rounded to it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as operators
from numpy.typing import NDArray

from blurline.inference.detector import Detectors
from blurline.inference.engine import Arithmetic
from blurline.inference.openvino import CORE, OpenVinoEngine
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detectors
from blurline.settings import load_settings
from tests.networks import file_of

ARITHMETICS: tuple[Arithmetic, ...] = ("f32", "bf16")

SPLIT = 65_537.0
"""2 ** 16 + 1, by which Dekker's splitting rounds a float of 24 significant bits to the 8 of bf16
(Numerische Mathematik 18, 1971)."""

HEAVY = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")


def cpu_arithmetic() -> Arithmetic:
    """In what networks compute on this CPU as the settings of the tests want it."""
    capabilities = CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    wants_all_bits = load_settings().inference_precision == "f32"
    return "f32" if wants_all_bits or "BF16" not in capabilities else "bf16"


def computing_in(arithmetic: Arithmetic, names: list[str], folder: Path) -> Detectors:
    """Detectors that compute so, or on a CPU without bf16 with values that are rounded to it."""
    inference = Inference(load_settings().model_dir, threads=2, precision=arithmetic)  # type: ignore[arg-type]
    detectors = load_detectors(names, inference)
    if all(one.engine.precision == arithmetic for one in detectors.values()):
        return detectors
    return {name: replace(one, engine=_rounding(name, folder)) for name, one in detectors.items()}


def _rounding(name: str, folder: Path) -> OpenVinoEngine:
    model = find(name)
    path = folder / f"{name}.xml"
    network = CORE.read_model(file_of(name))
    round_values(network)
    ov.save_model(network, path, compress_to_fp16=False)
    input_format = model.input_format
    return OpenVinoEngine(
        path, input_format, threads=2, precision="f32", any_size=True, outputs=model.outputs
    )


def round_values(network: ov.Model) -> None:
    """Round, as a CPU does that computes in bf16, what convolutions read, and what leads to them.

    What follows the last of them stays as it is, as OpenVINO does it.
    """
    rounded: set[str] = set()
    nodes = network.get_ordered_ops()
    for node in reversed(nodes):
        readers = [
            one.get_node() for output in node.outputs() for one in output.get_target_inputs()
        ]
        if any(r.get_type_name() in HEAVY or r.get_friendly_name() in rounded for r in readers):
            rounded.add(node.get_friendly_name())
    for node in nodes:
        if node.get_friendly_name() not in rounded:
            continue
        for output in node.outputs():
            if output.get_element_type() != ov.Type.f32:
                continue
            readers = list(output.get_target_inputs())
            if node.get_type_name() == "Constant":
                readers = [one for one in readers if one.get_node().get_type_name() in HEAVY]
                values: Any = operators.constant(rounded_values(np.array(node.get_data())))
            else:
                large = operators.multiply(output, operators.constant(np.float32(SPLIT)))
                values = operators.subtract(large, operators.subtract(large, output))
            for reader in readers:
                reader.replace_source_output(values.output(0))
    network.validate_nodes_and_infer_types()


def rounded_values(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Floats of 32 bits with the lower 16 rounded away, halves to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    up = (bits >> 16 & 1) + 0x7FFF
    return ((bits + up) & 0xFFFF0000).astype(np.uint32).view(np.float32).reshape(values.shape)
