"""ONNX graphs made ready to run on a GPU (the extra `gpu`): bytes in, any number of pictures.

Colours, scale and layout are steps of the graph here, so that they run on the device and a quarter
of the bytes cross the bus. On a CPU core they took 0.8 ms for 640 x 384 pixels by OpenCV's
`blobFromImage` and 4.9 ms by numpy; to scale a photo down to that size took 0.3 ms.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

from blurline.inference.engine import InputFormat, Size

PIXELS = "pixels"
"""Name of the input that takes RGB pictures, 8 bits, of shape (n, height, width, 3)."""

FLOATS = "pixels_as_floats"
"""Name of the same pictures in 32-bit floats: what a device that takes no bytes begins with."""

_NAMES = "blurline_"


def metadata(model: ModelProto) -> dict[str, str]:
    """What the file says about itself."""
    return {entry.key: entry.value for entry in model.metadata_props}


def fixed_size(model: ModelProto) -> Size | None:
    """The height and width that the file names, if it names both."""
    dims = _picture_input(model.graph).type.tensor_type.shape.dim
    if len(dims) != 4 or not (dims[2].dim_value and dims[3].dim_value):
        return None
    return dims[2].dim_value, dims[3].dim_value


def freed(model: ModelProto, *, any_size: bool, outputs: Sequence[str]) -> ModelProto:
    """The network for any number of pictures, without what its other outputs need.

    Args:
        model: a network with one input of shape (n, 3, height, width).
        any_size: it works at every size, even if its file names one.
        outputs: names of the outputs to keep, in that order; () for all.

    Raises:
        ValueError: it has another kind of input, or no output of that name.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    picture = _picture_input(graph)
    open_dims = (0, 2, 3) if any_size else (0,)
    for axis in open_dims:
        picture.type.tensor_type.shape.dim[axis].dim_param = f"{_NAMES}{axis}"
    by_name = {output.name: output for output in graph.output}
    if missing := set(outputs) - set(by_name):
        raise ValueError(f"no output is called {', '.join(sorted(missing))}")
    kept = [by_name[name] for name in outputs] or list(graph.output)
    for output in kept:
        output.type.tensor_type.ClearField("shape")
    _replace(graph.input, [picture])
    _replace(graph.output, kept)
    # Shapes inside were written for the file's own size.
    del graph.value_info[:]
    _drop_unused(graph)
    return result


def halved(model: ModelProto) -> ModelProto:
    """The network in half precision inside; its inputs and outputs stay 32-bit floats."""
    result = ModelProto()
    result.CopyFrom(model)
    with warnings.catch_warnings():
        # Of weights so small that they become 0.
        warnings.simplefilter("ignore")
        return convert_float_to_float16(result, keep_io_types=True)


def dressed(model: ModelProto, input_format: InputFormat) -> ModelProto:
    """The network with RGB bytes as its input, `PIXELS`.

    The cast comes first: TensorRT takes bytes only where a cast follows at once.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    picture = _picture_input(graph)
    dims = picture.type.tensor_type.shape.dim
    shape = [dims[axis].dim_param or dims[axis].dim_value or None for axis in (0, 2, 3)]
    steps = [
        helper.make_node("Cast", [PIXELS], [FLOATS], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [FLOATS], [f"{_NAMES}planes"], perm=(0, 3, 1, 2)),
    ]
    if input_format.colours == "bgr":
        order = helper.make_tensor(f"{_NAMES}order", TensorProto.INT64, [3], [2, 1, 0])
        graph.initializer.append(order)
        swap = helper.make_node(
            "Gather", [steps[-1].output[0], order.name], [f"{_NAMES}swapped"], axis=1
        )
        steps.append(swap)
    changes = (("Sub", input_format.mean, 0), ("Div", input_format.divisor, 1))
    for operator, value, nothing in changes:
        if value == nothing:
            continue
        each = value if isinstance(value, tuple) else (value,)
        name = f"{_NAMES}{operator.lower()}"
        graph.initializer.append(
            helper.make_tensor(f"{name}_by", TensorProto.FLOAT, [len(each), 1, 1], each)
        )
        steps.append(helper.make_node(operator, [steps[-1].output[0], f"{name}_by"], [name]))
    steps[-1].output[0] = picture.name
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [*shape, 3])
    _replace(graph.input, [pixels])
    _replace(graph.node, [*steps, *graph.node])
    return result


def _picture_input(graph: GraphProto) -> ValueInfoProto:
    """The only input that is no weight; old files list their weights among the inputs.

    Raises:
        ValueError: there are several, or it has not four axes.
    """
    weights = {weight.name for weight in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ValueError("a network of pictures has one input, of four axes")
    return inputs[0]


def _drop_unused(graph: GraphProto) -> None:
    """Remove the nodes and weights that no output needs; nodes are in topological order."""
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_names_read(node))
    _replace(graph.node, nodes[::-1])
    _replace(graph.initializer, [one for one in graph.initializer if one.name in needed])


def _names_read(node: NodeProto) -> Iterator[str]:
    """Names of the tensors that a node reads, those in its branches and loops included."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield from (output.name for output in attribute.g.output)
            for inner in attribute.g.node:
                yield from _names_read(inner)


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Set a repeated field of a message; the values may be its own."""
    copies = list(values)
    del field[:]
    field.extend(copies)
