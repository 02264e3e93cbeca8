"""TIFF files of every sort, written byte by byte from a picture."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurline.imaging.decode import Pixels

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
PLAIN, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
BY_PILLOW = {LZW: "tiff_lzw", PACKBITS: "packbits", LZMA: "lzma", ZSTD: "zstd"}
SHORT, LONG = 3, 4

Entry = tuple[int, int, Sequence[int]]
"""Tag, type and values of an entry."""


@dataclass(frozen=True)
class Sort:
    """How the samples of a file are to lie."""

    depth: int = 8
    format: int = UNSIGNED
    photometric: int = 1
    planar: bool = False
    predictor: int = 1
    alpha: int | None = None
    compression: int = PLAIN
    tiles: tuple[int, int] | None = None
    rows: int = 7
    order: str = "<"
    is_reversed: bool = False
    more: tuple[Entry, ...] = ()


def tiff(shares: NDArray[np.float64], sort: Sort) -> bytes:
    """A file of samples from 0 to 1, shape (height, width, channels), already of its colours."""
    return directory_file([picture(stored(shares, sort), sort)], sort.order)


def stored(shares: NDArray[np.float64], sort: Sort) -> NDArray[Any]:
    """The numbers that stand for samples from 0 to 1."""
    if sort.format == FLOAT:
        return shares.astype(f"f{sort.depth // 8}")
    if sort.format == SIGNED:
        return np.rint(shares * (2 ** (sort.depth - 1) - 1)).astype(f"i{sort.depth // 8}")
    return np.rint(shares * (2**sort.depth - 1)).astype(np.uint64)


def picture(numbers: NDArray[Any], sort: Sort) -> tuple[list[Entry], list[bytes]]:
    """The entries of a directory, but for those of the places, and the strips or tiles."""
    height, width, channels = numbers.shape
    entries: list[Entry] = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [sort.depth] * channels),
        (259, SHORT, [sort.compression]),
        (262, SHORT, [sort.photometric]),
        (277, SHORT, [channels]),
        (284, SHORT, [2 if sort.planar else 1]),
        (317, SHORT, [sort.predictor]),
        (339, SHORT, [sort.format] * channels),
        *sort.more,
    ]
    if sort.is_reversed:
        entries.append((266, SHORT, [2]))
    if sort.alpha is not None:
        entries.append((338, SHORT, [sort.alpha]))
    if sort.tiles:
        entries += [(322, SHORT, [sort.tiles[0]]), (323, SHORT, [sort.tiles[1]])]
    else:
        entries.append((278, SHORT, [sort.rows]))
    planes = np.split(numbers, channels, axis=2) if sort.planar else [numbers]
    pieces = [_packed(part, sort) for plane in planes for part in _parts(plane, sort)]
    return entries, pieces


def _parts(plane: NDArray[Any], sort: Sort) -> list[NDArray[Any]]:
    height, width, _ = plane.shape
    if not sort.tiles:
        return [plane[top : top + sort.rows] for top in range(0, height, sort.rows)]
    across, down = sort.tiles
    wide = np.pad(plane, [(0, -height % down), (0, -width % across), (0, 0)])
    return [
        wide[top : top + down, left : left + across]
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]


def _packed(part: NDArray[Any], sort: Sort) -> bytes:
    content = _bytes(part, sort)
    width = len(content) // len(part)
    if sort.compression in BY_PILLOW:
        content = _by_pillow(content, width, BY_PILLOW[sort.compression])
    elif sort.compression in (DEFLATE, OLD_DEFLATE):
        content = zlib.compress(content)
    return reversed_bits(content) if sort.is_reversed else content


def reversed_bits(content: bytes) -> bytes:
    """The bytes with the bits of each the other way round."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
    return np.packbits(bits, bitorder="big").tobytes()


def _bytes(part: NDArray[Any], sort: Sort) -> bytes:
    """The rows as the standard and its predictors have them (TIFF 6.0, sections 2 and 14)."""
    height, width, channels = part.shape
    if sort.format != FLOAT and sort.depth not in (8, 16, 32, 64):
        rows = part.reshape(height, -1).astype(np.uint32)
        shifts = np.arange(sort.depth, dtype=np.uint32)[::-1]
        bits = (rows[..., None] >> shifts & 1).astype(np.uint8).reshape(height, -1)
        return np.packbits(bits, axis=1).tobytes()
    size = sort.depth // 8
    if sort.predictor == 3:
        wide = part.astype(f">f{size}").reshape(height, width * channels, 1).view(np.uint8)
        shuffled = wide.transpose(0, 2, 1).reshape(height, -1, channels)
        differences = shuffled.copy()
        differences[:, 1:] -= shuffled[:, :-1]
        return differences.tobytes()
    letter = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[sort.format]
    numbers = np.ascontiguousarray(part.astype(f"{letter}{size}")).view(f"u{size}")
    if sort.predictor == 2:
        differences = numbers.copy()
        differences[:, 1:] -= numbers[:, :-1]
        numbers = differences
    return numbers.astype(f"{sort.order}u{size}").tobytes()


def _by_pillow(content: bytes, width: int, compression: str) -> bytes:
    """One strip of these bytes, as libtiff packs them."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    with BytesIO() as file:
        Image.fromarray(rows).save(file, "TIFF", compression=compression, strip_size=1 << 30)
        data = file.getvalue()
    with Image.open(BytesIO(data)) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        (place,), (size,) = tags[273], tags[279]
    return data[place : place + size]


def directory_file(
    pages: Sequence[tuple[list[Entry], list[bytes]]],
    order: str = "<",
    below: Sequence[tuple[list[Entry], list[bytes]]] = (),
    start: bytes = b"",
) -> bytes:
    """A file of pages in a chain, with pictures below the first one, and with bytes behind its
    header."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + start
    parts = []
    for entries, pieces in below:
        data, place = _with_directory(data, entries, pieces, order)
        parts.append(place)
    link = 4
    for number, (entries, pieces) in enumerate(pages):
        more: list[Entry] = [(330, LONG, parts)] if parts and not number else []
        data, place = _with_directory(data, [*entries, *more], pieces, order)
        data = data[:link] + struct.pack(f"{order}I", place) + data[link + 4 :]
        link = len(data) - 4
    return data


def _with_directory(
    data: bytes, entries: list[Entry], pieces: list[bytes], order: str
) -> tuple[bytes, int]:
    """The file with the pieces and, at its end, the directory; and where that starts."""
    places = []
    for piece in pieces:
        places.append(len(data))
        data += piece
    tiled = any(tag == 322 for tag, _, _ in entries)
    if pieces:
        tags = (324, 325) if tiled else (273, 279)
        sizes = [len(piece) for piece in pieces]
        entries = [*entries, (tags[0], LONG, places), (tags[1], LONG, sizes)]
    data += bytes(len(data) % 2)
    rows = b""
    for tag, form, values in sorted(entries):
        letter = {1: "B", 2: "B", SHORT: "H", LONG: "I", 7: "B"}[form]
        field = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(field) > 4:
            field, extra = struct.pack(f"{order}I", len(data)), field
            data += extra + bytes(len(extra) % 2)
        rows += struct.pack(f"{order}HHI", tag, form, len(values)) + field.ljust(4, b"\0")
    place = len(data)
    return data + struct.pack(f"{order}H", len(entries)) + rows + bytes(4), place


def grey_of(pixels: Pixels) -> NDArray[np.float64]:
    """One channel from 0 to 1."""
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None] / 255


def shares_of(pixels: Pixels, photometric: int) -> NDArray[np.float64]:
    """The picture in the colours of a photometric interpretation, from 0 to 1."""
    if photometric in (0, 1):
        grey = grey_of(pixels)
        return grey if photometric else 1 - grey
    if photometric == 5:
        inks = 1 - pixels / 255
        black = inks.min(axis=2, keepdims=True)
        return np.concatenate([(inks - black) / np.maximum(1 - black, 1e-9), black], axis=2)
    return pixels / 255
