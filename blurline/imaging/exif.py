"""The EXIF block of a picture file, and how it says that the picture is turned.

Everything that asks how a picture lies asks here, so that what the networks see, what is redacted
and what is written can't differ. EXIF's `Orientation` alone says it (and what of an AVIF file turns
the picture, which its reader hands on as that tag; a HEIC is turned by its own reader): the copy of
it that XMP may hold is left to nobody, though Pillow's `getexif` falls back to it.
"""

from contextlib import suppress

from PIL import Image

from blurline.imaging.heif.picture import read_picture
from blurline.imaging.kind import Kind
from blurline.imaging.packed import exif_of_png

ORIENTATION_TAG = 0x0112  # TIFF 6.0, "Orientation"


def read_exif(data: bytes, kind: Kind, image: Image.Image | None) -> Image.Exif:
    """The tags of the file in `data`; none where there is no block.

    Args:
        data: the file.
        kind: its kind.
        image: the file as Pillow opened it; of PNG, TIFF and HEIC nothing is asked of it.

    Raises:
        Exception: whatever Pillow's parser raises for a damaged block.
    """
    exif = Image.Exif()
    if kind is Kind.TIFF:
        block: object = data  # a block is such a file
    elif kind is Kind.PNG:
        # Pillow would decode all pixels to see whether a block comes behind them.
        block = exif_of_png(data)
    elif kind is Kind.HEIC:
        block = read_picture(data).exif
    else:
        block = None if image is None else image.info.get("exif")
    if isinstance(block, bytes) and block:
        exif.load(block)
    if kind is Kind.HEIC and ORIENTATION_TAG in exif:
        del exif[ORIENTATION_TAG]  # its boxes alone turn it (MIAF, 7.3.6.7)
    return exif


def orientation_of(exif: Image.Exif) -> int:
    """EXIF's 1 to 8 of how the pixels are stored, 1 where it is missing, malformed or neither."""
    value: object = None
    with suppress(Exception):  # what Pillow's parser raises for a damaged value has no common base
        value = exif.get(ORIENTATION_TAG)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
