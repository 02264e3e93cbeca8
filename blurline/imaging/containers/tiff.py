"""TIFF files (TIFF 6.0; zlib streams by its Photoshop supplement of 2002)."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

from numpy.typing import NDArray

from blurline.imaging import ifd
from blurline.imaging.containers.deflate import check_inflated
from blurline.imaging.metadata import Metadata

_PLAIN, _DEFLATE = 1, 8
_ICC_TAG, _XMP_TAG = 34675, 700
_STRIP = 1 << 20
"""About how many bytes of samples a strip holds."""

_MEANINGS = {0: (1, b"GRAY"), 1: (1, b"GRAY"), 2: (3, b"RGB "), 3: (1, b"RGB "), 5: (4, b"CMYK")}
"""Channels without alpha and space of the colours by photometric interpretation."""

_UNASSOCIATED = 2  # alpha by which the colours are not multiplied (section 18)


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture in strips of rows, with all channels of a pixel beside each other."""

    width: int
    height: int
    depth: int
    channels: int
    photometric: int
    compression: int
    predictor: int
    rows_per_strip: int
    alpha: tuple[int, ...]
    palette: tuple[int, ...]
    strips: tuple[bytes, ...]


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The first picture of a file in strips, plain or deflated, with `metadata`.

    Raises:
        ValueError: malformed, or of a form that this package does not write: tiles, planes, other
            compressions, the byte order of Motorola.
    """
    return _file(_picture(data), metadata)


def write(samples: NDArray[Any]) -> bytes:
    """A deflated TIFF file of samples, without loss.

    Args:
        samples: 8 or 16 bits, shape (height, width, channels); grey, grey and alpha, RGB, RGBA.
    """
    height, width, channels = samples.shape
    rows = max(1, _STRIP // (width * channels * samples.itemsize))
    differences = samples.astype(samples.dtype.newbyteorder("<"))
    differences[:, 1:] -= samples[:, :-1]  # predictor 2 (section 14)
    pieces = (differences[top : top + rows].tobytes() for top in range(0, height, rows))
    picture = _Picture(
        width=width,
        height=height,
        depth=8 * samples.itemsize,
        channels=channels,
        photometric=1 if channels <= 2 else 2,
        compression=_DEFLATE,
        predictor=2,
        rows_per_strip=rows,
        alpha=() if channels in (1, 3) else (_UNASSOCIATED,),
        palette=(),
        strips=tuple(zlib.compress(piece, level=1) for piece in pieces),
    )
    return _file(picture, Metadata())


def _picture(data: bytes) -> _Picture:
    tags = _numbers(data)
    depths, formats = set(tags.get(258, ())), set(tags.get(339, (1,)))
    picture = _Picture(
        width=_one(tags, 256),
        height=_one(tags, 257),
        depth=depths.pop() if len(depths) == 1 else 0,
        channels=_one(tags, 277, 1),
        photometric=_one(tags, 262),
        compression=_one(tags, 259, _PLAIN),
        predictor=_one(tags, 317, 1),
        rows_per_strip=_one(tags, 278, _one(tags, 257)),
        alpha=tags.get(338, ()),
        palette=tags.get(320, ()) if _one(tags, 262) == 3 else (),
        strips=(),
    )
    colours, _ = _MEANINGS.get(picture.photometric, (0, b""))
    layout = _one(tags, 266, 1), _one(tags, 284, 1)  # order of bits, and of channels
    if not colours or picture.depth not in (8, 16) or formats != {1} or layout != (1, 1):
        raise ValueError("a TIFF file of other samples")
    if picture.channels - colours != len(picture.alpha) or len(picture.alpha) > 1:
        raise ValueError("a TIFF file of other channels")
    if picture.palette and len(picture.palette) != 3 << picture.depth:
        raise ValueError("a malformed palette")
    if picture.width * picture.height * picture.rows_per_strip == 0:
        raise ValueError("a TIFF file of no pixels")
    if picture.predictor not in (1, 2) or picture.compression not in (_PLAIN, _DEFLATE):
        raise ValueError("a TIFF file of another compression")
    return replace(picture, strips=tuple(_strips(data, picture, tags)))


def _strips(data: bytes, picture: _Picture, tags: Mapping[int, tuple[int, ...]]) -> Iterator[bytes]:
    """The strips from top to bottom, each without what may follow its samples."""
    starts, sizes = tags.get(273, ()), tags.get(279, ())
    tops = range(0, picture.height, picture.rows_per_strip)
    if not len(starts) == len(sizes) == len(tops):
        raise ValueError("a TIFF file of other strips")
    row = picture.width * picture.channels * picture.depth // 8
    for top, start, size in zip(tops, starts, sizes, strict=True):
        whole = row * min(picture.rows_per_strip, picture.height - top)
        strip = data[start : start + size]
        if picture.compression == _DEFLATE:
            check_inflated(strip, whole)
        elif len(strip) < whole:
            raise ValueError("a strip that ends too early")
        yield strip if picture.compression == _DEFLATE else strip[:whole]


def _numbers(data: bytes) -> dict[int, tuple[int, ...]]:
    """The tags of the first directory whose values are SHORT or LONG."""
    found: dict[int, tuple[int, ...]] = {}
    try:
        mark, place = struct.unpack_from("<4sI", data)
        (count,) = struct.unpack_from("<H", data, place)
        if mark != ifd.HEADER:
            raise ValueError("no TIFF file of this byte order")
        for index in range(count):
            entry = place + 2 + 12 * index
            tag, kind, length = struct.unpack_from("<HHI", data, entry)
            letter = {3: "H", 4: "I"}.get(kind)
            if letter is None or length > len(data):
                continue
            form = f"<{length}{letter}"
            (start,) = struct.unpack_from("<I", data, entry + 8)
            inside = struct.calcsize(form) <= 4
            found[tag] = struct.unpack_from(form, data, entry + 8 if inside else start)
    except struct.error as error:
        raise ValueError("a TIFF file that ends too early") from error
    return found


def _one(tags: Mapping[int, tuple[int, ...]], tag: int, default: int = 0) -> int:
    values = tags.get(tag, (default,))
    if len(values) != 1:
        raise ValueError("a tag of more or fewer values than one")
    return values[0]


def _file(picture: _Picture, metadata: Metadata) -> bytes:
    strips = [strip + bytes(len(strip) % 2) for strip in picture.strips]
    *starts, place = accumulate(map(len, strips), initial=8)
    entries = [
        ifd.longs(256, picture.width),
        ifd.longs(257, picture.height),
        ifd.shorts(258, *[picture.depth] * picture.channels),
        ifd.shorts(259, picture.compression),
        ifd.shorts(262, picture.photometric),
        ifd.longs(273, *starts),
        ifd.shorts(277, picture.channels),
        ifd.longs(278, picture.rows_per_strip),
        ifd.longs(279, *map(len, picture.strips)),
        ifd.rationals(282, Fraction(1)),
        ifd.rationals(283, Fraction(1)),
        ifd.shorts(284, 1),
        ifd.shorts(296, 1),  # no unit: the resolution is not known
        ifd.shorts(317, picture.predictor),
    ]
    if picture.palette:
        entries.append(ifd.shorts(320, *picture.palette))
    if picture.alpha:
        entries.append(ifd.shorts(338, *picture.alpha))
    _, space = _MEANINGS[picture.photometric]
    if icc := metadata.profile_for(space):
        entries.append(ifd.undefined(_ICC_TAG, icc))
    if xmp := metadata.xmp():
        entries.append(ifd.octets(_XMP_TAG, xmp))
    head = ifd.HEADER + struct.pack("<I", place)
    return b"".join([head, *strips, metadata.directories(entries, place)])
