"""From redacted pixels to a file that is, as far as can be, what the original was."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurline.imaging.chunks import png_chunk
from blurline.imaging.colours import CodePoints, code_points
from blurline.imaging.containers import avif, png, tiff, webp
from blurline.imaging.decode import Pixels, turn_upright
from blurline.imaging.deep import colours_of, deep_samples
from blurline.imaging.encode import AVIF_SPEED, encode
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.levels import FULL, Levels, levels_of
from blurline.imaging.pillow import opened
from blurline.imaging.tiff.samples import read_samples

_Samples = NDArray[Any]
"""Samples of 8 or 16 bits, shape (height, width, channels): grey or RGB, then perhaps alpha."""

_PNG_HEADER = 33  # where the header of a PNG file ends
_DEEP = (Kind.PNG, Kind.TIFF)
"""The kinds that are written with 16 bits a sample."""


@dataclass(frozen=True, slots=True)
class _Original:
    """What of an original may stay beside its colours, upright.

    Attributes:
        is_grey: it has no colours.
        is_indexed: it has a palette.
        alpha: its transparency in 8 bits, shape (height, width, 1).
        deep: its samples of 16 bits.
        levels: by which `decode` made 8 bits of these; None for their own.
    """

    is_grey: bool
    is_indexed: bool
    alpha: _Samples | None
    deep: _Samples | None
    levels: Levels | None = None

    def in_8_bits(self) -> "_Original":
        """What may stay in a kind of no more bits."""
        if self.deep is None:
            return self
        alpha = (self.deep[..., 3:] >> 8).astype(np.uint8)
        return replace(self, deep=None, alpha=alpha if alpha.shape[2] else None)


def rewrite(
    data: bytes,
    kind: Kind,
    redacted: Pixels,
    boxes: Iterable[tuple[int, int, int, int]],
    orientation: int,
    quality: int,
    output: OutputFormat = OutputFormat.SAME,
) -> bytes:
    """`redacted` as a file of `output.of(kind)`, upright, without metadata.

    Of the original stay, as far as that kind has them: samples of more than 8 bits (PNG, TIFF),
    transparency, being grey, a palette (GIF, PNG to PNG) where all colours fit into one,
    losslessness (WebP to WebP), and what says in numbers what the colours mean (PNG, AVIF and HEIC
    to PNG and AVIF). In the boxes nothing of it stays, and all is opaque; nor do the finer bits of
    any pixel that `redacted` shows in another colour. JPEG shows the colours alone.

    Args:
        data: the original, which `decode` has read.
        kind: its kind.
        redacted: the whole picture, upright, with every region made unreadable.
        boxes: of the regions in `redacted`, in whole pixels: left, top, right, bottom.
        orientation: EXIF's 1 to 8, in which the original is stored.
        quality: 1 to 100, for JPEG, AVIF, and WebP but for what was lossless WebP.
        output: which kind to write.
    """
    written = output.of(kind)
    if written is Kind.JPEG:
        return encode(redacted, written, quality)
    hidden = np.zeros(redacted.shape[:2], np.bool_)
    for left, top, right, bottom in boxes:
        hidden[top:bottom, left:right] = True
    if kind is Kind.HEIC:
        original = _read_heic(data, deep=written in _DEEP)
    else:
        original = _read(data, kind, orientation)
    kept = original if written in _DEEP else original.in_8_bits()
    samples = _merged(kept, redacted, hidden)
    return _file(samples, written, data, kind, quality, indexed=original.is_indexed)


def new_picture(
    data: bytes,
    kind: Kind,
    pixels: Pixels,
    alpha: NDArray[np.uint8] | None,
    quality: int,
    written: Kind,
) -> bytes:
    """Other pixels than those of the original as a file of the kind `written`, without metadata.

    Of the original stay losslessness (WebP to WebP) and what says in numbers what the colours mean.

    Args:
        data: the original, which `decode` has read.
        kind: its kind.
        pixels: of any size, upright.
        alpha: how opaque they are, of their size and straight; not for JPEG.
        quality: 1 to 100, for JPEG, AVIF, and WebP but for what was lossless WebP.
    """
    if written is Kind.JPEG:
        return encode(pixels, written, quality)
    samples: _Samples = pixels if alpha is None else np.dstack([pixels, alpha])
    return _file(samples, written, data, kind, quality)


def read_alpha(data: bytes, kind: Kind, orientation: int) -> NDArray[np.uint8] | None:
    """How opaque the picture is, 0 to 255 in the shape (height, width), upright; None where no
    pixel is anything but opaque."""
    if kind is Kind.JPEG:
        return None
    found = _read_heic(data, deep=False) if kind is Kind.HEIC else _read(data, kind, orientation)
    alpha = found.in_8_bits().alpha
    if alpha is None or alpha.min() == np.iinfo(np.uint8).max:
        return None
    return np.ascontiguousarray(alpha[..., 0].astype(np.uint8))


def _file(
    samples: _Samples,
    written: Kind,
    data: bytes,
    kind: Kind,
    quality: int,
    *,
    indexed: bool = False,
) -> bytes:
    """The samples as a file, with what the original says of its colours."""
    if written is Kind.TIFF:
        return tiff.write(samples)
    if written is Kind.WEBP:
        return _webp(samples, quality, lossless=kind is Kind.WEBP and webp.is_lossless(data))
    if written is Kind.AVIF:
        return _avif(samples, quality, code_points(data, kind))
    if written is Kind.BMP:
        return _bmp(samples)
    return _with_colours(_png(samples, indexed=indexed), data, kind)


def _read(data: bytes, kind: Kind, orientation: int) -> _Original:
    if kind is Kind.TIFF:
        return _read_tiff(data)
    with opened(data, kind) as image:
        is_indexed = image.mode in ("P", "PA")
        is_grey = image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F"))
        has_alpha = image.has_transparency_data and not image.mode.startswith("I")
        alpha: _Samples | None = None
        deep = deep_samples(image, data)
        if has_alpha and deep is None:
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))[..., None]
    return _Original(
        is_grey,
        is_indexed,
        alpha=None if alpha is None else turn_upright(alpha, orientation),
        deep=None if deep is None else turn_upright(deep, orientation),
    )


def _read_tiff(data: bytes) -> _Original:
    found = read_samples(data)
    colours, alpha = (
        None if part is None else turn_upright(part, found.orientation)
        for part in (found.colours, found.alpha)
    )
    deep: _Samples | None = None
    if colours is not None and colours.dtype == np.uint16:
        deep = colours if alpha is None else np.concatenate([colours, alpha], axis=2)
    return _Original(
        is_grey=found.colours.shape[2] == 1,
        is_indexed=False,
        alpha=None if deep is not None else alpha,
        deep=deep,
    )


def _read_heic(data: bytes, *, deep: bool) -> _Original:
    from blurline.imaging.heif import pixels  # FFmpeg is loaded where it is needed

    alpha, fine = pixels.read_alpha(data), pixels.read_deep(data) if deep else None
    if fine is not None and alpha is not None:
        fine = np.concatenate([fine, alpha.astype(np.uint16) * 257], axis=2)
    return _Original(is_grey=False, is_indexed=False, alpha=alpha, deep=fine, levels=FULL)


def _merged(original: _Original, redacted: Pixels, hidden: NDArray[np.bool_]) -> _Samples:
    """The samples to write: those of `redacted`, with what of the original may stay."""
    is_grey = bool((redacted[..., :1] == redacted[..., 1:]).all())
    deep, alpha = original.deep, original.alpha
    if deep is not None:
        fine, alpha = colours_of(deep), deep[..., 3:]
        levels = original.levels or levels_of(fine)
        shown = redacted[..., :1] if is_grey and fine.shape[2] == 1 else redacted
        same = (levels.narrowed(fine) == shown).all(axis=2) & ~hidden
        colours: _Samples = np.where(same[..., None], fine, levels.widened(shown))
    else:
        colours = redacted[..., :1] if is_grey and original.is_grey else redacted
    if alpha is None:
        return np.ascontiguousarray(colours)
    opaque = np.iinfo(colours.dtype).max
    return np.concatenate([colours, np.where(hidden[..., None], opaque, alpha)], axis=2)


def _png(samples: _Samples, *, indexed: bool) -> bytes:
    if samples.dtype == np.uint16:
        return _by_opencv(samples, ".png")
    image = _image(samples)
    return _saved((indexed and _with_palette(image)) or image, "PNG", compress_level=1)


def _bmp(samples: _Samples) -> bytes:
    if samples.shape[2] == 4:  # Pillow writes transparency where BMP has no place for it
        return _by_opencv(samples, ".bmp")
    return _saved(_image(samples), "BMP")


def _webp(samples: _Samples, quality: int, *, lossless: bool) -> bytes:
    if lossless:
        # `exact` keeps the colours under full transparency; more effort would take seconds.
        return _saved(_image(samples), "WEBP", lossless=True, exact=True, quality=0, method=0)
    return _saved(_image(samples), "WEBP", quality=quality)


def _avif(samples: _Samples, quality: int, points: CodePoints | None) -> bytes:
    """A file of these code points, in its box of colours and in its stream."""
    if points is None:
        return _saved(_image(samples), "AVIF", quality=quality, speed=AVIF_SPEED)
    told = {
        "color-primaries": str(points.primaries),
        "transfer-characteristics": str(points.transfer),
    }
    file = _saved(_image(samples), "AVIF", quality=quality, speed=AVIF_SPEED, advanced=told)
    return avif.with_code_points(file, points)


def _image(samples: _Samples) -> Image.Image:
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    with BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def _by_opencv(samples: _Samples, extension: str) -> bytes:
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.shape[2]]
    done, buffer = cv2.imencode(extension, np.ascontiguousarray(samples[..., order]))
    if not done:
        raise RuntimeError(f"OpenCV could not write {extension}")
    return buffer.tobytes()


def _with_palette(image: Image.Image) -> Image.Image | None:
    """The picture, RGB or RGBA, with a palette of just the colours in it; None for too many."""
    counted = image.getcolors(256)
    if counted is None:
        return None
    colours = np.array([colour for _, colour in counted], np.uint8)
    colours = np.pad(colours, [(0, 0), (0, 4 - colours.shape[1])], constant_values=255)
    packed = np.asarray(image.convert("RGBA")).view(np.uint32)[..., 0]
    codes = colours.view(np.uint32)[..., 0]
    order = np.argsort(codes)
    indexed = Image.fromarray(np.searchsorted(codes[order], packed).astype(np.uint8))
    indexed.putpalette(colours[order, :3].tobytes())
    if image.mode == "RGBA":
        indexed.info["transparency"] = colours[order, 3].tobytes()
    return indexed


def _with_colours(file: bytes, original: bytes, kind: Kind) -> bytes:
    """A PNG file with chunks that say what colours mean, of another one or by its code points."""
    chunks: list[bytes] = []
    if kind is Kind.PNG:
        with suppress(ValueError):  # an original that readers forgive its damage
            chunks = png.colour_chunks(original)
    elif points := code_points(original, kind):
        chunks = [png_chunk(b"cICP", bytes((points.primaries, points.transfer, 0, 1)))]
    return b"".join([file[:_PNG_HEADER], *chunks, file[_PNG_HEADER:]])
