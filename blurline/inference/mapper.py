"""A network from a picture to a picture, or to a mask."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from blurline import metrics
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Engine

Map = NDArray[np.float32]
"""Shape (height, width, channels), 0 to 1."""


@dataclass(frozen=True, slots=True)
class Mapper:
    """An engine whose only output is about each pixel of what goes in.

    `sha256` is that of the network's file, in hex.

    Attributes:
        scale: width and height of what comes out, for one pixel that goes in.
        margin: pixels around a part of a picture that the network has to see to treat the part as
            it would treat it within the whole picture. They are not among what comes out.
        input_size: longest side of what goes in, margins included.
    """

    name: str
    engine: Engine
    input_size: int
    scale: int = 1
    margin: int = 0
    sha256: str = ""

    def map(self, pixels: Pixels) -> Map:
        """What the network makes of RGB pixels of shape (height, width, 3).

        Both sides are multiples of 32, or those of the engine's `fixed_size`. The result has the
        shape (scale * (height - 2 * margin), scale * (width - 2 * margin), channels), and is the
        caller's own.
        """
        height, width = pixels.shape[:2]
        started = perf_counter()
        (output,) = self.engine.infer(pixels).values()
        metrics.INFERENCE_SECONDS.labels(self.name).observe(perf_counter() - started)
        rows, columns = (self.scale * (length - 2 * self.margin) for length in (height, width))
        # Some networks lose their margins by themselves, with convolutions that are not padded.
        top, left = (output.shape[2] - rows) // 2, (output.shape[3] - columns) // 2
        inner = output[0, :, top : top + rows, left : left + columns]
        values: Map = np.clip(inner.transpose(1, 2, 0), 0, 1, dtype=np.float32, order="C")
        return values
