"""The last thing that happens to a picture file before it leaves."""

from collections.abc import Callable

from blurline.imaging.containers import avif, bmp, gif, jpeg, png, tiff, webp
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import Metadata

_CLEANERS: dict[str, Callable[[bytes, Metadata], bytes]] = {
    "jpeg": jpeg.clean,
    "png": png.clean,
    "webp": webp.clean,
    "bmp": bmp.clean,
    "tiff": tiff.clean,
    "gif": gif.clean,
    "avif": avif.clean,
}


def clean(data: bytes, kind: Kind, metadata: Metadata) -> bytes:
    """A file with the pixels of `data`, with `metadata`, and with nothing else.

    The parts that a file of its kind needs for its pixels are named one by one, checked and put
    together anew; whatever else there is, between them or after the end, is left behind. The coded
    samples themselves are taken over bit by bit, so `data` must come from an encoder or transcoder
    of ours: what an adversary hides among the samples is not looked for.

    A colour profile that does not fit the samples is left out. BMP holds no metadata and GIF
    neither.

    Raises:
        ValueError: `data` is malformed, animated or of a form that this package does not write, or
            its kind has no place for an orientation other than 1.
    """
    return _CLEANERS[kind](data, metadata)
