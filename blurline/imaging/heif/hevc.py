"""One picture coded by HEVC (ITU-T H.265), decoded by FFmpeg, or refused.

FFmpeg's decoder goes on where data are damaged, and leaves samples as they were where slices are
missing. So it gets nothing but slices, each picture a decoder of its own, whose memory is zero
before, and behind each slice something that shows whether the slice was too short.
"""

import re
from collections.abc import Iterator
from typing import Any

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from blurline.imaging.heif.boxes import BoxReader

Plane = NDArray[np.uint8] | NDArray[np.uint16]

MAX_SETS = 6
"""Sets of parameters; a still picture needs one of each of the three sorts."""

_SETS = range(32, 35)  # H.265, table 7-1: of the video, the sequence, the picture
_PREDICTED, _STILL = range(16), range(16, 22)  # slices that need other pictures, and that do not

MAX_SLICES = 600
"""Of a picture; no level has more (H.265, table A.8)."""

_NOWHERE = re.compile(rb"\x00\x00(?:[\x00-\x02]|\x03[^\x00-\x03])")
"""What does not occur in a unit (7.3.1.1, 7.4.2), but where it was filled up with zeros."""

_ZEROS, _ONES = bytes(64), b"\xff" * (32 << 10)
"""What is put behind each slice. Ones are read as the least likely choice and so as the end of the
slice (9.3.4.3.5), within what one block may have of them: 32 kB are more. Zeros are not."""

IDENTITY = 0
"""The matrix of pictures that are coded as green, blue and red."""
_FULL_RANGE = 2
_GAP = 4
"""Samples of chroma, in both directions, that make a gap; no block of a slice is smaller."""

_FORMAT = re.compile(r"(yuvj?4(20|22|44)p|gbrp|gray)((10|12)le)?")
_MARGIN = 64
"""By how much a coded picture may be larger than what is shown of it, in each direction."""


class Coded:
    """The planes of a decoded picture, and what its coding says of them.

    Attributes:
        planes: luma, or luma and two of chroma; of 16 bits where there are more than eight.
        bits: of a sample.
        matrix: the code point of how colours were made luma and chroma (E.3.1), 2 for unknown.
        is_full_range: whether the samples use all their values.
    """

    def __init__(self, frame: VideoFrame, matrix: int | None) -> None:
        self.bits: int = frame.format.components[0].bits
        self.planes = [_plane(frame, index, self.bits) for index in range(len(frame.planes))]
        self.matrix = int(frame.colorspace) if matrix is None else matrix
        self.is_full_range = int(frame.color_range) == _FULL_RANGE

    @property
    def has_black_zeros(self) -> bool:
        """Whether zero in all planes is a colour that pictures have."""
        return len(self.planes) == 1 or self.matrix == IDENTITY


def decode_still(
    config: bytes,
    stream: bytes,
    size: tuple[int, int],
    *,
    most_slices: int = 1,
    matrix: int | None = None,
) -> Coded:
    """The picture in a stream. Whether parts are missing, `check_whole` says of most.

    Args:
        config: the decoder's parameters (ISO/IEC 14496-15, 8.3.3.1).
        stream: its units, each after its length.
        size: the width and height that the file says it has.
        most_slices: more are refused; each may take as long as the whole picture.
        matrix: the code point that the file says, which goes before that of the stream.

    Raises:
        ValueError: it is damaged, incomplete, of another size, or of samples that are not known.
    """
    parameters, length = _parameters(config)
    slices = list(_slices(stream, length))
    if not slices or [bool(s[2] & 0x80) for s in slices] != [True] + [False] * (len(slices) - 1):
        raise ValueError("not one whole picture")
    if len(slices) > min(most_slices, MAX_SLICES):
        raise ValueError("a picture in more slices than any has")
    coded = Coded(_frame(parameters, slices, size, _ONES), matrix)
    if coded.has_black_zeros:
        # What is missing looks like black that is there, but what follows the slice changes it.
        if len(slices) > 1:
            raise ValueError("a picture without colours in several slices")
        again = Coded(_frame(parameters, slices, size, _ZEROS), matrix)
        if not all(map(np.array_equal, coded.planes, again.planes)):
            raise ValueError("a picture with parts missing")
    return coded


def check_whole(planes: list[Plane]) -> None:
    """Return if all of a picture of luma and chroma was decoded.

    Zero in all planes is a green beyond all colours, so it is memory that nothing was decoded to.
    Tiles may well have it where nothing of them is shown, and single samples beside that.

    Raises:
        ValueError: parts are missing.
    """
    luma, first, second = planes
    empty = ((first == 0) & (second == 0)).astype(np.uint8)
    if not empty.any():
        return
    down, across = (-(-a // b) for a, b in zip(luma.shape, first.shape, strict=True))
    empty &= luma[::down, ::across] == 0
    if cv2.erode(empty, np.ones((_GAP, _GAP), np.uint8)).any():
        raise ValueError("a picture with parts missing")


def _frame(
    parameters: bytes, slices: list[bytes], size: tuple[int, int], beyond: bytes
) -> VideoFrame:
    width, height = size
    context = VideoCodecContext.create("hevc", "r")
    assert isinstance(context, VideoCodecContext)  # noqa: S101 - for the type checker
    context.extradata = parameters
    context.thread_count = 1  # pictures are what is treated at the same time
    context.options = {
        "err_detect": "explode+crccheck+bitstream+buffer+careful",
        "flags": "-output_corrupt",
        "max_pixels": str((width + _MARGIN) * (height + _MARGIN)),
    }
    packet = av.Packet(b"".join(_unit(one + beyond) for one in slices))
    try:
        frames = [*context.decode(packet), *context.decode(None)]
    except av.FFmpegError as error:
        raise ValueError("a damaged picture") from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise ValueError("a damaged picture")
    frame = frames[0]
    if (frame.width, frame.height) != size:
        raise ValueError("a picture of another size than the file says")
    if not _FORMAT.fullmatch(frame.format.name):
        raise ValueError("samples of a form that is not known")
    return frame


def _parameters(config: bytes) -> tuple[bytes, int]:
    """The parameters with nothing but the sets in them, and the bytes of the length of units."""
    reader = BoxReader(config)
    head = bytearray(reader.take(22))
    arrays, count = [], 0
    for _ in range(reader.number(1)):
        sort = reader.number(1) & 63
        units = [reader.take(reader.number(2)) for _ in range(reader.number(2))]
        if sort in _SETS:
            count += len(units)
            sets = b"".join(_unit(unit, 2) for unit in units)
            arrays.append(bytes((0x80 | sort,)) + len(units).to_bytes(2, "big") + sets)
    if head[0] != 1 or not 0 < count <= MAX_SETS:
        raise ValueError("parameters of a decoder that is not known")
    length = (head[21] & 3) + 1
    head[21] |= 3  # ours are of four bytes
    return bytes(head) + bytes((len(arrays),)) + b"".join(arrays), length


def _slices(stream: bytes, length: int) -> Iterator[bytes]:
    """The slices of a picture's first layer; all other units are left out."""
    reader = BoxReader(stream)
    while reader.more:
        unit = reader.take(reader.number(length)).rstrip(b"\0")
        if len(unit) < 3:
            raise ValueError("a unit without content")
        sort, layer = unit[0] >> 1 & 63, (unit[0] & 1) << 5 | unit[1] >> 3
        if layer:
            continue
        if sort in _PREDICTED:
            raise ValueError("a picture that needs other ones")
        if sort in _STILL:
            if _NOWHERE.search(unit):
                raise ValueError("a slice with bytes that none has")
            yield unit


def _unit(content: bytes, length: int = 4) -> bytes:
    return len(content).to_bytes(length, "big") + content


def _plane(frame: VideoFrame, index: int, bits: int) -> Plane:
    """A copy, since a plane does not keep the memory of its frame."""
    plane = frame.planes[index]
    kind: Any = np.uint8 if bits == 8 else np.uint16
    lines: Plane = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
    return lines[:, : plane.width].copy()
