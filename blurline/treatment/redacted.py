"""What comes of a picture that was redacted, before it is told, counted and certified."""

from collections.abc import Mapping
from dataclasses import dataclass

from blurline.imaging.header import Header
from blurline.stages.frame import Frame
from blurline.treatment.second_look import SecondLook
from blurline.treatment.writing import WriteMethod


@dataclass(frozen=True, slots=True)
class Redacted:
    """A redacted picture that may be published.

    Attributes:
        picture: the file, of the kind that the options ask for.
        header: what was read of the original.
        frame: the pixels, and what was found in them.
        way: how the file came to be.
        second_look: how it was checked.
        seconds: wall-clock seconds by stage.
    """

    picture: bytes
    header: Header
    frame: Frame
    way: WriteMethod
    second_look: SecondLook
    seconds: Mapping[str, float]
