"""The samples of a TIFF file as numbers of 8 or 16 bits that mean grey or red, green and blue."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging import ifd
from blurline.imaging.tiff import layout as form
from blurline.imaging.tiff.directory import Directory
from blurline.imaging.tiff.layout import Alpha, Layout, layout_of, refused
from blurline.imaging.tiff.page import page_of

Array = NDArray[Any]

_BATCH = 1 << 20
"""About how many samples are unpacked at a time."""

_TOGETHER = 4 << 20
"""About how many bytes are unpacked at a time, where strips or tiles are not larger."""

_DIMMEST = 1 << 24
"""What the brightest sample of 32 bits has to reach: of less, 16 bits would show nearly nothing."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A picture's samples, upright or as stored, of 8 or of 16 bits.

    Attributes:
        colours: shape (height, width, 1) for grey from black to white, (height, width, 3) for RGB;
            not multiplied by the transparency.
        alpha: the transparency, shape (height, width, 1), of as many bits; None without one.
        orientation: 1 to 8, in which they are stored.
    """

    colours: Array
    alpha: Array | None
    orientation: int


def read_samples(data: bytes) -> Samples:
    """The samples of the picture in a TIFF file, as they are stored.

    Up to 8 bits become 8; more, and floats from 0 to 1, become 16. What is no transparency among
    the extra channels is left out. CMYK becomes RGB by its inks alone.

    Raises:
        PictureError: `unsupported_kind`, it is not certain what the numbers mean; `corrupt_image`,
            they are damaged or not all there.
    """
    page = page_of(data)
    layout = layout_of(page)
    try:
        return _coded(page, layout) if layout.is_coded else _stored(page, layout)
    except PictureError:
        raise
    except Exception as error:  # what decoders raise for damaged data has no common base
        raise PictureError("the picture's data is damaged", code="corrupt_image") from error


def _coded(page: Directory, layout: Layout) -> Samples:
    """What libtiff makes of JPEG, fax and CIELAB.

    It is shown the tags of the samples alone, so that nothing else turns or guesses.
    """
    rows = [row for row in _rows(page) if struct.unpack_from(f"{page.order}H", row)[0] in form.KEPT]
    directory = struct.pack(f"{page.order}H", len(rows)) + b"".join(rows) + bytes(4)
    place = struct.pack(f"{page.order}I", len(page.data))
    data = page.data[:4] + place + page.data[8:] + directory
    with Image.open(BytesIO(data), formats=["TIFF"]) as image:
        is_grey = image.mode in ("1", "L")
        colours = np.asarray(image.convert("L" if is_grey else "RGB"))
    if colours.shape[:2] != (layout.height, layout.width):
        raise ValueError("other pixels than the size asks for")
    return Samples(colours[..., None] if is_grey else colours, None, layout.orientation)


def _rows(page: Directory) -> Iterator[bytes]:
    """The entries of a directory as they stand in the file."""
    (count,) = struct.unpack_from(f"{page.order}H", page.data, page.place)
    for start in range(page.place + 2, page.place + 2 + 12 * count, 12):
        yield page.data[start : start + 12]


def _stored(page: Directory, layout: Layout) -> Samples:
    """Samples that lie in the file as numbers."""
    colours = form.COLOURS[layout.photometric]
    dtype = np.uint8 if layout.depth <= 8 and layout.format != form.FLOAT else np.uint16
    grey = layout.photometric in (form.WHITE_IS_ZERO, form.BLACK_IS_ZERO)
    shape = (layout.height, layout.width, 1 if grey else 3)
    shown = np.empty(shape, dtype)
    alpha = None if layout.alpha is Alpha.NONE else np.empty((*shape[:2], 1), dtype)
    mean = _meaning(page, layout)
    brightest = 0
    for top, left, numbers in _pieces(page, layout):
        inside = numbers[: layout.height - top, : layout.width - left]
        area = np.s_[top : top + inside.shape[0], left : left + inside.shape[1]]
        if layout.depth == 32 and layout.format == form.UNSIGNED:
            brightest = max(brightest, _brightest(inside[..., :colours], layout))
        shown[area] = mean(inside[..., :colours])
        if alpha is not None:
            alpha[area] = _scaled(inside[..., colours : colours + 1], layout)
            if layout.alpha is Alpha.ASSOCIATED:
                shown[area] = _divided(shown[area], alpha[area])
    if layout.depth == 32 and layout.format == form.UNSIGNED and brightest < _DIMMEST:
        raise refused("of 32 bits a sample that use next to nothing of them")
    return Samples(shown, alpha, layout.orientation)


def _brightest(numbers: Array, layout: Layout) -> int:
    is_negative = layout.photometric in (form.WHITE_IS_ZERO, form.CMYK)
    return 0xFFFFFFFF - int(numbers.min()) if is_negative else int(numbers.max())


def _pieces(page: Directory, layout: Layout) -> Iterator[tuple[int, int, Array]]:
    """Top, left and numbers, shape (height, width, channels), of parts of the picture.

    The numbers are as stored: unsigned, or floats. Tiles reach beyond the edges of the picture.
    """
    width, height = layout.piece
    channels = 1 if layout.planar else layout.channels
    planes = layout.channels if layout.planar else 1
    across, down = -(-layout.width // width), -(-layout.height // height)
    for first, rows in _contents(page, layout, across * down, planes):
        for index, parts in enumerate(zip(*rows, strict=True), first):
            top, left = index // across * height, index % across * width
            step = max(1, _BATCH // (width * layout.channels))
            for start in range(0, len(parts[0]), step):
                planes_of = [
                    _row_numbers(part[start : start + step], layout, page.order, width, channels)
                    for part in parts
                ]
                yield top + start, left, np.concatenate(planes_of, axis=2)


def _contents(
    page: Directory, layout: Layout, count: int, planes: int
) -> Iterator[tuple[int, list[list[NDArray[np.uint8]]]]]:
    """The bytes of the strips or tiles, many at a time: the number of the first of them, and for
    each plane theirs, of shape (height, bytes of a row)."""
    width, height = layout.piece
    tiled = 322 in page.entries
    places, sizes = page.numbers(324 if tiled else 273), page.numbers(325 if tiled else 279)
    if not sizes and layout.compression == form.PLAIN:  # as many old files have it
        sizes = (len(page.data),) * len(places)
    if len(places) < planes * count or len(sizes) < len(places):
        raise ValueError("fewer strips or tiles than the picture has")
    across = -(-width * layout.channels // planes * layout.depth // 8)
    many = max(1, _TOGETHER // (across * height))
    for first in range(0, count, many):
        end = min(first + many, count)
        talls = [height] * (end - first)
        if not tiled and end == count:
            talls[-1] = layout.height - height * (count - 1)
        found = []
        for plane in range(planes):
            numbers = range(plane * count + first, plane * count + end)
            streams = [page.data[places[n] : places[n] + sizes[n]] for n in numbers]
            if layout.is_reversed:
                streams = [stream.translate(_REVERSED) for stream in streams]
            found.append(_unpacked(streams, layout.compression, talls, across))
        yield first, found


def _row_numbers(
    rows: NDArray[np.uint8], layout: Layout, order: str, width: int, channels: int
) -> Array:
    """The numbers in rows of bytes, shape (height, width, channels)."""
    depth, shape = layout.depth, (len(rows), width, channels)
    if depth not in (8, 16, 32, 64):
        count = width * channels
        bits = np.unpackbits(rows, axis=1)[:, : count * depth].reshape(len(rows), count, depth)
        weights = 1 << np.arange(depth, dtype=np.uint32)[::-1]
        return (bits @ weights).reshape(shape)
    size = depth // 8
    if layout.predictor == 3:
        sums = rows.reshape(len(rows), -1, channels).cumsum(axis=1, dtype=np.uint8)
        planes = sums.reshape(len(rows), size, -1)  # the highest bytes of all numbers come first
        return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{size}").reshape(shape)
    found: Array = rows.view(f"{order}u{size}").reshape(shape)
    found = found.astype(found.dtype.newbyteorder("="))
    if layout.predictor == 2:
        found = found.cumsum(axis=1, dtype=found.dtype)
    return found.view(f"f{size}") if layout.format == form.FLOAT else found


def _unpacked(
    streams: list[bytes], compression: int, heights: list[int], width: int
) -> list[NDArray[np.uint8]]:
    """What the streams of strips or tiles hold, each `width` bytes in so many rows.

    Raises:
        Exception: they are damaged or hold fewer.
    """
    if compression == form.PLAIN:
        contents = [
            stream[: height * width] for stream, height in zip(streams, heights, strict=True)
        ]
    elif compression in (form.DEFLATE, form.OLD_DEFLATE):
        contents = [
            zlib.decompressobj().decompress(stream, height * width)
            for stream, height in zip(streams, heights, strict=True)
        ]
    else:
        rows = np.frombuffer(_by_libtiff(streams, compression, heights, width), np.uint8)
        return np.split(rows.reshape(-1, width), np.cumsum(heights)[:-1])
    return [
        np.frombuffer(content, np.uint8).reshape(height, width)
        for content, height in zip(contents, heights, strict=True)
    ]


def _by_libtiff(streams: list[bytes], compression: int, heights: list[int], width: int) -> bytes:
    """The bytes as a grey picture would have them, since libtiff packs without asking what for."""
    *starts, end = accumulate(map(len, streams), initial=8)
    entries = [
        ifd.longs(256, width),
        ifd.longs(257, sum(heights)),
        ifd.shorts(258, 8),
        ifd.shorts(259, compression),
        ifd.shorts(262, form.BLACK_IS_ZERO),
        ifd.longs(273, *starts),
        ifd.shorts(277, 1),
        ifd.longs(278, heights[0]),
        ifd.longs(279, *map(len, streams)),
    ]
    place = end + end % 2
    head = ifd.HEADER + struct.pack("<I", place)
    data = b"".join([head, *streams, bytes(end % 2), ifd.directories(entries, {}, place)])
    with Image.open(BytesIO(data), formats=["TIFF"]) as image:
        return image.tobytes()


def _meaning(page: Directory, layout: Layout) -> Callable[[Array], Array]:
    """What turns stored numbers of the colour's channels into samples of grey or RGB."""
    match layout.photometric:
        case form.PALETTE:
            palette = _palette(page)
            return lambda numbers: palette[numbers[..., 0]]
        case form.WHITE_IS_ZERO:
            return lambda numbers: ~_scaled(numbers, layout)
        case form.CMYK:
            return lambda numbers: _without_ink(~_scaled(numbers, layout))
        case _:
            return lambda numbers: _scaled(numbers, layout)


def _palette(page: Directory) -> NDArray[np.uint8]:
    """The colours, shape (n, 3); a palette of no number above 255 was meant as one of bytes."""
    colours = np.array(page.numbers(320), np.uint32).reshape(3, -1).T
    if colours.max() > 255:
        colours = (colours * 255 + 32767) // 65535
    return colours.astype(np.uint8)


def _scaled(numbers: Array, layout: Layout) -> Array:
    """Stored numbers as samples of 8 or 16 bits, from 0 to the brightest."""
    depth = layout.depth
    if layout.format == form.FLOAT:
        if not bool(((numbers >= 0) & (numbers <= 1)).all()):
            raise refused("of floats that are not all from 0 to 1")
        return np.rint(numbers.astype(np.float64) * 65535).astype(np.uint16)
    if depth in (8, 16):
        return numbers
    if depth == 32:
        return (numbers >> 16).astype(np.uint16)
    bits, most = (8 if depth < 8 else 16), (1 << depth) - 1
    full = (1 << bits) - 1
    scaled = (numbers.astype(np.uint32) * np.uint32(full) + most // 2) // np.uint32(most)
    return scaled.astype(np.uint8 if bits == 8 else np.uint16)


def _without_ink(lights: Array) -> Array:
    """RGB of what each of four inks leaves of the light."""
    full = np.iinfo(lights.dtype).max
    wide = lights.astype(np.uint32)
    return ((wide[..., :3] * wide[..., 3:] + full // 2) // np.uint32(full)).astype(lights.dtype)


def _divided(colours: Array, alpha: Array) -> Array:
    """Colours that were multiplied by the transparency, as they are without it."""
    full = np.iinfo(colours.dtype).max
    wide = colours.astype(np.uint32)
    divisor = np.maximum(alpha, 1).astype(np.uint32)
    clear = np.minimum((wide * np.uint32(full) + divisor // 2) // divisor, full)
    return np.where(alpha == 0, colours, clear).astype(colours.dtype)
