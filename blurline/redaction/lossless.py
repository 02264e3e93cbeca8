"""Redaction of a JPEG that keeps every coefficient outside the redacted blocks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels
from blurline.imaging.ending import with_end
from blurline.imaging.jpeg import BLOCK, Colours, JpegError, JpegFrame, read_frame
from blurline.imaging.turbojpeg import MOST, Blocks, library
from blurline.redaction.styles import PixelBox

BATCH = 1024
"""Blocks that are computed at a time: many enough for numpy, few enough for a processor's cache."""

_K = np.arange(BLOCK)
# The orthonormal DCT-II is T.81's forward DCT (A.3.3), row by frequency.
_DCT = np.cos((2 * _K + 1) * _K[:, None] * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
_DCT[0] /= np.sqrt(2)

MIDDLE = 128 * BLOCK
"""Samples are counted from 128 (T.81, A.3.1), which is so much of a block's first coefficient."""

_Tables = dict[int, NDArray[np.uint16]]
"""Quantisation tables by the place of their component."""


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """Blocks of a component to replace: their rows, which never fall, and columns, shape (n,) each,
    and their new coefficients, shape (n, 64)."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    coefficients: NDArray[np.int16]


def redact_jpeg(
    data: bytes,
    pixels: Pixels,
    orientation: int,
    boxes: Sequence[PixelBox],
    reduction: int = 1,
    *,
    upright: bool = False,
) -> bytes:
    """The JPEG in `data` with all blocks that touch `boxes` made anew from the redacted `pixels`.

    A new block depends on `pixels` alone. All others keep their coefficients to the bit, and the
    file keeps its size, quantisation tables and sampling factors. It keeps no metadata, so that
    an orientation has to be added again; see `TurboJpeg.transcode`. A block of a component with
    fewer samples covers more pixels, so colours change a little further out than brightness.

    Samples that a JPEG stores beyond its right and bottom edge, to fill its last blocks, repeat
    the last pixels in new blocks and stay as they are in the others.

    Of a reduced picture the new blocks are so much coarser, also where they reach beyond a box.

    Args:
        data: the file.
        pixels: its upright pixels, redacted already, RGB, of shape (height / reduction,
            width / reduction, 3).
        orientation: EXIF's orientation of the file, 1 to 8.
        boxes: the redacted boxes of `pixels`, not empty and inside the picture.
        reduction: 1, 2, 4 or 8, by which the sides of the picture can be divided.
        upright: whether the file is turned, so that it is seen right without a tag.

    Raises:
        JpegError: there is no TurboJPEG library, or the file is of a kind that is not treated:
            damaged, not of 8 bits, arithmetic-coded, lossless, of uncertain colours, or with
            sampling factors that the library or `JpegFrame.block_size` can't treat; or it can't be
            turned without a loss.
    """
    codec = library()
    if codec is None:
        raise JpegError("there is no TurboJPEG library")
    data = with_end(data)
    frame = read_frame(data)
    picture = _stored(pixels, orientation)
    if frame.precision != 8:
        raise JpegError("the JPEG's samples are not of 8 bits")
    if [side * reduction for side in picture.shape[:2]] != [frame.height, frame.width]:
        raise JpegError("the JPEG's size is not that of the pixels")
    height, width = pixels.shape[:2]
    stored = [_stored_box(box, orientation, width, height) for box in boxes]
    changes = _changes(frame, picture, stored, reduction)
    missing = [len(change.rows) for change in changes]

    def edit(component: int, first: int, blocks: Blocks) -> None:
        change = changes[component]
        part = slice(*np.searchsorted(change.rows, (first, first + len(blocks))))
        blocks[change.rows[part] - first, change.columns[part]] = change.coefficients[part]
        missing[component] -= part.stop - part.start

    redacted = codec.transcode(data, edit, progressive=frame.progressive)
    if any(missing):
        raise JpegError("the library left out blocks of the JPEG")
    if upright and orientation != 1:
        return codec.turn_upright(redacted, orientation, progressive=frame.progressive)
    return redacted


def _stored(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels as the file stores them, the inverse of `turn_upright`; not a copy."""
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels.transpose(1, 0, 2) if orientation >= 5 else pixels


def _stored_box(box: PixelBox, orientation: int, width: int, height: int) -> PixelBox:
    """A box of the upright picture, `width` by `height`, where the file stores it."""
    left, top, right, bottom = box
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)


def _changes(
    frame: JpegFrame, picture: Pixels, boxes: Sequence[PixelBox], reduction: int
) -> list[_Change]:
    """The new blocks of each component, for boxes of the picture as it is stored."""
    colours = frame.colours
    alike: dict[tuple[int, int], _Tables] = defaultdict(dict)
    for index, component in enumerate(frame.components):
        height, width = (side // reduction for side in frame.block_size(component))
        if any(side % BLOCK and BLOCK % side for side in (height, width)):
            raise JpegError("the JPEG's samples are no whole number of the reduced pixels")
        alike[height, width][index] = component.table
    changes: dict[int, _Change] = {}
    for size, tables in alike.items():
        rows, columns = np.nonzero(_touched(picture, boxes, size))
        coefficients = _coefficients(picture, rows, columns, size, colours, tables)
        changes |= {index: _Change(rows, columns, values) for index, values in coefficients.items()}
    return [changes[index] for index in range(len(frame.components))]


def _coefficients(
    picture: Pixels,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    size: tuple[int, int],
    colours: Colours,
    tables: _Tables,
) -> dict[int, NDArray[np.int16]]:
    """The blocks at some rows and columns, shape (n, 64), of each component in `tables`."""
    height, width = size
    coefficients = {index: np.empty((len(rows), BLOCK**2), np.int16) for index in tables}
    for start in range(0, len(rows), BATCH):
        batch = slice(start, start + BATCH)
        windows = _windows(picture, rows[batch] * height, columns[batch] * width, size)
        values = _averaged(windows)
        count, *shape = values.shape[:3]
        planes = _planes(values.reshape(count, -1, 3), colours)
        for index, table in tables.items():
            coefficients[index][batch] = _quantised(planes[index], (shape[0], shape[1]), table)
    return coefficients


def _touched(
    picture: Pixels, boxes: Sequence[PixelBox], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which blocks, that cover `size` pixels (height, width), share a pixel with a box."""
    height, width = size
    rows, columns = -(-picture.shape[0] // height), -(-picture.shape[1] // width)
    touched = np.zeros((rows, columns), np.bool_)
    for left, top, right, bottom in boxes:
        touched[top // height : -(-bottom // height), left // width : -(-right // width)] = True
    return touched


def _windows(
    picture: Pixels, tops: NDArray[np.intp], lefts: NDArray[np.intp], size: tuple[int, int]
) -> Pixels:
    """Parts of the picture, shape (n, *size, 3); beyond its edge its last pixels go on."""
    missing = [(0, max(0, side - there)) for side, there in zip(size, picture.shape, strict=False)]
    if any(map(any, missing)):
        picture = np.pad(picture, (*missing, (0, 0)), "edge")
    every = sliding_window_view(picture, (*size, 3))[:, :, 0]
    ends = every.shape[0] - 1, every.shape[1] - 1
    windows: Pixels = every[np.minimum(tops, ends[0]), np.minimum(lefts, ends[1])]
    for axis, starts in enumerate((tops, lefts)):
        # Such windows are all of the last row or column of blocks, so they start alike.
        beyond = starts > ends[axis]
        if beyond.any():
            order = np.arange(size[axis]) + starts.max() - ends[axis]
            repeated = np.minimum(order, size[axis] - 1)
            windows[beyond] = windows[beyond].take(repeated, axis + 1)
    return windows


def _averaged(windows: Pixels) -> Pixels:
    """Windows of shape (n, h, w, 3) with at most 8 values a side, by the means of whole pixels."""
    count, height, width, _ = windows.shape
    fewer = min(height, BLOCK), min(width, BLOCK)
    if (height, width) == fewer:
        return windows
    tall = windows.reshape(count * height, width, 3)
    size = fewer[1], count * fewer[0]
    means = np.asarray(cv2.resize(tall, size, interpolation=cv2.INTER_AREA), np.uint8)
    return means.reshape(count, *fewer, 3)


def _planes(colour: Pixels, colours: Colours) -> list[NDArray[np.uint8]]:
    """The components of RGB values, shape (n, m, 3), each of shape (n, m).

    YCbCr is that of JFIF (ITU-T T.871, 7). CMYK is stored as 255 less the ink, as Photoshop does
    (libjpeg.txt, "Special color spaces"), without black ink, and YCCK is the YCbCr of the ink.
    """
    if colours is Colours.RGB:
        return [colour[..., channel] for channel in range(3)]
    no_ink = np.full(colour.shape[:2], 255, np.uint8)
    if colours is Colours.CMYK:
        return [*_planes(colour, Colours.RGB), no_ink]
    if colours is Colours.YCCK:
        return [*_planes(255 - colour, Colours.YCBCR), no_ink]
    ycrcb = np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2YCrCb), np.uint8)
    return [ycrcb[..., channel] for channel in ((0,) if colours is Colours.GREY else (0, 2, 1))]


@cache
def _spectrum_of(height: int, width: int) -> NDArray[np.float32]:
    """What turns `height` by `width` values into the 64 coefficients of a block, shape (h * w, 64).

    Both are 8 or divide it: each value then stands for several samples. The coefficients are those
    of T.81, A.3.3, in natural order.
    """
    rows, columns = (
        _DCT @ np.kron(np.eye(length), np.ones((BLOCK // length, 1))) for length in (height, width)
    )
    return np.ascontiguousarray(np.kron(rows, columns).T, np.float32)


def _quantised(
    plane: NDArray[np.uint8], size: tuple[int, int], table: NDArray[np.uint16]
) -> NDArray[np.int16]:
    """Values of one component, shape (n, h * w), as quantised blocks (T.81, A.3.1 to A.3.4)."""
    levels = plane.astype(np.float32) @ (_spectrum_of(*size) / table)
    levels[:, 0] -= MIDDLE / table[0]
    np.rint(levels, out=levels)
    np.clip(levels, -MOST, MOST, out=levels)
    return levels.astype(np.int16)
