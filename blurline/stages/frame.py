"""What passes from stage to stage."""

from dataclasses import dataclass

from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detection
from blurline.redaction.styles import PixelBox, Style


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller chose for one picture: names of targets, in their order, and a style."""

    targets: tuple[str, ...]
    style: Style


@dataclass(frozen=True, slots=True)
class Redaction:
    """A region that was made unreadable, why, and how sure the network was (0 to 1)."""

    target: str
    confidence: float
    box: PixelBox


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture on its way, with what the stages so far did to it and found in it.

    A stage may change `pixels` in place: one job owns them. `redactions` and `detections` are None
    until a stage has looked, which is not the same as having found nothing.
    """

    pixels: Pixels
    redactions: tuple[Redaction, ...] | None = None
    detections: tuple[Detection, ...] | None = None
