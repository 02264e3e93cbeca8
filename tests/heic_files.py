"""HEIC files, made by a HEVC encoder and a writer of boxes that knows nothing of the reader."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

Samples = NDArray[Any]
Prop = tuple[bytes, bytes]

ESSENTIAL = (b"hvcC", b"irot", b"imir", b"clap")
ALPHA = bytes(4) + b"urn:mpeg:hevc:2015:auxid:1\0"
DEPTH = bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0"
GAIN_MAP = bytes(4) + b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
BT601, BT709, BT2020 = 6, 1, 9
_WEIGHTS = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593)}


@dataclass(frozen=True)
class Item:
    """An item of a file, its properties in order, and what it refers to."""

    kind: bytes
    content: bytes
    properties: tuple[Prop, ...] = ()
    references: tuple[tuple[bytes, tuple[int, ...]], ...] = ()
    method: int = 0

    def with_(self, *properties: Prop) -> "Item":
        """The item with more properties behind its own."""
        return replace(self, properties=(*self.properties, *properties))

    def referring(self, kind: bytes, *targets: int) -> "Item":
        """The item that refers so to others, too."""
        return replace(self, references=(*self.references, (kind, targets)))


@dataclass(frozen=True)
class Coding:
    """How pixels become a stream, and what it says of that (None: the truth); `form` is FFmpeg's
    name."""

    form: str = "yuv444p"
    matrix: int = BT601
    is_full_range: bool = True
    parameters: str = "lossless=1"
    said: str | None = None

    @property
    def bits(self) -> int:
        """Of a sample."""
        return int(self.form[-4:-2]) if self.form.endswith("le") else 8


def box(name: bytes, content: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(content), name) + content


def ispe(width: int, height: int) -> Prop:
    """The size of a picture."""
    return b"ispe", struct.pack(">4xII", width, height)


def irot(quarters: int) -> Prop:
    """Quarter turns to the left."""
    return b"irot", bytes((quarters,))


def imir(axis: int) -> Prop:
    """0: upside down, 1: left to right."""
    return b"imir", bytes((axis,))


def clap(width: int, height: int, right: Fraction, down: Fraction) -> Prop:
    """The part that is shown, by its size and how far its centre lies from the picture's."""
    offsets = (right.numerator, right.denominator, down.numerator, down.denominator)
    return b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, *offsets)


def nclx(primaries: int, transfer: int, matrix: int, *, full: bool = True) -> Prop:
    """What samples mean, in code points."""
    return b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, full << 7)


def still(
    pixels: Samples,
    coding: Coding = Coding(),
    *,
    planes: Samples | int | None = None,
) -> Item:
    """A coded picture of RGB (height, width, 3), or grey (height, width), of 8 or 16 bits.

    `planes` are coded as they are; one number is in all of them.
    """
    height, width = pixels.shape[:2]
    # The encoder pads to its smallest block in both directions and says so in the stream.
    context = cast("VideoCodecContext", av.CodecContext.create("libx265", "w"))
    context.width, context.height, context.pix_fmt = width, height, coding.form
    context.time_base = Fraction(1)
    quiet = "log-level=none:pools=none:frame-threads=1:keyint=1:info=0"
    truth = f"range={'full' if coding.is_full_range else 'limited'}:colormatrix={coding.matrix}"
    said = truth if coding.said is None else coding.said
    parameters = ":".join(part for part in (quiet, coding.parameters, said) if part)
    context.options = {"preset": "ultrafast", "x265-params": parameters}
    context.flags |= int(Flags.global_header)
    frame = av.VideoFrame(width, height, coding.form)
    coded = _planes(pixels, coding) if planes is None else _as_they_are(pixels, coding, planes)
    for plane, samples in zip(frame.planes, coded, strict=True):
        padded = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        padded[:, : samples.shape[1]] = samples
        plane.update(padded)
    packets = [*context.encode(frame), *context.encode(None)]
    (stream,) = (bytes(packet) for packet in packets)
    units = _units(bytes(context.extradata or b""))
    content = b"".join(struct.pack(">I", len(unit)) + unit for unit in _units(stream))
    config = (b"hvcC", _parameters(units, coding))
    return Item(b"hvc1", content, (config, ispe(width, height)))


def _as_they_are(pixels: Samples, coding: Coding, planes: Samples | int) -> list[Samples]:
    if isinstance(planes, int):
        return [np.full_like(plane, planes) for plane in _planes(pixels, coding)]
    return [planes[..., channel] for channel in range(planes.shape[2])]


def _planes(pixels: Samples, coding: Coding) -> list[Samples]:
    """Luma and chroma, or grey, of the coding's depth."""
    step, kind = 1 << coding.bits - 8, np.uint8 if coding.bits == 8 else np.uint16
    unit = pixels / np.iinfo(pixels.dtype).max
    most = 256 * step - 1
    black, luma, chroma = (
        (0, most, most) if coding.is_full_range else (16 * step, 219 * step, 224 * step)
    )
    if pixels.ndim == 2:
        return [np.round(unit * most).astype(kind)]
    red, blue = _WEIGHTS[coding.matrix]
    grey = unit @ (red, 1 - red - blue, blue)
    differences = ((unit[..., 2] - grey) / (2 - 2 * blue), (unit[..., 0] - grey) / (2 - 2 * red))
    down = 2 if "420" in coding.form else 1
    across = 1 if "444" in coding.form else 2
    planes = [black + luma * grey]
    for difference in differences:
        height, width = (
            -(-n // by) for n, by in zip(difference.shape, (down, across), strict=True)
        )
        even = np.pad(
            difference,
            ((0, height * down - difference.shape[0]), (0, width * across - difference.shape[1])),
            "edge",
        )
        thin = even.reshape(height, down, width, across).mean((1, 3))
        planes.append(128 * step + chroma * thin)
    return [np.clip(np.round(plane), 0, most).astype(kind) for plane in planes]


def _units(stream: bytes) -> list[bytes]:
    return [part.rstrip(b"\0") for part in stream.split(b"\0\0\1")[1:]]


def _parameters(units: Sequence[bytes], coding: Coding) -> bytes:
    """ISO/IEC 14496-15, 8.3.3.1; what a decoder reads in the sets themselves is left at zero."""
    arrays = b"".join(
        bytes((0x80 | unit[0] >> 1 & 63,)) + struct.pack(">HH", 1, len(unit)) + unit
        for unit in units
        if unit[0] >> 1 & 63 in (32, 33, 34)
    )
    return b"\1" + bytes(20) + bytes((3, 3)) + arrays


def heif(
    items: Mapping[int, Item],
    primary: int = 1,
    *,
    brands: bytes = b"heic\0\0\0\0mif1heic",
    after: bytes = b"",
    tables: Callable[[dict[bytes, bytes]], dict[bytes, bytes]] = lambda tables: tables,
) -> bytes:
    """A file of these items; `tables` may change the content of those that say where they are."""
    head = box(b"ftyp", brands)
    start = len(head) + len(_meta(items, primary, 0, tables)) + 8
    stored = b"".join(item.content for item in items.values() if item.method == 0)
    return head + _meta(items, primary, start, tables) + box(b"mdat", stored) + after


def _meta(
    items: Mapping[int, Item],
    primary: int,
    start: int,
    change: Callable[[dict[bytes, bytes]], dict[bytes, bytes]],
) -> bytes:
    shared = list(dict.fromkeys(p for item in items.values() for p in item.properties))
    kinds = places = rows = references = inner = b""
    for number, item in items.items():
        kinds += box(b"infe", struct.pack(">B3xHH4sx", 2, number, 0, item.kind))
        place = len(inner) if item.method else start
        places += struct.pack(">HHHHII", number, item.method, 0, 1, place, len(item.content))
        if item.method:
            inner += item.content
        else:
            start += len(item.content)
        for kind, targets in item.references:
            count = len(targets)
            references += box(kind, struct.pack(f">HH{count}H", number, count, *targets))
        rows += struct.pack(">HB", number, len(item.properties)) + bytes(
            shared.index(p) + 1 | 0x80 * (p[0] in ESSENTIAL) for p in item.properties
        )
    associations = box(b"ipma", struct.pack(">4xI", len(items)) + rows)
    tables = {
        b"hdlr": bytes(8) + b"pict" + bytes(13),
        b"pitm": struct.pack(">4xH", primary),
        b"iloc": struct.pack(">B3xBBH", 1, 0x44, 0, len(items)) + places,
        b"iinf": struct.pack(">4xH", len(items)) + kinds,
        b"iref": bytes(4) + references,
        b"iprp": box(b"ipco", b"".join(box(*p) for p in shared)) + associations,
        b"idat": inner,
    }
    return box(b"meta", bytes(4) + b"".join(box(*table) for table in change(tables).items()))


def grid(
    pixels: Samples,
    side: int,
    *properties: Prop,
    coding: Coding = Coding(),
    hidden: int | None = 0,
) -> dict[int, Item]:
    """A picture in square tiles, as items, of which the first is the grid. What the last tiles have
    beyond the picture is `hidden`, or zero in luma and chroma (of 4:4:4), as phones leave it."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    room = np.full((rows * side, columns * side, *pixels.shape[2:]), hidden or 0, pixels.dtype)
    room[:height, :width] = pixels
    tiles = {}
    for row in range(rows):
        for column in range(columns):
            top, left = row * side, column * side
            tile, planes = room[top : top + side, left : left + side], None
            if hidden is None:
                planes = np.dstack(_planes(tile, coding))
                planes[max(height - top, 0) :], planes[:, max(width - left, 0) :] = 0, 0
            tiles[2 + row * columns + column] = still(tile, coding, planes=planes)
    content = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, width, height)
    whole = Item(b"grid", content, (ispe(width, height), *properties), method=1)
    return {1: whole.referring(b"dimg", *tiles), **tiles}


def heic(pixels: Samples, *properties: Prop, form: str = "yuv444p", **hung: Item) -> bytes:
    """A file of one picture, and of items that refer to it."""
    items = {1: still(pixels, Coding(form)).with_(*properties)}
    return heif({**items, **dict(enumerate(hung.values(), 2))})


def exif_item(block: bytes, *of: int) -> Item:
    """EXIF of a picture."""
    return Item(b"Exif", struct.pack(">I", 6) + b"Exif\0\0" + block).referring(b"cdsc", *of or (1,))


def xmp_item(packet: bytes) -> Item:
    """XMP of the first picture."""
    return Item(b"mime", packet).referring(b"cdsc", 1)


def auxiliary(pixels: Samples, sort: bytes, coding: Coding | None = None) -> Item:
    """A second picture that says more of the first, its transparency for instance."""
    grey = coding or Coding("gray" if pixels.ndim == 2 else "yuv444p")
    return still(pixels, grey).with_((b"auxC", sort)).referring(b"auxl", 1)
