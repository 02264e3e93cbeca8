"""The border to whatever runs a network."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels

Outputs = Mapping[str, NDArray[np.float32]]
"""A network's raw outputs, by the names that its file gives them; the first axis is pictures."""

Size = tuple[int, int]
"""Height and width of a network's input."""

Precision = Literal["auto", "bf16", "f32"]
"""What a network on a CPU shall compute in; `auto` is bf16 where the CPU has it."""

Arithmetic = Literal["f32", "bf16", "f16"]
"""In what a network computes: floats of 32 bits, or of 16 with the range of those, or of 16."""


PerColour = float | tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What a network wants to see: its order of colours, and what it makes of 8-bit values.

    From each value `mean` is taken, and what is left is divided by `divisor`. Either is one number
    for all colours, or three in the network's order of colours.
    """

    colours: Literal["rgb", "bgr"] = "rgb"
    divisor: PerColour = 255.0
    mean: PerColour = 0.0


class Engine(Protocol):
    """One network, ready to run from many threads at a time.

    Batching is the engine's own business: it may hold a call back for a moment to run it together
    with others. A caller always hands over one picture and gets that picture's outputs.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names that the network's file carries, in the order of its outputs; may be ()."""

    @property
    def fixed_size(self) -> Size | None:
        """Height and width of the only input that the network takes, or None if it takes many."""

    @property
    def precision(self) -> Arithmetic:
        """In what the network really computes, whatever was asked for."""

    def infer(self, pixels: Pixels) -> Outputs:
        """Run the network on RGB pixels of shape (height, width, 3).

        Both sides are those of `fixed_size` or else multiples of 32.
        """


class Network(Protocol):
    """A network that computes several pictures in one call. No two calls overlap."""

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Engine.labels`."""

    @property
    def fixed_size(self) -> Size | None:
        """See `Engine.fixed_size`."""

    @property
    def precision(self) -> Arithmetic:
        """See `Engine.precision`."""

    @property
    def largest_batch(self) -> int | None:
        """The most pictures that one call may hold, or None if it may hold any number."""

    def run(self, pictures: NDArray[np.uint8]) -> Outputs:
        """The outputs for RGB pictures of shape (n, height, width, 3), n for each output.

        Raises:
            MemoryError: the device has no room for so many; it may have room for fewer.
        """


def class_names(text: str) -> tuple[str, ...]:
    """Class names from the dictionary that Ultralytics' export leaves in a file; () if it is none.

    >>> class_names("{0: 'dog', 1: 'cat'}")
    ('dog', 'cat')
    """
    try:
        names: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ()
    return tuple(str(names[index]) for index in sorted(names)) if isinstance(names, dict) else ()
