"""What passes from stage to stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from blurline.imaging.kind import OutputFormat
from blurline.imaging.metadata import MetadataPolicy
from blurline.redaction.styles import PixelBox, Style
from blurline.redaction.zones import Polygon, Zones

if TYPE_CHECKING:  # the API knows options and has no pixels, so it goes without their libraries
    import numpy as np
    from numpy.typing import NDArray

    from blurline.imaging.decode import Pixels
    from blurline.inference.detector import Detection


class Quality(StrEnum):
    """How closely the networks look: `FAST` once at a small size, `THOROUGH` in many tiles."""

    FAST = "fast"
    BALANCED = "balanced"
    THOROUGH = "thorough"


class OnFailure(StrEnum):
    """What happens to a picture that can't be treated: it fails, or all of it is redacted."""

    FAIL = "fail"
    OBSCURE = "obscure"


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller chose for one picture.

    Attributes:
        targets: names of what to blur, in the caller's order.
        style: how it is blurred.
        quality: how closely the networks look.
        thresholds: least confidence, 0 to 1, for those targets that shall not have their own.
        zones: where nothing and where everything is blurred.
        metadata: what of the file's metadata the result keeps.
        on_failure: what happens if the picture can't be treated.
        output_format: the kind of the result's file.
        upright: whether a JPEG that is stored turned is written as it is seen, not with a tag.
    """

    targets: tuple[str, ...]
    style: Style
    quality: Quality = Quality.BALANCED
    thresholds: Mapping[str, float] = field(default_factory=dict)
    zones: Zones = field(default_factory=Zones)
    metadata: MetadataPolicy = MetadataPolicy.MINIMAL
    on_failure: OnFailure = OnFailure.FAIL
    output_format: OutputFormat = OutputFormat.SAME
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Redaction:
    """A region that was made unreadable, why, and how sure the network was (0 to 1).

    Of a zone that the caller named, `target` is "zone", `confidence` 1, and only what lies inside
    `polygon`, in pixels, is unreadable.
    """

    target: str
    confidence: float
    box: PixelBox
    polygon: Polygon | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture on its way, with what the stages so far did to it and found in it.

    What redaction found has fields of its own, since its treatment works on it; any other stage
    tells of itself in `reports`. A stage may change `pixels` in place: one job owns them.
    `redactions` and `detections` are None until a stage has looked, which is not the same as having
    found nothing. Their boxes are in pixels of the whole picture, whatever `pixels` hold of it.

    Attributes:
        pixels: the picture, shape (height / reduction, width / reduction, 3).
        redactions: what was made unreadable.
        detections: what else was found.
        reduction: 1, or 2 where the pixels are the means of two by two.
        wraps: the picture goes all the way round, so that its left edge meets its right one.
        alpha: how opaque it is, 0 to 255, in the shape (height, width); straight, so that `pixels`
            are not multiplied by it. None for a picture without transparency, and in redaction,
            which keeps the file's own.
        reports: by stage what is to be told of it, as JSON has it.
        masks: by name other pictures that came of it, grey, of the shape (height, width).
    """

    pixels: "Pixels"
    redactions: tuple[Redaction, ...] | None = None
    detections: "tuple[Detection, ...] | None" = None
    reduction: int = 1
    wraps: bool = False
    alpha: "NDArray[np.uint8] | None" = None
    reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    masks: "Mapping[str, NDArray[np.uint8]]" = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture, upright."""
        height, width = self.pixels.shape[:2]
        return width * self.reduction, height * self.reduction

    @property
    def boxes(self) -> list[PixelBox]:
        """Where `pixels` were made unreadable."""
        return [reduced(redaction.box, self.reduction) for redaction in self.redactions or ()]

    @property
    def redacted_share(self) -> float:
        """Share of the area inside the redactions' boxes, 0 to 1; overlaps count twice."""
        width, height = self.size
        boxes = [redaction.box for redaction in self.redactions or ()]
        area = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        return min(1.0, area / (width * height))


def reduced(box: PixelBox, reduction: int) -> PixelBox:
    """The smallest box in the reduced picture that holds `box`.

    >>> reduced((3, 4, 5, 6), 2)
    (1, 2, 3, 3)
    """
    left, top, right, bottom = box
    return left // reduction, top // reduction, -(-right // reduction), -(-bottom // reduction)
