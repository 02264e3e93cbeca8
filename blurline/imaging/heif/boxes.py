"""The boxes of ISO/IEC 14496-12, of which AVIF and HEIC files are made."""

import struct
from collections.abc import Iterator

from blurline.imaging.chunks import Reader

MAX_BOXES = 10_000
"""Side by side. A picture of 100 megapixels in tiles of 256 pixels a side has some 1,500 items,
each of which takes a box."""


class BoxReader(Reader):
    """Big-endian numbers, one after the other."""

    def number(self, size: int) -> int:
        """The next number, of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def head(self) -> int:
        """The version of a full box, past its flags (14496-12, 4.2)."""
        version, _ = self.number(1), self.number(3)
        return version

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self.place < len(self.data)

    @property
    def rest(self) -> bytes:
        """All that is left."""
        return self.data[self.place :]


def spans(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name of each box, and where its content begins and ends (14496-12, 4.2).

    Raises:
        ValueError: a box is smaller than its head or ends after `data`, or there are too many.
    """
    reader = BoxReader(data)
    for _ in range(MAX_BOXES):
        if not reader.more:
            return
        start = reader.place
        size, name = reader.number(4), reader.take(4)
        if size == 1:
            size = reader.number(8)
        end = start + size if size else len(data)
        if not reader.place <= end <= len(data):
            raise ValueError("a box that is smaller than its head, or ends after what holds it")
        yield name, reader.place, end
        reader.place = end
    raise ValueError("more boxes than any picture has")


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box.

    Raises:
        ValueError: as `spans`.
    """
    return ((name, data[start:end]) for name, start, end in spans(data))


def box(name: bytes, content: bytes) -> bytes:
    """A box with its head."""
    return struct.pack(">I4s", 8 + len(content), name) + content
