"""From redacted pixels to a file that is, as far as can be, what the original was."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurline.imaging.containers import png, tiff, webp
from blurline.imaging.decode import Pixels, turn_upright
from blurline.imaging.deep import colours_of, deep_samples
from blurline.imaging.encode import AVIF_SPEED, encode
from blurline.imaging.kind import Kind
from blurline.imaging.levels import levels_of
from blurline.imaging.pillow import opened
from blurline.imaging.tiff.samples import read_samples

_Samples = NDArray[Any]
"""Samples of 8 or 16 bits, shape (height, width, channels): grey or RGB, then perhaps alpha."""

_PNG_HEADER = 33  # where the header of a PNG file ends


@dataclass(frozen=True, slots=True)
class _Original:
    """What of an original may stay beside its colours, upright.

    Attributes:
        is_grey: it has no colours.
        is_indexed: it has a palette.
        alpha: its transparency in 8 bits, shape (height, width, 1).
        deep: its samples of 16 bits.
    """

    is_grey: bool
    is_indexed: bool
    alpha: _Samples | None
    deep: _Samples | None


def rewrite(
    data: bytes,
    kind: Kind,
    redacted: Pixels,
    boxes: Iterable[tuple[int, int, int, int]],
    orientation: int,
    quality: int,
) -> bytes:
    """`redacted` as a file of `kind.written` (AVIF as AVIF), upright, without metadata.

    Of the original stay: 16 bits a sample (PNG, TIFF), transparency, being grey, a palette (PNG,
    GIF) where all colours fit into one, losslessness (WebP), and the chunks that say what the
    colours of a PNG mean. In the boxes nothing of it stays, and all is opaque; nor do the finer
    bits of any pixel that `redacted` shows in another colour.

    Args:
        data: the original, which `decode` has read.
        kind: its kind. Of JPEG nothing but the pixels in `redacted` is kept.
        redacted: the whole picture, upright, with every region made unreadable.
        boxes: of the regions in `redacted`, in whole pixels: left, top, right, bottom.
        orientation: EXIF's 1 to 8, in which the original is stored.
        quality: 1 to 100, for JPEG, AVIF, and WebP that was lossy.
    """
    if kind is Kind.JPEG:
        return encode(redacted, kind, quality)
    hidden = np.zeros(redacted.shape[:2], np.bool_)
    for left, top, right, bottom in boxes:
        hidden[top:bottom, left:right] = True
    original = _read(data, kind, orientation)
    samples = _merged(original, redacted, hidden)
    name = str(kind)
    if name == "tiff":
        return tiff.write(samples)
    if name == "webp":
        return _webp(samples, quality, lossless=webp.is_lossless(data))
    if name == "avif":
        return _saved(_image(samples), "AVIF", quality=quality, speed=AVIF_SPEED)
    if name == "bmp":
        return _bmp(samples)
    return _with_colours(_png(samples, indexed=original.is_indexed), data)


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


def _merged(original: _Original, redacted: Pixels, hidden: NDArray[np.bool_]) -> _Samples:
    """The samples to write: those of `redacted`, with what of the original may stay."""
    is_grey = bool((redacted[..., :1] == redacted[..., 1:]).all())
    deep, alpha = original.deep, original.alpha
    if deep is not None:
        fine, alpha = colours_of(deep), deep[..., 3:]
        levels = levels_of(fine)
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


def _with_colours(file: bytes, original: bytes) -> bytes:
    """A PNG file with the chunks of another one that say what colours mean."""
    chunks: list[bytes] = []
    with suppress(ValueError):  # an original that readers forgive its damage
        chunks = png.colour_chunks(original)
    return b"".join([file[:_PNG_HEADER], *chunks, file[_PNG_HEADER:]])
