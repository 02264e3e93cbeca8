"""Whether a picture file holds more pictures than the one that is decoded."""

from blurline.errors import PictureError
from blurline.imaging.heif.picture import holds_film
from blurline.imaging.kind import Kind
from blurline.imaging.pillow import opened
from blurline.imaging.tiff.page import has_pages


def is_animated(data: bytes, kind: Kind) -> bool:
    """Whether `data` has several frames or pages, of which only the first would be redacted.

    Animated PNG, WebP, GIF and AVIF count, also where a still picture stands before them, and TIFF
    of several pages, but not a TIFF's thumbnails and masks. What hangs on to a JPEG (a second view,
    a gain map, a film) does not count either, nor does what a HEIC file holds beside its primary
    picture, unless that is a film of its own.

    Raises:
        PictureError: `corrupt_image`, when it can't be told.
    """
    if kind is Kind.JPEG:
        return False
    if kind is Kind.HEIC:
        return holds_film(data)
    if kind is Kind.TIFF:
        return has_pages(data)
    try:
        with opened(data, kind) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception as error:  # what Pillow's parsers raise for damaged data has no common base
        raise PictureError("the file's frames can't be told apart", code="corrupt_image") from error
