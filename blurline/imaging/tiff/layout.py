"""How the samples of a TIFF file lie and what they mean (TIFF 6.0), as far as both are certain.

Readers of TIFF guess where a file is of a sort that they were not made for, and show a negative or
noise then. So the sorts that are read are named here, each of which a test compares with its
source, and every other one is refused by a sentence that says why.
"""

from dataclasses import dataclass
from enum import StrEnum

from blurline.errors import PictureError
from blurline.imaging.ballast import MAX_STRIPS
from blurline.imaging.tiff.directory import (
    COMPRESSION,
    HEIGHT,
    ORIENTATION,
    PHOTOMETRIC,
    WIDTH,
    Directory,
)

UNSIGNED, SIGNED, FLOAT, UNKNOWN = 1, 2, 3, 4
"""SampleFormat (section 19); the unknown ones are read as unsigned, as it says."""

PLAIN, LZW, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 8, 32946, 32773
LZMA, ZSTD = 34925, 50000
_JPEG = 7
_FAX = (2, 3, 4)

BYTES = (PLAIN, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD)
"""Compressions of bytes, whatever they mean."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8

COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3}
"""Channels without the extra ones, by photometric interpretation."""

_DEPTHS = {
    UNSIGNED: (*range(1, 17), 32),
    FLOAT: (16, 32, 64),
}
"""Bits of a sample that are read, by their format."""

_MOST_OF_GREY = 2  # the second one is transparency, or a mask
_MOST_CHANNELS = 16

_SPARE = 1 << 22
"""Pixels by which a tile may be larger than the picture."""

_MOST_BITS = 8 << 30
"""Of a strip or tile once it is unpacked; 100 million pixels of 16 bits and four channels fit."""

_KEPT_TAGS = (256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317)
_KEPT_TILES = (322, 323, 324, 325)
_KEPT_COLOURS = (338, 347, 529, 530, 531, 532)
KEPT = (*_KEPT_TAGS, *_KEPT_TILES, *_KEPT_COLOURS)
"""Tags that a decoder needs for the samples of a file; nothing else in it is its business."""


class Alpha(StrEnum):
    """What an extra channel is: nothing known, or transparency by which the colours have been
    multiplied, or not (section 18)."""

    NONE = "none"
    ASSOCIATED = "associated"
    UNASSOCIATED = "unassociated"


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture's samples.

    Attributes:
        width: in pixels, as stored.
        height: in pixels, as stored.
        depth: bits of a sample.
        format: of a sample, `UNSIGNED` or `FLOAT`.
        channels: samples of a pixel, the extra ones behind those of the colour.
        photometric: what the colours are.
        alpha: what the first extra channel is.
        planar: whether each channel lies for itself.
        compression: how the bytes are packed.
        predictor: 1 to 3: none, differences, differences of the bytes of floats (section 14, and
            Photoshop's technical note 3).
        piece: width and height of a tile, or of a strip.
        is_reversed: whether the bits of each byte stand the wrong way round.
        orientation: 1 to 8, as of EXIF.
    """

    width: int
    height: int
    depth: int
    format: int
    channels: int
    photometric: int
    alpha: Alpha
    planar: bool
    compression: int
    predictor: int
    piece: tuple[int, int]
    is_reversed: bool
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the orientation is applied."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)

    @property
    def is_coded(self) -> bool:
        """Whether a decoder has to turn what is stored into samples: JPEG, fax, or CIELAB."""
        return self.compression not in BYTES or self.photometric in (YCBCR, CIELAB)


def layout_of(page: Directory) -> Layout:
    """The layout of a page's samples.

    Raises:
        PictureError: `unsupported_kind` for one that is not certain to be read rightly, which the
            message names; `not_an_image` where the directory is damaged.
    """
    width, height = page.number(WIDTH, 0), page.number(HEIGHT, 0)
    if PHOTOMETRIC not in page.entries or not (width and height):
        raise PictureError("the tiff file's header is damaged")
    photometric = page.number(PHOTOMETRIC, 0)
    channels = page.number(277, 1)
    tiled = 322 in page.entries
    rows = min(page.number(278, height), height)
    piece = (page.number(322, 0), page.number(323, 0)) if tiled else (width, rows)
    if not all(piece):
        raise PictureError("the tiff file's header is damaged")
    layout = Layout(
        width=width,
        height=height,
        depth=_depth(page, channels),
        format=_format(page, channels),
        channels=channels,
        photometric=photometric,
        alpha=_alpha(page, photometric, channels),
        planar=page.number(284, 1) == 2 and channels > 1,
        compression=page.number(COMPRESSION, PLAIN),
        predictor=page.number(317, 1),
        piece=piece,
        is_reversed=page.number(266, 1) == 2,
        orientation=_orientation(page),
    )
    _check(layout, page)
    return layout


def refused(what: str) -> PictureError:
    """The error for a sort of TIFF file that is not read."""
    return PictureError(f"TIFF files {what} are not supported", code="unsupported_kind")


def _depth(page: Directory, channels: int) -> int:
    depths = set(page.numbers(258)[:channels] or (1,))
    if len(depths) != 1:
        raise refused("whose channels differ in their bits")
    return depths.pop()


def _format(page: Directory, channels: int) -> int:
    formats = set(page.numbers(339)[:channels] or (UNSIGNED,))
    if len(formats) != 1:
        raise refused("whose channels differ in their format")
    (form,) = formats
    if form == SIGNED:
        raise refused("of signed samples, of which it is not certain what is black,")
    if form not in (UNSIGNED, FLOAT, UNKNOWN):
        raise refused("of complex or unknown samples")
    return FLOAT if form == FLOAT else UNSIGNED


def _alpha(page: Directory, photometric: int, channels: int) -> Alpha:
    """What the channel behind those of the colour is; one that nothing is said of counts as
    transparency, as readers have it."""
    extra = channels - COLOURS.get(photometric, channels)
    if extra < 1:
        return Alpha.NONE
    if 338 not in page.entries:
        return Alpha.UNASSOCIATED if extra == 1 else Alpha.NONE
    sorts = {1: Alpha.ASSOCIATED, 2: Alpha.UNASSOCIATED}
    return sorts.get(page.number(338, 0), Alpha.NONE)


def _orientation(page: Directory) -> int:
    value = page.number(ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def _check(layout: Layout, page: Directory) -> None:
    """Raise for what is not read."""
    colours = COLOURS.get(layout.photometric)
    if colours is None:
        raise refused("of such a photometric interpretation")
    if layout.channels < colours:
        raise PictureError("the tiff file's header is damaged")
    if layout.depth not in _DEPTHS[layout.format]:
        raise refused(f"of {layout.depth} bits a sample in that format")
    if layout.compression not in (*BYTES, _JPEG, *_FAX):
        raise refused("of such a compression")
    if layout.predictor not in ((1, 2, 3) if layout.format == FLOAT else (1, 2)):
        raise refused("of such a predictor")
    if layout.predictor == 2 and layout.depth not in (8, 16, 32, 64):
        raise refused(f"with differences of {layout.depth} bits")
    if layout.photometric == CMYK and page.number(332, 1) != 1:
        raise refused("of other inks than those of CMYK")
    if layout.format == FLOAT and layout.photometric not in (BLACK_IS_ZERO, RGB):
        raise refused("of floats that are neither grey nor RGB")
    if colours == 1 and layout.channels > _MOST_OF_GREY:
        raise refused("of several channels that are not said to be colours")
    _check_palette(layout, page)
    if layout.is_coded:
        _check_coded(layout)
    _check_pieces(layout, page)


def _check_pieces(layout: Layout, page: Directory) -> None:
    """Raise for strips or tiles that are more, or larger, than any picture needs."""
    tag = 324 if 322 in page.entries else 273
    if page.entries.get(tag, (0, 0, 0))[1] > MAX_STRIPS:
        raise refused(f"of more than {MAX_STRIPS} strips or tiles")
    area = layout.piece[0] * layout.piece[1]
    if area > layout.width * layout.height + _SPARE:
        raise refused("with tiles that are larger than the picture")
    if layout.channels > _MOST_CHANNELS or area * layout.channels * layout.depth > _MOST_BITS:
        raise refused("with so much in a strip or tile")


def _check_palette(layout: Layout, page: Directory) -> None:
    if layout.photometric != PALETTE:
        return
    if layout.channels != 1 or layout.depth > 8:
        raise refused("with a palette and more than 8 bits a pixel")
    if len(page.numbers(320)) != 3 << layout.depth:
        raise PictureError("the tiff file's header is damaged")


def _check_coded(layout: Layout) -> None:
    """Raise for what the decoder of coded samples is not proved to read."""
    expected = 8
    meanings: tuple[int, ...] = (CIELAB,)
    if layout.compression == _JPEG:
        meanings = (BLACK_IS_ZERO, RGB, YCBCR)
    elif layout.compression in _FAX:
        expected, meanings = 1, (WHITE_IS_ZERO, BLACK_IS_ZERO)
    if layout.depth != expected or layout.photometric not in meanings:
        raise refused("of such colours in such a compression")
    if layout.channels != COLOURS[layout.photometric] or layout.planar:
        raise refused("of such channels in such a compression")
