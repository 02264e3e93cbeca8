"""The border to whatever runs a network."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels

Outputs = Mapping[str, NDArray[np.float32]]
"""A network's raw outputs for one picture, by the names that its file gives them."""


class Engine(Protocol):
    """One network, ready to run from many threads at a time.

    Batching is the engine's own business: it may hold a call back for a moment to run it together
    with others. A caller always hands over one picture and gets that picture's outputs.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names that the network's file carries, in the order of its outputs; may be ()."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the only input that the network takes, or None if it takes many."""

    def infer(self, pixels: Pixels) -> Outputs:
        """Run the network on RGB pixels of shape (height, width, 3).

        Both sides are those of `fixed_size` or else multiples of 32.
        """
