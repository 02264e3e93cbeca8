"""The stage that enlarges pictures.

What works on pixels is imported where it runs: see `blur`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from blurline.errors import OptionError
from blurline.stages.frame import Frame, Quality
from blurline.stages.optiontable import Option, Values, one_of, word
from blurline.stages.pipeline import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from blurline.imaging.decode import Pixels
    from blurline.inference.mapper import Networks

AUTO = "auto"
LITTLE = "1"
"""What `AUTO` takes away: most uploads are JPEGs, whose noise would be enlarged with them. Of
pictures without noise it costs next to nothing."""

SCALE = Option(
    "scale",
    one_of("scale", (2, 4)),
    "2",
    "how many times the width and height the result has",
    example="4",
    words=("2", "4"),
)
QUALITY = Option(
    "quality",
    word(Quality, "quality"),
    Quality.BALANCED.value,
    "how it is enlarged: fast draws clearly, balanced is closest to the picture, thorough invents "
    "fine detail and takes thirty times as long",
    words=tuple(Quality),
)
DENOISE = Option(
    "denoise",
    one_of("denoise", (AUTO, "0", LITTLE, "2", "3")),
    AUTO,
    "how much noise is taken away, 0 to 3, with quality=balanced; the others do as they see fit",
    example="2",
    words=(AUTO, "0", LITTLE, "2", "3"),
)

FAST = MappingProxyType({2: "realesr_x2", 4: "realesr_x4"})
PHOTO = "waifu2x_photo"
"""Doubles the size; the network that takes noise away is called by how much of it besides."""

THOROUGH = "realesrgan_x4"


@dataclass(frozen=True, slots=True)
class Upscale:
    """A picture of two or four times the width and height.

    Transparency is enlarged by cubic interpolation, and what is grey stays grey.
    """

    name: str = "upscale"

    @property
    def options(self) -> Sequence[Option[Any]]:
        """How large, how well, and how much noise is left."""
        return SCALE, QUALITY, DENOISE

    @property
    def networks(self) -> frozenset[str]:
        """One for each quality and scale, and for each strength of `denoise`."""
        return frozenset((*FAST.values(), PHOTO, *(f"{PHOTO}_{n}" for n in (1, 2, 3)), THOROUGH))

    def models(self, values: Values) -> frozenset[str]:
        """Those that the picture goes through."""
        return frozenset(passes(values))

    def check(self, values: Values) -> None:
        """See `Transforming.check`.

        Raises:
            OptionError: `denoise` is asked of a network that has no such choice.
        """
        quality = Quality(QUALITY.of(values))
        if DENOISE.of(values) != AUTO and quality is not Quality.BALANCED:
            raise OptionError(f"denoise goes with quality=balanced, not with quality={quality}")

    def output_size(self, width: int, height: int, values: Values) -> tuple[int, int]:
        """Width and height by `scale`."""
        scale = SCALE.of(values)
        return width * scale, height * scale

    def run(self, frame: Frame, values: Values, networks: "Networks", progress: Progress) -> Frame:
        """The frame, enlarged.

        Raises:
            ModelMissingError: a network is not there.
        """
        from blurline.imaging.alpha import bled
        from blurline.inference.mapper import mapper_of
        from blurline.inference.tiles import mapped_in_tiles

        names, scale, (width, height) = passes(values), SCALE.of(values), frame.size
        pixels = frame.pixels if frame.alpha is None else bled(frame.pixels, frame.alpha)
        grey = _is_grey(pixels)
        # A pass costs by its pixels, of which each has four times those of the one before.
        costs = [4**number for number in range(len(names))]
        for number, name in enumerate(names):
            before, share = sum(costs[:number]) / sum(costs), costs[number] / sum(costs)
            pixels = mapped_in_tiles(
                pixels, mapper_of(networks, name), partial(_told, progress, before, share)
            )
        pixels = _resized(pixels, width * scale, height * scale)
        alpha = None if frame.alpha is None else _enlarged(frame.alpha, scale)
        report = {"scale": scale, "networks": list(names)}
        return replace(
            frame,
            pixels=_greyed(pixels) if grey else pixels,
            alpha=alpha,
            reports={**frame.reports, self.name: report},
        )


def passes(values: Values) -> tuple[str, ...]:
    """The networks that a picture goes through with these values, in order."""
    scale, denoise = SCALE.of(values), DENOISE.of(values)
    match Quality(QUALITY.of(values)):
        case Quality.FAST:
            return (FAST[scale],)
        case Quality.THOROUGH:
            return (THOROUGH,)
    strength = LITTLE if denoise == AUTO else denoise
    first = PHOTO if strength == "0" else f"{PHOTO}_{strength}"
    return (first,) if scale == 2 else (first, PHOTO)


def _told(progress: Progress, before: float, part: float, share: float) -> None:
    progress(before + part * share)


def _resized(pixels: "Pixels", width: int, height: int) -> "Pixels":
    """The picture in that size; a network that enlarges by four is asked for the double too."""
    import cv2
    import numpy as np

    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _enlarged(alpha: "NDArray[np.uint8]", scale: int) -> "NDArray[np.uint8]":
    import cv2
    import numpy as np

    size = alpha.shape[1] * scale, alpha.shape[0] * scale
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _is_grey(pixels: "Pixels") -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _greyed(pixels: "Pixels") -> "Pixels":
    """Without the trace of colour that the networks give to grey."""
    import cv2
    import numpy as np

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
