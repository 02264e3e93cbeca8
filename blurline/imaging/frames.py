"""Whether a picture file holds more pictures than the one that is decoded."""

import struct
from collections.abc import Iterator

from blurline.errors import PictureError
from blurline.imaging.kind import Kind
from blurline.imaging.pillow import opened

_SUBFILE_TYPE = 254  # TIFF 6.0, "NewSubfileType"
_NO_PAGE = 1 | 4  # a smaller version of another page, or the mask of one
_MOST_THUMBNAILS = 8


def is_animated(data: bytes, kind: Kind) -> bool:
    """Whether `data` has several frames or pages, of which only the first would be redacted.

    Animated PNG, WebP, GIF and AVIF count, also where a still picture stands before them, and TIFF
    of several pages, but not a TIFF's thumbnails and masks. What hangs on to a JPEG (a second view,
    a gain map, a film) does not count either.

    Raises:
        PictureError: `corrupt_image`, when it can't be told.
    """
    if kind is Kind.JPEG:
        return False
    if kind is Kind.TIFF:
        further = list(_further_directories(data))
        return len(further) > _MOST_THUMBNAILS or not all(sort & _NO_PAGE for sort in further)
    try:
        with opened(data, kind) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception as error:  # what Pillow's parsers raise for damaged data has no common base
        raise PictureError("the file's frames can't be told apart", code="corrupt_image") from error


def _further_directories(data: bytes) -> Iterator[int]:
    """The sort of each directory behind the first one (TIFF 6.0, section 2), up to a few of them.

    Directories in a circle or beyond the end of the file count as the end, as readers take it.
    """
    order = "<" if data[:2] == b"II" else ">"
    seen: list[int] = []
    place = 4
    try:
        while len(seen) <= _MOST_THUMBNAILS + 1:
            (start,) = struct.unpack_from(f"{order}I", data, place)
            if start == 0 or start in seen:
                return
            (count,) = struct.unpack_from(f"{order}H", data, start)
            place = start + 2 + 12 * count
            rows = struct.iter_unpack(f"{order}HHI4s", data[start + 2 : place])
            sorts = [row for row in rows if row[0] == _SUBFILE_TYPE]
            if seen:
                yield _number(order, *sorts[0]) if sorts else 0
            seen.append(start)
    except struct.error:
        return


def _number(order: str, _tag: int, kind: int, _count: int, field: bytes) -> int:
    """The value of an entry of one SHORT (3) or LONG (4)."""
    number: int = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", field)[0]
    return number
