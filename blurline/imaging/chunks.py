"""The chunks that PNG and WebP files consist of."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk up to and with IEND (PNG 3, 5.3).

    Raises:
        ValueError: a chunk ends after the file or fails its checksum, or there is no IEND.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError("no signature of a PNG file")
    place, name = len(PNG_SIGNATURE), b""
    while name != b"IEND":
        if place + 12 > len(data):
            raise ValueError("a PNG file without an end")
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data) or data[end : end + 4] != _checksum(data[place + 4 : end]):
            raise ValueError("a damaged chunk")
        yield name, data[place + 8 : end]
        place = end + 4


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + _checksum(name + content)


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk of a WebP file (RFC 9649, 2.3 and 2.4).

    Raises:
        ValueError: it is no WebP file, or one of its chunks ends after it.
    """
    size = 8 + int.from_bytes(data[4:8], "little")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or size > len(data):
        raise ValueError("no whole WebP file")
    place = 12
    while place < size:
        if place + 8 > size:
            raise ValueError("a damaged chunk")
        name, length = struct.unpack_from("<4sI", data, place)
        end = place + 8 + length
        if end > size:
            raise ValueError("a damaged chunk")
        yield name, data[place + 8 : end]
        place = end + length % 2


def riff_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its length, filled up to an even one."""
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


@dataclass(slots=True)
class Reader:
    """The parts of a file, one after the other."""

    data: bytes
    place: int = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            ValueError: there are not so many.
        """
        part = self.data[self.place : self.place + size]
        if len(part) != size:
            raise ValueError("a box or block that ends too early")
        self.place += size
        return part
