"""What a HEIC file shows: from which coded pictures it is put together, and how it is turned.

Only the primary picture and its transparency are looked for. Thumbnails, depth maps, gain maps and
further pictures are items too, and no way leads to them. Which brands a file names is not asked.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from blurline.errors import PictureError
from blurline.imaging.heif.boxes import spans
from blurline.imaging.heif.items import Items, Property, read_items

MAX_TILES = 4096
"""Of a grid; 100 megapixels in tiles of 256 pixels a side are 1,526."""

MAX_EXIF = 4 << 20
"""Bytes of an EXIF block that is read; with a thumbnail and a maker's note it has some 100 kB."""

MAX_DEPTH = 4
"""Pictures that are each the last one, turned once more; one is the most seen."""

_REUSED = 16 << 20
"""Bytes that the tiles of a file may have beyond its size, since several may be the same item."""

_ALPHA = (
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
)  # 23008-12, 7.5.2 and B.2.1; 23091-2

_KNOWN = (b"hvcC", b"ispe", b"irot", b"imir", b"clap", b"pixi", b"colr", b"auxC", b"pasp", b"rloc")

_OTHERS = {
    b"av01": "AV1",
    b"avc1": "AVC",
    b"vvc1": "VVC",
    b"evc1": "EVC",
    b"lhv1": "layered HEVC",
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"unci": "uncompressed samples",
    b"iovl": "pictures laid over one another",
    b"tmap": "tone mapping",
}
"""What other items than those that are read hold."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The part that is shown (23008-12, 6.5.9; 14496-12, 12.1.4), in whole pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Turn:
    """Quarter turns to the left (6.5.10)."""

    quarters: int


@dataclass(frozen=True, slots=True)
class Mirror:
    """0: upside down, 1: left to right (6.5.12)."""

    axis: int


Step: TypeAlias = Crop | Turn | Mirror


@dataclass(frozen=True, slots=True)
class Colours:
    """What the samples mean, by the code points of ISO/IEC 23091-2."""

    primaries: int
    transfer: int
    matrix: int
    is_full_range: bool


@dataclass(frozen=True, slots=True)
class Canvas:
    """Coded pictures side by side, and what is done to the whole.

    Attributes:
        tiles: number of the item of each tile, row by row; a single picture is one tile.
        configs: the parameters of the decoder for each of them.
        columns: tiles in a row.
        tile: width and height of each.
        size: width and height that the tiles are cut to.
        steps: what follows, in this order.
        colours: what the file says of them, beside what is coded in the tiles.
        icc: the colour profile.
    """

    tiles: tuple[int, ...]
    configs: tuple[bytes, ...]
    columns: int
    tile: tuple[int, int]
    size: tuple[int, int]
    steps: tuple[Step, ...] = ()
    colours: Colours | None = None
    icc: bytes | None = None

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height after all steps."""
        width, height = self.size
        for step in self.steps:
            if isinstance(step, Crop):
                width, height = step.width, step.height
            elif isinstance(step, Turn) and step.quarters % 2:
                width, height = height, width
        return width, height

    @property
    def coded_pixels(self) -> int:
        """Pixels that have to be decoded."""
        width, height = self.tile
        return len(self.tiles) * width * height


@dataclass(frozen=True, slots=True)
class Picture:
    """The primary picture of a file.

    Attributes:
        items: of the file.
        canvas: its colours.
        alpha: its transparency.
        is_premultiplied: whether its colours are multiplied by that already.
    """

    items: Items
    canvas: Canvas
    alpha: Canvas | None
    is_premultiplied: bool

    @property
    def coded_pixels(self) -> int:
        """Pixels that have to be decoded, those of transparency as well."""
        return self.canvas.coded_pixels + (self.alpha.coded_pixels if self.alpha else 0)

    def check_stored(self) -> None:
        """Return if all coded bytes are in the file.

        Raises:
            ValueError: some are not, or they are used over and over again.
        """
        tiles = self.canvas.tiles + (self.alpha.tiles if self.alpha else ())
        if sum(map(self.items.check, tiles)) > len(self.items.data) + _REUSED:
            raise ValueError("tiles that are the same over and over again")

    @property
    def exif(self) -> bytes:
        """The EXIF block of the picture (23008-12, A.2.1); empty for none and for one too large.

        Raises:
            ValueError: it is malformed or not in the file.
        """
        content = self._told(b"Exif", MAX_EXIF)
        return content[4 + int.from_bytes(content[:4], "big") :]

    def xmp(self, longest: int) -> bytes:
        """The packet of XMP of the picture (A.3); empty for none and for a longer one.

        Raises:
            ValueError: it is not in the file.
        """
        return self._told(b"mime", longest)

    def _told(self, kind: bytes, longest: int) -> bytes:
        """The first item of that kind that describes the picture."""
        for item in self.items.referring(b"cdsc", self.items.primary):
            if self.items.kinds.get(item) == kind:
                return self.items.content(item) if self.items.check(item) <= longest else b""
        return b""


def read_picture(data: bytes) -> Picture:
    """The primary picture of a HEIC file; none of its pixels is decoded.

    Raises:
        ValueError: the file is malformed.
        PictureError: `unsupported_kind` for pictures of other sorts, or in more pieces than any
            real one has.
    """
    items = read_items(data)
    canvas = _canvas(items, items.primary)
    transparency = [
        item
        for item in items.referring(b"auxl", items.primary)
        if any(
            p.name == b"auxC" and p.content[4:].split(b"\0")[0] in _ALPHA
            for p in items.properties.get(item, ())
        )
    ]
    alpha = None
    if transparency:
        alpha = _canvas(items, transparency[0])
        if not alpha.steps:
            alpha = replace(alpha, steps=canvas.steps)
    is_premultiplied = any(item in items.targets(b"prem", items.primary) for item in transparency)
    return Picture(items, canvas, alpha, is_premultiplied)


def primary_kind(data: bytes) -> bytes:
    """The type of the primary item, `av01` for instance; empty where it can't be told."""
    try:
        items = read_items(data)
    except ValueError:
        return b""
    return items.kinds.get(items.primary, b"")


def holds_film(data: bytes) -> bool:
    """Whether there is a film in the file, other than behind the picture, as phones hang it on."""
    seen = set()
    with suppress(ValueError):  # whether all of the picture is there, its items say
        for name, _, _ in spans(data):
            if name == b"moov":
                return True
            if name == b"ftyp" and name in seen:
                break
            seen.add(name)
    return False


def _unsupported(what: str) -> PictureError:
    return PictureError(f"HEIF files of {what} are not supported", code="unsupported_kind")


def _canvas(items: Items, item: int, depth: int = 0) -> Canvas:
    kind, properties = items.kinds.get(item, b""), items.properties.get(item, ())
    if any(p.essential and p.name not in _KNOWN for p in properties):
        raise _unsupported("pictures with properties that are not known")
    if kind == b"iden":
        sources = items.targets(b"dimg", item)
        if len(sources) != 1 or depth == MAX_DEPTH:
            raise ValueError("a picture that is made of itself, or of none")
        canvas = _canvas(items, sources[0], depth + 1)
    elif kind == b"grid":
        canvas = _grid(items, item)
    elif kind == b"hvc1":
        canvas = _single(items, item)
    elif kind in _OTHERS:
        raise _unsupported(_OTHERS[kind])
    else:
        raise ValueError("a primary item that is no picture")
    steps = (*canvas.steps, *_steps(properties, canvas.shown))
    colours, icc = _colours(properties), _icc(properties)
    return replace(canvas, steps=steps, colours=colours or canvas.colours, icc=icc or canvas.icc)


def _single(items: Items, item: int) -> Canvas:
    properties = items.properties.get(item, ())
    configs = [p.content for p in properties if p.name == b"hvcC"]
    size = _size(properties)
    if len(configs) != 1:
        raise ValueError("a coded picture without the decoder's parameters")
    return Canvas((item,), (configs[0],), 1, size, size)


def _grid(items: Items, item: int) -> Canvas:
    """23008-12, 6.6.2.3."""
    if items.check(item) > 12:
        raise ValueError("a malformed grid")
    content, tiles = items.content(item), items.targets(b"dimg", item)
    version, flags, rows, columns = struct.unpack_from(">4B", content.ljust(12, b"\0"))
    form = ">II" if flags & 1 else ">HH"
    if version or len(content) != 4 + struct.calcsize(form):
        raise ValueError("a malformed grid")
    width, height = struct.unpack_from(form, content, 4)
    rows, columns = rows + 1, columns + 1
    if len(tiles) != rows * columns:
        raise ValueError("a grid with tiles missing")
    if len(tiles) > MAX_TILES:
        raise _unsupported(f"more than {MAX_TILES} tiles")
    if any(items.kinds.get(tile) != b"hvc1" for tile in tiles):
        raise _unsupported("tiles that are no HEVC pictures")
    singles = {tile: _canvas(items, tile) for tile in set(tiles)}
    first = singles[tiles[0]]
    across, down = first.tile
    if any(single.steps or single.tile != first.tile for single in singles.values()):
        raise _unsupported("tiles of several sizes, or turned ones")
    if not (
        across * (columns - 1) < width <= across * columns
        and down * (rows - 1) < height <= down * rows
    ):
        raise ValueError("a grid that its tiles do not fill")
    configs = tuple(singles[tile].configs[0] for tile in tiles)
    return Canvas(
        tiles, configs, columns, first.tile, (width, height), (), first.colours, first.icc
    )


def _size(properties: Sequence[Property]) -> tuple[int, int]:
    """Width and height (23008-12, 6.5.3)."""
    sizes = [p.content[4:12] for p in properties if p.name == b"ispe"]
    if len(sizes) != 1 or len(sizes[0]) != 8:
        raise ValueError("a coded picture without a size")
    width, height = struct.unpack(">II", sizes[0])
    if not width * height:
        raise ValueError("a coded picture of no pixels")
    return width, height


def _steps(properties: Sequence[Property], size: tuple[int, int]) -> list[Step]:
    """What is done to a picture of that size, in order."""
    steps: list[Step] = []
    for name, content in ((p.name, p.content) for p in properties):
        if name in (b"irot", b"imir") and len(content) != 1:
            raise ValueError("a malformed turn")
        if name == b"irot" and content[0] & 3:
            steps.append(Turn(content[0] & 3))
            size = size[::-1] if content[0] & 1 else size
        elif name == b"imir":
            steps.append(Mirror(content[0] & 1))
        elif name == b"clap":
            crop = _crop(content, *size)
            steps.append(crop)
            size = crop.width, crop.height
    if len(steps) > 3 or len({type(step) for step in steps}) != len(steps):
        raise ValueError("a picture that is turned again and again")
    return steps


def _crop(content: bytes, width: int, height: int) -> Crop:
    """The clean aperture of a picture, in whole pixels (14496-12, 12.1.4)."""
    if len(content) != 32:
        raise ValueError("a malformed clean aperture")
    numbers = struct.unpack(">IIIIiIiI", content)
    if not all(numbers[1::2]):
        raise ValueError("a malformed clean aperture")
    across, down, right, below = (
        Fraction(top, bottom) for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)
    )
    left, top = (width - across) / 2 + right, (height - down) / 2 + below
    crop = Crop(round(left), round(top), round(across), round(down))
    if (
        min(crop.left, crop.top) < 0
        or min(crop.width, crop.height) < 1
        or crop.left + crop.width > width
        or crop.top + crop.height > height
    ):
        raise ValueError("a clean aperture outside of the picture")
    return crop


def _colours(properties: Sequence[Property]) -> Colours | None:
    """What is said in code points (14496-12, 12.1.5)."""
    for content in (p.content for p in properties if p.name == b"colr"):
        if content[:4] == b"nclx" and len(content) >= 11:
            primaries, transfer, matrix, full = struct.unpack_from(">HHHB", content, 4)
            return Colours(primaries, transfer, matrix, bool(full >> 7))
    return None


def _icc(properties: Sequence[Property]) -> bytes | None:
    profiles = (p.content for p in properties if p.name == b"colr")
    return next((p[4:] for p in profiles if p[:4] in (b"prof", b"rICC")), None)
