"""Directories of tags, as TIFF files and EXIF blocks hold them, written anew.

TIFF 6.0, section 2; EXIF 2.32, 4.5.2 and 4.6. All numbers are little-endian.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

HEADER = b"II*\0"
"""The first four of a file's eight bytes; the place of the first directory follows them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag: its number, the type of its values by TIFF 6.0, how many they are, their bytes."""

    tag: int
    type: int
    count: int
    values: bytes


def octets(tag: int, values: bytes) -> Entry:
    """An entry of type BYTE."""
    return Entry(tag, 1, len(values), values)


def ascii_text(tag: int, text: str) -> Entry:
    """An entry of type ASCII, which ends with a NUL.

    Raises:
        UnicodeEncodeError: the text is not ASCII.
    """
    values = text.encode("ascii") + b"\0"
    return Entry(tag, 2, len(values), values)


def shorts(tag: int, *values: int) -> Entry:
    """An entry of type SHORT, 16 bits each."""
    return Entry(tag, 3, len(values), struct.pack(f"<{len(values)}H", *values))


def longs(tag: int, *values: int) -> Entry:
    """An entry of type LONG, 32 bits each."""
    return Entry(tag, 4, len(values), struct.pack(f"<{len(values)}I", *values))


def rationals(tag: int, *values: Fraction) -> Entry:
    """An entry of type RATIONAL, two numbers of 32 bits each."""
    pairs = b"".join(struct.pack("<II", value.numerator, value.denominator) for value in values)
    return Entry(tag, 5, len(values), pairs)


def undefined(tag: int, values: bytes) -> Entry:
    """An entry of type UNDEFINED."""
    return Entry(tag, 7, len(values), values)


def directories(
    entries: Sequence[Entry], children: Mapping[int, Sequence[Entry]], place: int
) -> bytes:
    """A directory that begins at `place` of its file, and those that it points to behind it.

    Args:
        entries: of the first directory, without pointers; in any order.
        children: the entries of each further directory by the tag that points to it; one without
            entries is left out.
        place: an even number of bytes.
    """
    children = {tag: child for tag, child in children.items() if child}
    size = len(_directory([*entries, *(longs(tag, 0) for tag in children)], place))
    pointers, behind = [], b""
    for tag, child in children.items():
        start = place + size + len(behind)
        pointers.append(longs(tag, start))
        behind += _directory(child, start)
    return _directory([*entries, *pointers], place) + behind


def _directory(entries: Sequence[Entry], place: int) -> bytes:
    """One directory and, behind it, the values that don't fit into the four bytes of an entry."""
    start = place + 2 + 12 * len(entries) + 4
    head, values = struct.pack("<H", len(entries)), b""
    for entry in sorted(entries, key=lambda entry: entry.tag):
        if len(entry.values) <= 4:
            field = entry.values.ljust(4, b"\0")
        else:
            field = struct.pack("<I", start + len(values))
            values += entry.values + bytes(len(entry.values) % 2)
        head += struct.pack("<HHI", entry.tag, entry.type, entry.count) + field
    return head + bytes(4) + values
