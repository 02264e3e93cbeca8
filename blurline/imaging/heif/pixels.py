"""The pixels of a HEIC file: tiles put together, made RGB, cropped and turned."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.errors import PictureError
from blurline.imaging.heif.hevc import IDENTITY, Coded, Plane, check_whole, decode_still
from blurline.imaging.heif.picture import Canvas, Colours, Crop, Mirror, Picture, Turn, read_picture

Samples = NDArray[Any]
"""Of 8 bits, or of 16 where more than 8 are coded; shape (height, width, channels)."""

_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.3, 0.11),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Of red and blue in luma, by the code point of the matrix (ISO/IEC 23091-2, table 4)."""
_USUAL = (0.299, 0.114)
_GREEN_ORANGE, _UNKNOWN = 8, 2
_NOT_KNOWN = range(11, 18)

_SLICED_PIXELS = 1 << 31
"""Slices of a tile times pixels of all tiles: a few bytes may make a slice of a whole tile, and one
slice may lie on the other. Some cameras code 33 megapixels in dozens of slices."""

_ROWS = 256
"""That are made RGB at a time."""


def read_colours(data: bytes) -> Samples:
    """The picture, upright: shape (height, width, 3), RGB.

    Raises:
        PictureError: `corrupt_image`, or what `read_picture` raises.
    """
    try:
        picture = read_picture(data)
        colours = _colours(picture)
        if picture.alpha is None or not picture.is_premultiplied:
            return colours
        return _divided(colours, _alpha(picture, picture.alpha))
    except ValueError as error:
        raise PictureError("the picture's data is damaged", code="corrupt_image") from error


def read_deep(data: bytes) -> Samples | None:
    """As `read_colours`, of a picture of more than 8 bits a sample; None for others.

    Raises:
        PictureError: as `read_colours`.
    """
    try:
        picture = read_picture(data)
        bits = next(_tiles(picture, picture.canvas)).bits
    except ValueError as error:
        raise PictureError("the picture's data is damaged", code="corrupt_image") from error
    return read_colours(data) if bits > 8 else None


def read_alpha(data: bytes) -> Samples | None:
    """The transparency of the picture in 8 bits, upright: shape (height, width, 1).

    Raises:
        PictureError: as `read_colours`.
    """
    try:
        picture = read_picture(data)
        return None if picture.alpha is None else _alpha(picture, picture.alpha)
    except ValueError as error:
        raise PictureError("the picture's data is damaged", code="corrupt_image") from error


def _colours(picture: Picture) -> Samples:
    canvas = picture.canvas
    planes, first = _joined(picture, canvas)
    if not first.has_black_zeros:
        check_whole(planes)
    colours = canvas.colours or Colours(_UNKNOWN, _UNKNOWN, first.matrix, first.is_full_range)
    return _stepped(_rgb(planes, first.bits, colours), canvas)


def _alpha(picture: Picture, canvas: Canvas) -> Samples:
    planes, first = _joined(picture, canvas)
    if not first.has_black_zeros:
        check_whole(planes)
    alpha: Samples = planes[0]
    if first.bits > 8:
        alpha = (alpha * (255 / ((1 << first.bits) - 1)) + 0.5).astype(np.uint8)
    alpha = _stepped(alpha[..., None], canvas)
    width, height = picture.canvas.shown
    if alpha.shape[:2] != (height, width):
        resized: Any = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
        alpha = resized[..., None]
    return alpha


def _joined(picture: Picture, canvas: Canvas) -> tuple[list[Plane], Coded]:
    """The planes of all tiles, cut to the size of the whole, and the first tile."""
    tiles = _tiles(picture, canvas)
    first = next(tiles)
    if len(canvas.tiles) == 1:
        return first.planes, first
    planes = [_cut(plane, canvas) for plane in first.planes]
    for number, tile in enumerate(chain([first], tiles)):
        row, column = divmod(number, canvas.columns)
        if tile.bits != first.bits:
            raise ValueError("tiles of several sorts of samples")
        for whole, plane, model in zip(planes, tile.planes, first.planes, strict=True):
            height, width = model.shape
            if plane.shape != model.shape:
                raise ValueError("tiles of several sorts of samples")
            room = whole[row * height :, column * width :][:height, :width]
            room[...] = plane[: room.shape[0], : room.shape[1]]
    return planes, first


def _tiles(picture: Picture, canvas: Canvas) -> Iterator[Coded]:
    """The decoded tiles, one by one."""
    for item, config in zip(canvas.tiles, canvas.configs, strict=True):
        yield decode_still(
            config,
            picture.items.content(item),
            canvas.tile,
            most_slices=max(1, _SLICED_PIXELS // canvas.coded_pixels),
            matrix=canvas.colours.matrix if canvas.colours else None,
        )


def _cut(plane: Plane, canvas: Canvas) -> Plane:
    """Room for a whole plane of a canvas, given that of its first tile.

    Raises:
        ValueError: samples of chroma would belong to two tiles.
    """
    (width, height), (across, down) = canvas.size, canvas.tile
    thin_down, thin_across = -(-down // plane.shape[0]), -(-across // plane.shape[1])
    if down % thin_down or across % thin_across:
        raise ValueError("tiles of an odd size")
    return np.empty((-(-height // thin_down), -(-width // thin_across)), plane.dtype)


def _rgb(planes: list[Plane], bits: int, colours: Colours) -> Samples:
    """Red, green and blue out of luma and chroma."""
    height, width = planes[0].shape
    planes = [planes[0], *(_enlarged(plane, width, height) for plane in planes[1:])]
    planes *= 3 if len(planes) == 1 else 1
    most, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    matrix = most * _matrix(bits, colours, is_grey=planes[1] is planes[0])
    found = np.empty((height, width, 3), kind)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        cv2.transform(cv2.merge([plane[rows] for plane in planes]), matrix, dst=found[rows])
    return found


def _enlarged(plane: Plane, width: int, height: int) -> Plane:
    """A plane of chroma in the size of luma."""
    if plane.shape == (height, width):
        return plane
    across, down = -(-width // plane.shape[1]), -(-height // plane.shape[0])
    size = (plane.shape[1] * across, plane.shape[0] * down)
    enlarged: Any = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
    return enlarged[:height, :width]  # type: ignore[no-any-return]


def _matrix(bits: int, colours: Colours, *, is_grey: bool) -> NDArray[np.float64]:
    """Shape (3, 4): from luma, two of chroma and 1 to red, green and blue of 0 to 1 (23091-2, 8.3).

    Raises:
        PictureError: `unsupported_kind`, there is none that is known.
    """
    step = 1 << bits - 8
    most = (1 << bits) - 1
    black, luma, chroma = (
        (0, most, most) if colours.is_full_range else (16 * step, 219 * step, 224 * step)
    )
    if is_grey:
        rows = np.array([[1.0, 0, 0]] * 3)
        chroma, middle = luma, black
    elif colours.matrix == IDENTITY:
        rows = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
        chroma, middle = luma, black
    elif colours.matrix == _GREEN_ORANGE:
        rows, middle = np.array([[1.0, -1, 1], [1, 1, 0], [1, -1, -1]]), 128 * step
    elif colours.matrix in _NOT_KNOWN:
        raise PictureError(
            "HEIF files whose colours are coded in this way are not supported",
            code="unsupported_kind",
        )
    else:
        red, blue = _WEIGHTS.get(colours.matrix, _USUAL)
        green = 1 - red - blue
        rows = np.array(
            [
                [1, 0, 2 * (1 - red)],
                [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
                [1, 2 * (1 - blue), 0],
            ]
        )
        middle = 128 * step
    scaled = rows / (luma, chroma, chroma)
    return np.column_stack([scaled, -scaled @ (black, middle, middle)])


def _stepped(samples: Samples, canvas: Canvas) -> Samples:
    for step in canvas.steps:
        match step:
            case Crop(left, top, width, height):
                samples = samples[top : top + height, left : left + width]
            case Turn(quarters):
                samples = np.rot90(samples, quarters)
            case Mirror(axis):
                samples = np.flip(samples, axis)
    return np.ascontiguousarray(samples)


def _divided(colours: Samples, alpha: Samples) -> Samples:
    """Colours that were multiplied by their opacity, without that."""
    most = np.iinfo(colours.dtype).max
    whole = colours * (255 / np.maximum(alpha, 1).astype(np.float32))
    return np.minimum(whole + 0.5, most).astype(colours.dtype)
