"""What the numbers of a picture mean as colours, where no profile but code points say it.

AVIF, HEIC and PNG name primaries and transfer by the code points of ITU-T H.273. What is decoded of
them keeps these meanings, so a file that is written must say them again: by code points if it has a
place for them, else by a profile made of them.
"""

import struct
from contextlib import suppress
from dataclasses import dataclass

from blurline.errors import PictureError
from blurline.imaging.heif import av1
from blurline.imaging.heif.items import read_items
from blurline.imaging.heif.picture import read_picture
from blurline.imaging.kind import Kind
from blurline.imaging.packed import chunk_of_png

UNKNOWN = 2
SRGB_PRIMARIES, SRGB_TRANSFER = 1, 13
_VIDEO_TRANSFERS = (1, 6, 14, 15)
"""Transfers of television, by which stills with the primaries of sRGB are shown as by its own."""

_KNOWN_PRIMARIES = (1, 2, *range(4, 13), 22)
_KNOWN_TRANSFERS = (1, 2, *range(4, 19))

_NCLX = b"nclx"


@dataclass(frozen=True, slots=True)
class CodePoints:
    """Primaries and transfer by ITU-T H.273, 8.1 and 8.2."""

    primaries: int
    transfer: int

    @property
    def are_usual(self) -> bool:
        """Whether a file that says nothing of its colours is shown in these."""
        usual = (SRGB_TRANSFER, UNKNOWN, *_VIDEO_TRANSFERS)
        return self.primaries in (SRGB_PRIMARIES, UNKNOWN) and self.transfer in usual


def code_points(data: bytes, kind: Kind) -> CodePoints | None:
    """The code points of a file; None where it says nothing, is damaged or has no place for any."""
    found: tuple[int, int] | None = None
    with suppress(ValueError, struct.error, PictureError):
        if kind is Kind.PNG:
            chunk = chunk_of_png(data, b"cICP")
            found = (chunk[0], chunk[1]) if chunk is not None and len(chunk) == 4 else None
        elif kind is Kind.AVIF:
            found = _of_avif(data)
        elif kind is Kind.HEIC and (told := read_picture(data).canvas.colours):
            found = told.primaries, told.transfer
    if found is None or found == (UNKNOWN, UNKNOWN):
        return None
    is_known = found[0] in _KNOWN_PRIMARIES and found[1] in _KNOWN_TRANSFERS
    return CodePoints(*found) if is_known else None


def _of_avif(data: bytes) -> tuple[int, int] | None:
    """Those of the box of colours, else of the stream (AVIF 1.2, 2.1 and 2.2.1)."""
    items = read_items(data)
    first = next(iter(items.targets(b"dimg", items.primary)), items.primary)
    for item in dict.fromkeys((items.primary, first)):
        for described in items.properties.get(item, ()):
            if described.name == b"colr" and described.content.startswith(_NCLX):
                primaries, transfer = struct.unpack_from(">HH", described.content, 4)
                return primaries, transfer
    return av1.colours_of(items.content(first))
