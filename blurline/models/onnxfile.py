"""ONNX files, written without the package of that name, which nothing else on a CPU needs.

A file is one protobuf message. Numbers of fields and types are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 8, 17
FLOAT = 1
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
"""How a field is laid out, see https://protobuf.dev/programming-guides/encoding/"""

_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7

Attribute = float | int | str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: names of the tensors it reads and makes, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def network_file(
    nodes: Iterable[Node], weights: Mapping[str, NDArray[np.float32]], picture: str, result: str
) -> bytes:
    """A file whose network turns `picture` into `result`, both of shape (n, 3, height, width).

    The same arguments give the same bytes.
    """
    graph = [_text(2, "network")]
    graph += [_bytes(1, _node(node)) for node in nodes]
    graph += [_bytes(5, _tensor(name, values)) for name, values in weights.items()]
    graph += [
        _bytes(11, _pictures(picture, ("n", 3, "height", "width"))),
        _bytes(12, _pictures(result, ("n", 3, "height_out", "width_out"))),
    ]
    return b"".join(
        (
            _int(1, IR_VERSION),
            _text(2, "blurline"),
            _bytes(7, b"".join(graph)),
            _bytes(8, _int(2, OPSET)),
        )
    )


def _node(node: Node) -> bytes:
    parts = [_text(1, name) for name in node.inputs]
    parts += [_text(2, name) for name in node.outputs]
    parts.append(_text(4, node.operator))
    parts += [_bytes(5, _attribute(name, value)) for name, value in node.attributes.items()]
    return b"".join(parts)


def _attribute(name: str, value: Attribute) -> bytes:
    head = _text(1, name)
    if isinstance(value, float):
        return head + _key(2, _FIXED32) + struct.pack("<f", value) + _int(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return head + _int(3, value) + _int(20, _ATTRIBUTE_INT)
    if isinstance(value, str):
        return head + _text(4, value) + _int(20, _ATTRIBUTE_STRING)
    return head + b"".join(_int(8, one) for one in value) + _int(20, _ATTRIBUTE_INTS)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(_int(1, size) for size in values.shape)
    raw = np.ascontiguousarray(values, "<f4").tobytes()
    return dims + _int(2, FLOAT) + _text(8, name) + _bytes(9, raw)


def _pictures(name: str, shape: Iterable[int | str]) -> bytes:
    dims = (_text(2, size) if isinstance(size, str) else _int(1, size) for size in shape)
    sizes = b"".join(_bytes(1, dim) for dim in dims)
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, FLOAT) + _bytes(2, sizes)))


def _key(number: int, layout: int) -> bytes:
    return _varint(number << 3 | layout)


def _int(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit of each says whether more follow."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
