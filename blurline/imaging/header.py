"""What a picture file says of itself, read without decoding its pixels."""

import struct
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from blurline.errors import PictureError
from blurline.imaging.animation import is_animated
from blurline.imaging.ballast import check_bulk
from blurline.imaging.camera import raw_name, raw_tiff_name
from blurline.imaging.exif import orientation_of, read_exif
from blurline.imaging.heif.picture import primary_kind, read_picture
from blurline.imaging.kind import Kind
from blurline.imaging.pillow import opened
from blurline.imaging.tiff.layout import layout_of
from blurline.imaging.tiff.page import page_of
from blurline.settings import Settings

_LET_OUT = (
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,
)
"""What Pillow's parsers let out, beside what they mean to raise, for some malformed files."""

_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"mif1", b"mif2", b"msf1", b"miaf", b"heif"),
)
"""Others are not asked for: phones add new ones each year."""

_CODED = 3
"""How many times the pixels that are taken may be coded: those shown, as many of transparency, and
what tiles have beyond the edges."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest picture that is taken; `max_output_pixels` are of one that is made of it, the
    three before are `check_bulk`'s and those of a side."""

    max_bytes: int
    max_pixels: int
    max_side: int = 65_535
    max_metadata: int = 10_000_000
    max_scans: int = 100
    max_output_pixels: int = 200_000_000


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings name."""
    return Limits(
        settings.max_image_bytes,
        settings.max_image_pixels,
        settings.max_image_side,
        settings.max_metadata_bytes,
        settings.max_jpeg_scans,
        settings.max_output_pixels,
    )


@dataclass(frozen=True, slots=True)
class Header:
    """Kind and stored size of a picture; `orientation` is EXIF's 1 to 8."""

    kind: Kind
    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the orientation is applied."""
        if self.orientation >= 5:
            return self.height, self.width
        return self.width, self.height


def sniff(data: bytes) -> Kind:
    """The kind of picture that the first bytes announce; names and declared types are not asked.

    Raises:
        PictureError: `unsupported_kind` for a picture or film of a kind that is not read,
            `not_an_image` for anything else.
    """
    if not data:
        raise PictureError("the file is empty", code="not_an_image")
    if data.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Kind.GIF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Kind.WEBP
    if data.startswith((b"II*\0", b"MM\0*")):
        return Kind.TIFF
    if data.startswith(b"BM") and _is_bitmap(data):
        return Kind.BMP
    if brands := _brands(data):
        is_avif = not brands.isdisjoint(_AVIF_BRANDS) and primary_kind(data) != b"hvc1"
        if is_avif or not brands.isdisjoint(_HEIF_BRANDS):
            return Kind.AVIF if is_avif else Kind.HEIC
    if known := _unsupported(data):
        raise _not_supported(known)
    raise PictureError("the file is not an image", code="not_an_image")


def _raw(name: str) -> str:
    return f"a camera's raw file ({name})"


def _not_supported(what: str) -> PictureError:
    supported = ", ".join(kind.value for kind in Kind)
    return PictureError(
        f"{what} is not supported; send one of: {supported}", code="unsupported_kind"
    )


def read_header(data: bytes, limits: Limits) -> Header:
    """Kind, size and orientation of the picture in `data`, within `limits`.

    Raises:
        PictureError: `too_many_bytes`, `too_many_pixels`, `unsupported_kind`, `not_an_image`, or
            `animation` for a file of several frames or pages, of which only one could be redacted.
    """
    if len(data) > limits.max_bytes:
        raise too_many_bytes(limits)
    kind = sniff(data)
    check_bulk(data, kind, limits.max_metadata, limits.max_scans)
    read = {Kind.TIFF: _tiff_header, Kind.HEIC: _heic_header}.get(kind)
    width, height, orientation = read(data, limits) if read else _header(data, kind, limits)
    if is_animated(data, kind):
        raise _animation(kind)
    return Header(kind, width, height, orientation)


def _tiff_header(data: bytes, limits: Limits) -> tuple[int, int, int]:
    """Upright width and height, and 1: the reader of TIFF turns the pixels itself."""
    if raw := raw_tiff_name(data):
        raise _not_supported(_raw(raw))
    layout = layout_of(page_of(data))
    width, height = layout.upright_size
    _check_size(width, height, Kind.TIFF, limits)
    return width, height, 1


def _header(data: bytes, kind: Kind, limits: Limits) -> tuple[int, int, int]:
    """Width, height and orientation of the pixels as they are stored."""
    try:
        with opened(data, kind) as image:
            width, height = image.size
            _check_size(width, height, kind, limits)
            return width, height, _orientation(image, kind, data)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise PictureError(f"the {kind} file's header is damaged") from error
    except _LET_OUT as error:
        raise PictureError(f"the {kind} file's header is damaged") from error


def _heic_header(data: bytes, limits: Limits) -> tuple[int, int, int]:
    """Upright width and height, and 1: the boxes that turn it are in its size already."""
    if is_animated(data, Kind.HEIC):
        raise _animation(Kind.HEIC)
    try:
        picture = read_picture(data)
    except ValueError as error:
        raise PictureError("the heic file's header is damaged") from error
    for size in (picture.canvas.size, picture.canvas.shown):
        _check_size(*size, Kind.HEIC, limits)
    if picture.coded_pixels > _CODED * limits.max_pixels:
        raise PictureError(
            "the picture has too many pixels beside those that are shown", code="too_many_pixels"
        )
    try:
        picture.check_stored()
    except ValueError as error:
        raise PictureError("parts of the heic file are missing", code="corrupt_image") from error
    return *picture.canvas.shown, 1


def _animation(kind: Kind) -> PictureError:
    return PictureError(
        f"the {kind} file holds several frames or pages; send them one by one", code="animation"
    )


def _check_size(width: int, height: int, kind: Kind, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise PictureError(f"the {kind} file has no pixels")
    if max(width, height) > limits.max_side:
        raise PictureError(
            f"the picture has {width} x {height} pixels; at most {limits.max_side} a side are "
            "taken",
            code="too_many_pixels",
        )
    if width * height > limits.max_pixels:
        raise PictureError(
            f"the picture has {width} x {height} pixels; "
            f"at most {limits.max_pixels} in all are taken",
            code="too_many_pixels",
        )


def _orientation(image: Image.Image, kind: Kind, data: bytes) -> int:
    """EXIF's orientation of how the pixels are stored, 1 where it is missing or out of range."""
    with suppress(Exception):  # what Pillow's parser raises for a damaged block has no common base
        return orientation_of(read_exif(data, kind, image))
    return 1


def too_many_bytes(limits: Limits) -> PictureError:
    """The error for a file above `limits.max_bytes`."""
    return PictureError(f"the file is larger than {limits.max_bytes} bytes", code="too_many_bytes")


def _is_bitmap(data: bytes) -> bool:
    """Whether a DIB header of a known length follows the 14 bytes of the file header."""
    return len(data) >= 18 and int.from_bytes(data[14:18], "little") in (
        12,
        40,
        52,
        56,
        64,
        108,
        124,
    )


def _brands(data: bytes) -> set[bytes]:
    """The brands that the file type box names; none where there is no such box.

    ISO/IEC 14496-12, 4.3: the box's length, `ftyp`, the major brand, a version, further brands.
    """
    if data[4:8] != b"ftyp":
        return set()
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return {brands[place : place + 4] for place in range(0, len(brands), 4) if place != 4}


def _unsupported(data: bytes) -> str | None:
    """The name of a known kind of picture, film or page that is not read, or None."""
    if raw := raw_name(data):
        return _raw(raw)
    if data[4:8] == b"ftyp" and len(data) >= 12:
        return "video"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "video"
    head = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in data[:1024].lower()):
        return "SVG"
    signatures = {
        b"8BPS": "PSD",
        b"II+\0": "BigTIFF",
        b"MM\0+": "BigTIFF",
        **{b"P%d" % n + end: "PNM" for n in range(1, 8) for end in (b"\n", b" ", b"\r", b"\t")},
        b"%PDF": "PDF",
        b"%!PS": "EPS",
        b"\0\0\1\0": "ICO",
        b"\xff\x0a": "JPEG XL",
        b"\0\0\0\x0cJXL ": "JPEG XL",
        b"\0\0\0\x0cjP  ": "JPEG 2000",
        b"\xff\x4f\xff\x51": "JPEG 2000",
        b"\x1aE\xdf\xa3": "video",
        b"qoif": "QOI",
        b"\x76\x2f\x31\x01": "OpenEXR",
    }
    return next((name for start, name in signatures.items() if data.startswith(start)), None)
