"""The directories of a TIFF file (TIFF 6.0, section 2; SubIFDs by its supplement 1 of 1995)."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC = 256, 257, 259, 262
MAKE, ORIENTATION, XMP, ICC = 271, 274, 700, 34675
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _SUBDIRECTORIES = 254, 255, 330

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # SubfileType

_MOST = 10
"""Directories that are followed, and as many again below each."""

_MOST_ENTRIES = 1024
"""Of a directory; those of pictures have some dozens."""

_MOST_NUMBERS = 1 << 18
"""Of a tag; the longest are the places of strips and the colours of a palette."""

_FORMS = {1: "B", 3: "H", 4: "I", 13: "I"}
"""The types of whole numbers: BYTE, SHORT, LONG, and IFD of supplement 1."""

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value of each type."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of the file `data`, whose numbers are in the byte order `order`, `<` or `>`.

    Attributes:
        entries: by tag the type, how many values there are, and where they stand.
        place: where the directory starts.
    """

    data: bytes
    order: str
    place: int
    entries: Mapping[int, tuple[int, int, int]]

    def content(self, tag: int) -> bytes:
        """The bytes of a tag's values, fewer where the file ends before; none without the tag."""
        form, count, place = self.entries.get(tag, (0, 0, 0))
        return self.data[place : place + SIZES.get(form, 0) * count]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """A tag's whole numbers; () for a tag that is missing, cut off, endless or holds others."""
        form, count, place = self.entries.get(tag, (0, 0, 0))
        if (
            form not in _FORMS
            or count > _MOST_NUMBERS
            or place + SIZES[form] * count > len(self.data)
        ):
            return ()
        return struct.unpack_from(f"{self.order}{count}{_FORMS[form]}", self.data, place)

    def number(self, tag: int, default: int) -> int:
        """A tag's first whole number."""
        return next(iter(self.numbers(tag)), default)

    @property
    def is_whole(self) -> bool:
        """Whether it is neither the smaller version nor the mask of another picture."""
        sort = self.number(_SUBFILE_TYPE, 0)
        return not sort & (_REDUCED | _MASK) and self.number(_OLD_SUBFILE_TYPE, 0) != _OLD_REDUCED

    @property
    def is_mask(self) -> bool:
        """Whether it is the mask of another picture."""
        return bool(self.number(_SUBFILE_TYPE, 0) & _MASK)

    @property
    def area(self) -> int:
        """Pixels of its picture."""
        return self.number(WIDTH, 0) * self.number(HEIGHT, 0)

    def below(self) -> "list[Directory]":
        """The directories that it names as its parts."""
        places = self.numbers(_SUBDIRECTORIES)[:_MOST]
        found = (_directory(self.data, self.order, place) for place in places)
        return [directory for directory in found if directory is not None]


def directories(data: bytes) -> list[Directory]:
    """The chain of directories from the first one on, up to a few.

    A directory in a circle or beyond the end of the file counts as the end, as readers take it.
    """
    return list(_chain(data))


def _chain(data: bytes) -> Iterator[Directory]:
    order = "<" if data[:2] == b"II" else ">"
    seen: set[int] = set()
    place = 4
    while len(seen) <= _MOST and place + 4 <= len(data):
        (start,) = struct.unpack_from(f"{order}I", data, place)
        found = _directory(data, order, start)
        if start in seen or found is None:
            return
        seen.add(start)
        yield found
        (count,) = struct.unpack_from(f"{order}H", data, start)
        place = start + 2 + 12 * count


def _directory(data: bytes, order: str, place: int) -> Directory | None:
    """The directory there, with those entries that are in the file; None where there is none, or
    one of more entries than any picture has."""
    if place < 8 or place + 2 > len(data):
        return None
    (count,) = struct.unpack_from(f"{order}H", data, place)
    if count > _MOST_ENTRIES:
        return None
    entries: dict[int, tuple[int, int, int]] = {}
    for start in range(place + 2, min(place + 2 + 12 * count, len(data) - 11), 12):
        tag, form, number, value = struct.unpack_from(f"{order}HHII", data, start)
        size = SIZES.get(form, 0) * number
        entries[tag] = form, number, start + 8 if size <= 4 else value
    return Directory(data, order, place, entries)
