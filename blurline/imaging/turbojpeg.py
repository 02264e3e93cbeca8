"""A binding to the TurboJPEG library of libjpeg-turbo, which changes coefficients in place.

It uses functions of the interface of TurboJPEG 2 only, which TurboJPEG 3 kept as they were. All
constants and structures are those of turbojpeg.h
(https://github.com/libjpeg-turbo/libjpeg-turbo/blob/2.1.x/turbojpeg.h).
"""

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import metadata
from itertools import pairwise, takewhile
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blurline.imaging.jpeg import BLOCK, JpegError

MOST = 1023
"""The largest magnitude of a coefficient of 8-bit samples, but for -1024 as a block's first one,
which stands for its mean (T.81, F.1.2)."""

_LEAST = np.full(BLOCK**2, -MOST, np.int16)
_LEAST[0] -= 1

Blocks = NDArray[np.int16]
"""Quantised coefficients of whole rows of blocks, shape (rows, columns, 64), in natural order:
index 8 * v + u for the vertical frequency v and the horizontal frequency u."""

Edit = Callable[[int, int, Blocks], None]
"""Gets the place of a component in the frame header, the number of a row of blocks, and blocks from
that row on, as many rows as lie evenly in memory, which it may change in place. They are gone when
it returns."""

_OPTION_PERFECT, _OPTION_PROGRESSIVE, _OPTION_COPY_NONE = 1, 32, 64
_FLAG_STOP_ON_WARNING, _FLAG_LIMIT_SCANS = 8192, 32768

_TURNS = {1: 0, 2: 1, 3: 6, 4: 2, 5: 3, 6: 5, 7: 4, 8: 7}
"""The operation that shows a picture of each orientation of EXIF upright (`TJXOP`)."""


class _Region(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in ("x", "y", "w", "h"))


_FILTER = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,  # the coefficients
    _Region,  # where in the plane they lie
    _Region,  # the plane
    ctypes.c_int,  # the component
    ctypes.c_int,  # the transform
    ctypes.c_void_p,  # its options
)


class _Transform(ctypes.Structure):
    _fields_ = (
        ("region", _Region),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("filter", _FILTER),
    )


class TurboJpeg:
    """The library in the file at `path`. May be used by several threads at a time.

    Raises:
        OSError: there is no such file, or it is no library.
        AttributeError: it is not TurboJPEG, or older than 2.0.
    """

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        self._init = library.tjInitTransform
        self._init.restype = ctypes.c_void_p
        self._init.argtypes = ()
        self._transform = library.tjTransform
        self._transform.argtypes = (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_ulong),
            ctypes.POINTER(_Transform),
            ctypes.c_int,
        )
        self._free = library.tjFree
        self._free.argtypes = (ctypes.c_void_p,)
        self._free.restype = None
        self._destroy = library.tjDestroy
        self._destroy.argtypes = (ctypes.c_void_p,)
        self._error = library.tjGetErrorStr2
        self._error.argtypes = (ctypes.c_void_p,)
        self._error.restype = ctypes.c_char_p

    def transcode(self, data: bytes, edit: Edit, *, progressive: bool) -> bytes:
        """The JPEG in `data` with coefficients changed by `edit`, which sees every block once.

        Size, quantisation tables and sampling factors stay, and so do all coefficients that `edit`
        leaves alone. No APPn or COM segment is copied; the library writes a JFIF or an Adobe
        header anew, as the colour space needs it, with the pixel density of the old JFIF header.
        Restart markers are left out. Blocks that lie wholly outside the picture, and only fill up
        the last MCU, are neither shown to `edit` nor copied.

        Args:
            data: the whole file.
            edit: called for one component after the other, from its first row to its last; what it
                raises ends the call and comes out of it.
            progressive: whether the result is progressive, else it is sequential.

        Raises:
            JpegError: the library can't read the file, warns of its coded data, or finds more
                than 500 scans; or a coefficient is beyond what a JPEG of 8 bits can hold.
        """
        raised: list[BaseException] = []
        rows: list[int] = []

        def visit(
            address: int, part: _Region, plane: _Region, component: int, _: int, __: int | None
        ) -> int:
            if part.y >= plane.h:
                return 0  # rows that fill up the last MCU
            rows.append(address)
            if part.y + BLOCK < plane.h:
                return 0  # all rows stay in memory until the file is written
            try:
                for first, blocks in _even_rows(rows, plane.w // BLOCK):
                    edit(component, first, blocks)
                    _check_range(blocks)
            except BaseException as error:  # ctypes would only print it
                raised.append(error)
                return -1
            rows.clear()
            return 0

        transform = _Transform(options=_options(progressive), filter=_FILTER(visit))
        return self._transformed(data, transform, raised)

    def turn_upright(self, data: bytes, orientation: int, *, progressive: bool) -> bytes:
        """The JPEG in `data`, which is stored in an orientation of EXIF (1 to 8), as it is seen.

        Its coefficients are moved and change their signs, none changes its magnitude. What is said
        of segments and markers at `transcode` holds here as well.

        Raises:
            JpegError: what `transcode` raises, or the picture ends within an MCU at an edge that
                would become the left or the upper one.
        """
        options = _options(progressive) | _OPTION_PERFECT
        return self._transformed(data, _Transform(operation=_TURNS[orientation], options=options))

    def _transformed(
        self, data: bytes, transform: _Transform, raised: Sequence[BaseException] = ()
    ) -> bytes:
        """What the library makes of it, unless something was raised meanwhile."""
        flags = _FLAG_STOP_ON_WARNING | _FLAG_LIMIT_SCANS
        result, size = ctypes.c_void_p(), ctypes.c_ulong()
        handle = self._init()
        if handle is None:
            raise MemoryError
        try:
            status = self._transform(
                handle,
                data,
                len(data),
                1,
                ctypes.byref(result),
                ctypes.byref(size),
                transform,
                flags,
            )
            if raised:
                raise raised[0]
            if status:
                reason = self._error(handle).decode("ascii", "replace")
                raise JpegError(f"libjpeg-turbo can't transcode the JPEG: {reason}")
            return ctypes.string_at(result, size.value)
        finally:
            self._free(result)
            self._destroy(handle)


def _options(progressive: bool) -> int:
    return _OPTION_COPY_NONE | (_OPTION_PROGRESSIVE if progressive else 0)


def _even_rows(addresses: Sequence[int], columns: int) -> Iterator[tuple[int, Blocks]]:
    """The rows of blocks at these addresses: those that are equally far apart as one array, with
    the number of the first. A plane is a single such run, unless it takes a gigabyte."""
    sample = ctypes.sizeof(ctypes.c_int16)
    block = BLOCK**2 * sample
    steps = [after - before for before, after in pairwise(addresses)]
    first = 0
    while first < len(addresses):
        step = steps[first] if first < len(steps) else columns * block
        alike = takewhile(step.__eq__, steps[first:])
        count = 1 + len(list(alike)) if step >= columns * block else 1
        samples = ((count - 1) * step + columns * block) // sample
        memory: Any = (ctypes.c_int16 * samples).from_address(addresses[first])
        shape, strides = (count, columns, BLOCK**2), (step, block, sample)
        yield first, np.ndarray(shape, np.int16, memory, strides=strides)
        first += count


def _check_range(blocks: Blocks) -> None:
    """Raise for what the library's vectorised Huffman coder would write as garbage, unnoticed."""
    # The norm, the largest magnitude, settles it for nearly all blocks at a fifth of the cost.
    if cv2.norm(blocks, cv2.NORM_INF) > MOST and ((blocks < _LEAST) | (blocks > MOST)).any():
        raise JpegError("the JPEG's coefficients are out of range")


@cache
def library() -> TurboJpeg | None:
    """The system's TurboJPEG library, else the one of the package `turbojpeg`, else None."""
    for path in _places():
        try:
            return TurboJpeg(path)
        except (OSError, AttributeError):
            continue
    return None


def _places() -> Iterator[str]:
    if name := ctypes.util.find_library("turbojpeg"):
        yield name
    try:
        files = metadata.files("turbojpeg") or ()
    except metadata.PackageNotFoundError:
        return
    yield from (str(file.locate()) for file in files if file.name.startswith("libturbojpeg"))
