"""Networks of ncnn, read and written anew as ONNX, so that no second engine has to be there.

ncnn keeps a network in two files: a text with a layer a line, and the weights in the order of the
layers. https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure tells their form,
https://github.com/Tencent/ncnn/wiki/operators the layers. Those that enlarge pictures need few of
them; whatever else a file holds is refused, never guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from blurline.errors import ModelError
from blurline.models.onnxfile import Attribute, Node, network_file

MAGIC = "7767517"
LONGEST_TEXT = 1 << 20
MOST_WEIGHTS = 1 << 28
"""Bytes of the two files."""

MOST_LAYERS = 4096
MOST_CHANNELS = 4096
LARGEST_KERNEL = 16
HALF_FLOATS, WHOLE_FLOATS = 0x01306B47, (0, 0x0002C056)
"""The words before a layer's weights that tell how they are stored."""

LIST_KEYS = -23300
"""A key below this is that of a list: the list's own key is what it lies below it."""

NEAREST, LINEAR, CUBIC = 1, 2, 3
ADD, LEAKY = 0, 2

Weights = NDArray[np.float32]


def onnx_of(text: bytes, weights: bytes) -> bytes:
    """An ONNX file of the network in `text` (`.param`) with `weights` (`.bin`).

    It takes and gives pictures of shape (n, 3, height, width). The same files give the same bytes.

    Raises:
        ModelError: they are no such network, or hold what is not known here.
    """
    if len(text) > LONGEST_TEXT or len(weights) > MOST_WEIGHTS:
        raise ModelError("the ncnn network is too large")
    try:
        lines = text.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError("the ncnn network is no text") from error
    if not lines or lines[0].strip() != MAGIC:
        raise ModelError("the ncnn network does not begin as one does")
    if len(lines) > MOST_LAYERS:
        raise ModelError("the ncnn network has too many layers")
    graph = _Graph(_Stored(weights))
    for number, line in enumerate(lines[2:], start=3):
        if not line.strip():
            continue
        try:
            graph.add(_layer(line))
        except ValueError as error:
            raise ModelError(f"line {number} of the ncnn network: {error}") from error
    return graph.file()


@dataclass(frozen=True, slots=True)
class _Layer:
    """A line of the text, with the parameters that nobody has asked for yet."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[int, float]
    lists: dict[int, tuple[float, ...]]

    def number(self, key: int, default: float | None = None) -> float:
        """The parameter of that key.

        Raises:
            ValueError: it is not there, and there is no default.
        """
        if key in self.numbers:
            return self.numbers.pop(key)
        if default is None:
            raise ValueError(f"{self.kind} lacks its parameter {key}")
        return default

    def whole(self, key: int, default: int | None = None, *, most: int) -> int:
        """The parameter of that key, a whole number from 0 to `most`.

        Raises:
            ValueError: it is not there, or another number.
        """
        value = self.number(key, default)
        if not (0 <= value <= most and value == int(value)):
            raise ValueError(f"{self.kind} has a parameter {key} that can't be")
        return int(value)

    def numbers_of(self, key: int) -> tuple[float, ...]:
        """The list of that key; () if there is none."""
        return self.lists.pop(key, ())

    def rest(self) -> None:
        """Refuse parameters that were not asked for.

        Raises:
            ValueError: names one.
        """
        for key in (*self.numbers, *self.lists):
            raise ValueError(f"{self.kind} has a parameter {key} that is not known here")


def _layer(line: str) -> _Layer:
    """
    Raises:
        ValueError: it is no line of a layer.
    """
    words = line.split()
    counts = words[2:4]
    if len(counts) < 2 or not all(count.isdecimal() and len(count) < 4 for count in counts):
        raise ValueError("no layer")
    first, ends = 4, 4 + int(counts[0])
    names, parameters = words[first : ends + int(counts[1])], words[ends + int(counts[1]) :]
    if len(names) != int(counts[0]) + int(counts[1]):
        raise ValueError("fewer names than it says")
    numbers: dict[int, float] = {}
    lists: dict[int, tuple[float, ...]] = {}
    for word in parameters:
        key, _, value = word.partition("=")
        values = tuple(float(one) for one in value.split(","))
        if not all(map(isfinite, values)):
            raise ValueError("a parameter is no number")
        if int(key) > LIST_KEYS:
            (numbers[int(key)],) = values
        elif values[0] != len(values) - 1:
            raise ValueError("a list of another length than it says")
        else:
            lists[LIST_KEYS - int(key)] = values[1:]
    inputs = tuple(names[: int(counts[0])])
    return _Layer(words[0], inputs, tuple(names[len(inputs) :]), numbers, lists)


@dataclass(slots=True)
class _Stored:
    """The weights, read from the beginning on."""

    data: bytes
    at: int = 0

    def floats(self, count: int, form: str = "<f4") -> Weights:
        """The next numbers.

        Raises:
            ValueError: there are not so many.
        """
        size = count * np.dtype(form).itemsize
        if size > len(self.data) - self.at:
            raise ValueError("the weights end too soon")
        values = np.frombuffer(self.data, form, count, self.at).astype(np.float32)
        # Half floats are padded to whole words.
        self.at += (size + 3) // 4 * 4
        if not np.isfinite(values).all():
            raise ValueError("a weight is no number")
        return values

    def tagged(self, count: int) -> Weights:
        """The next numbers, behind the word that tells how they are stored.

        Raises:
            ValueError: there are not so many, or they are stored in a way not known here.
        """
        tag = int.from_bytes(self.data[self.at : self.at + 4], "little")
        self.at += 4
        if tag == HALF_FLOATS:
            return self.floats(count, "<f2")
        if tag not in WHOLE_FLOATS:
            raise ValueError("weights of a kind that is not known here")
        return self.floats(count)


@dataclass(slots=True)
class _Graph:
    """What was read so far, as nodes and weights of ONNX."""

    stored: _Stored
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Weights] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    picture: str = ""
    last: str = ""

    def add(self, layer: _Layer) -> None:
        """Raises ValueError if the layer is not known here, or can't be."""
        if layer.kind not in _LAYERS:
            raise ValueError(f"the layer {layer.kind} is not known here")
        if missing := set(layer.inputs) - self.made:
            raise ValueError(f"{min(missing)} is read before it is made")
        fewest, most, outputs, build = _LAYERS[layer.kind]
        if not fewest <= len(layer.inputs) <= most or not 1 <= len(layer.outputs) <= outputs:
            raise ValueError(f"{layer.kind} with so many inputs or outputs")
        build(self, layer)
        layer.rest()
        if self.made & set(layer.outputs) or len(set(layer.outputs)) < len(layer.outputs):
            raise ValueError("a name is given twice")
        self.made.update(layer.outputs)
        self.last = layer.outputs[-1]

    def file(self) -> bytes:
        """Raises ModelError if weights are left, or there is no network."""
        if not self.nodes:
            raise ModelError("the ncnn network is empty")
        if self.stored.at != len(self.stored.data):
            raise ModelError("the ncnn network leaves weights unread")
        return network_file(self.nodes, self.weights, self.picture, self.last)

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        self.nodes.append(Node(operator, tuple(inputs), (output,), attributes or {}))

    def constant(self, values: Weights) -> str:
        """The name of a new weight. No name of a file has a space in it."""
        name = f"weight {len(self.weights)}"
        self.weights[name] = values
        return name


def _input(graph: _Graph, layer: _Layer) -> None:
    if graph.picture or layer.whole(2, 3, most=MOST_CHANNELS) != 3:
        raise ValueError("more than one picture of three colours goes in")
    for key in (0, 1):
        # The size that the network was tried with, which does not bind.
        layer.whole(key, 0, most=1 << 20)
    graph.picture = layer.outputs[0]


def _split(graph: _Graph, layer: _Layer) -> None:
    for output in layer.outputs:
        graph.node("Identity", layer.inputs, output)


def _convolution(graph: _Graph, layer: _Layer) -> None:
    outputs = layer.whole(0, most=MOST_CHANNELS)
    kernel = layer.whole(1, most=LARGEST_KERNEL)
    dilation = layer.whole(2, 1, most=LARGEST_KERNEL)
    stride = layer.whole(3, 1, most=LARGEST_KERNEL)
    padding = layer.whole(4, 0, most=LARGEST_KERNEL)
    count = layer.whole(6, most=MOST_WEIGHTS)
    area = outputs * kernel * kernel
    if not area or not dilation or not stride or not count or count % area:
        raise ValueError(f"{layer.kind} of a size that can't be")
    weights = graph.stored.tagged(count).reshape(outputs, count // area, kernel, kernel)
    if transposed := layer.kind == "Deconvolution":
        weights = weights.transpose(1, 0, 2, 3)
    names = [*layer.inputs, graph.constant(weights)]
    if layer.whole(5, 0, most=1):
        names.append(graph.constant(graph.stored.floats(outputs)))
    activation, slopes = layer.whole(9, 0, most=LEAKY), layer.numbers_of(10)
    if (activation, len(slopes)) not in ((0, 0), (LEAKY, 1)):
        raise ValueError(f"{layer.kind} with an activation that is not known here")
    (output,) = layer.outputs
    plain = f"{output} plain" if slopes else output
    shape: dict[str, Attribute] = {
        "kernel_shape": (kernel, kernel),
        "strides": (stride, stride),
        "dilations": (dilation, dilation),
        "pads": (padding,) * 4,
    }
    graph.node("ConvTranspose" if transposed else "Conv", names, plain, shape)
    if slopes:
        graph.node("LeakyRelu", [plain], output, {"alpha": slopes[0]})


def _prelu(graph: _Graph, layer: _Layer) -> None:
    slopes = graph.stored.floats(layer.whole(0, most=MOST_CHANNELS)).reshape(-1, 1, 1)
    graph.node("PRelu", [*layer.inputs, graph.constant(slopes)], layer.outputs[0])


def _pixel_shuffle(graph: _Graph, layer: _Layer) -> None:
    attributes: dict[str, Attribute] = {
        "blocksize": layer.whole(0, most=LARGEST_KERNEL),
        "mode": "CRD",
    }
    graph.node("DepthToSpace", layer.inputs, layer.outputs[0], attributes)


def _interpolation(graph: _Graph, layer: _Layer) -> None:
    kind = layer.whole(0, most=CUBIC)
    how: dict[int, dict[str, Attribute]] = {
        NEAREST: {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        LINEAR: {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        CUBIC: {
            "mode": "cubic",
            "coordinate_transformation_mode": "half_pixel",
            "cubic_coeff_a": -0.75,
        },
    }
    scales = np.array([1, 1, layer.number(1), layer.number(2)], np.float32)
    if kind not in how or not ((scales > 0) & (scales <= LARGEST_KERNEL)).all():
        raise ValueError("an interpolation that is not known here")
    names = [*layer.inputs, "", graph.constant(scales)]
    graph.node("Resize", names, layer.outputs[0], how[kind])


def _addition(graph: _Graph, layer: _Layer) -> None:
    if layer.whole(0, ADD, most=LARGEST_KERNEL) != ADD:
        raise ValueError("arithmetic that is not known here")
    graph.node("Add", layer.inputs, layer.outputs[0])


def _weighted_sum(graph: _Graph, layer: _Layer) -> None:
    (output,), factors = layer.outputs, layer.numbers_of(1)
    if layer.whole(0, most=2) != 1 or len(factors) != 2:
        raise ValueError("arithmetic that is not known here")
    terms = []
    for name, factor in zip(layer.inputs, factors, strict=True):
        terms.append(name)
        if factor != 1:
            terms[-1] = f"{output} term {len(terms)}"
            graph.node("Mul", [name, graph.constant(np.array(factor, np.float32))], terms[-1])
    graph.node("Add", terms, output)


def _concatenation(graph: _Graph, layer: _Layer) -> None:
    graph.node("Concat", layer.inputs, layer.outputs[0], {"axis": 1})


_LAYERS: dict[str, tuple[int, int, int, Callable[[_Graph, _Layer], None]]] = {
    "Input": (0, 0, 1, _input),
    "Split": (1, 1, 64, _split),
    "Convolution": (1, 1, 1, _convolution),
    "Deconvolution": (1, 1, 1, _convolution),
    "PReLU": (1, 1, 1, _prelu),
    "PixelShuffle": (1, 1, 1, _pixel_shuffle),
    "Interp": (1, 1, 1, _interpolation),
    "BinaryOp": (2, 2, 1, _addition),
    "Eltwise": (2, 2, 1, _weighted_sum),
    "Concat": (1, 64, 1, _concatenation),
}
"""Of each kind of layer: fewest and most inputs, most outputs, and what adds it."""
