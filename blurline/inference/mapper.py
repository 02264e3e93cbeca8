"""A network from a picture to a picture, or to a mask."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline import metrics
from blurline.errors import ModelError, ModelMissingError
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detector
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


Networks = Mapping[str, Detector | Mapper]
"""Networks by name, some of which may be loaded when they are first asked for."""


def mapper_of(networks: Networks, name: str) -> Mapper:
    """The network from picture to picture, or to a mask, of that name.

    Raises:
        ModelMissingError: it is not there.
        ModelError: it can't be loaded, or does something else.
    """
    if name not in networks:
        raise ModelMissingError(f"the network {name} is not loaded")
    network = networks[name]
    if not isinstance(network, Mapper):
        raise ModelError(f"{name} is no network that makes pictures or masks")
    return network


def mask_of(pixels: Pixels, mapper: Mapper) -> NDArray[np.float32]:
    """What a network for masks makes of the whole picture, in the network's own square size.

    Proportions are not kept: these networks are used to that.
    """
    size = (mapper.input_size,) * 2
    larger = max(pixels.shape[:2]) > mapper.input_size
    way = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
    return mapper.map(np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8))[..., 0]
