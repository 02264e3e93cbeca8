"""Which of the directories of a TIFF file is its picture."""

from collections.abc import Iterator
from dataclasses import replace

from blurline.errors import PictureError
from blurline.imaging.tiff.directory import ICC, ORIENTATION, Directory, directories

_MOST_PREVIEWS = 8
"""Smaller versions and masks beside a picture; a file of more directories is one of pages."""


def page_of(data: bytes) -> Directory:
    """The directory of the first picture that is no smaller version of another, wherever it lies.

    Raises:
        PictureError: `unsupported_kind` where only smaller versions of it can be found;
            `not_an_image` without a directory.
    """
    chain = directories(data)
    if not chain:
        raise PictureError("the tiff file's header is damaged")
    page = next(_pages(chain), None)
    if page is None:
        raise PictureError(
            "TIFF files with nothing but a smaller version of their picture are not supported",
            code="unsupported_kind",
        )
    return page


def has_pages(data: bytes) -> bool:
    """Whether there are several pictures, none of them a smaller version of another."""
    chain = directories(data)
    return len(chain) > 1 + _MOST_PREVIEWS or len(list(_pages(chain))) > 1


def _pages(chain: list[Directory]) -> Iterator[Directory]:
    for directory in chain:
        larger = [
            part
            for part in directory.below()
            # A part that does not say what it is, and is no larger, is a preview.
            if part.is_whole and (not directory.is_whole or part.area > directory.area)
        ]
        if larger and not directory.is_mask:
            yield from (_completed(part, directory) for part in larger)
        elif directory.is_whole:
            yield directory


def _completed(part: Directory, whole: Directory) -> Directory:
    """A part with what it leaves to the directory that names it: how it lies, and its profile."""
    left = {tag: whole.entries[tag] for tag in (ORIENTATION, ICC) if tag in whole.entries}
    return replace(part, entries={**left, **part.entries})
