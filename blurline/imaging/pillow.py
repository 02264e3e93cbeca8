"""Pillow's readers, each shown no more of a file than it bears."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image

from blurline.imaging.kind import Kind
from blurline.imaging.plain import without_packed

# `header.Limits` judges the size; Pillow's own guard would only add a second, different answer.
Image.MAX_IMAGE_PIXELS = None


@contextmanager
def opened(data: bytes, kind: Kind) -> Iterator[Image.Image]:
    """The file as a picture of that kind, of which nothing is decoded yet.

    A PNG has neither compressed texts nor a profile there (`packed` reads what is wanted of them).

    Raises:
        Exception: what Pillow's parsers raise for damaged data has no common base.
    """
    content = without_packed(data) if kind is Kind.PNG else data
    with Image.open(BytesIO(content), formats=[kind.upper()]) as image:
        yield image
