"""Writing a redacted picture: with as much of the original's own coding as may stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from blurline.errors import BlurlineError
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import Pixels
from blurline.imaging.header import Header
from blurline.imaging.jpeg import JpegError
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import Metadata, MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from blurline.redaction.lossless import redact_jpeg
from blurline.redaction.styles import PixelBox


class Way(StrEnum):
    """How the redacted file came to be.

    `LOSSLESS`: only the blocks that a redaction touches were coded anew, all others are those of
    the original to the bit.
    """

    LOSSLESS = "lossless"
    REENCODED = "re-encoded"


@dataclass(frozen=True, slots=True)
class Written:
    """A redacted file, and the way to it."""

    picture: bytes
    way: Way


def write(
    original: bytes,
    header: Header,
    pixels: Pixels,
    boxes: Sequence[PixelBox],
    policy: MetadataPolicy,
    quality: int,
) -> Written:
    """The redacted picture as a file of `header.kind.written` with what the policy lets through.

    A JPEG keeps its coefficients outside the boxes where that can be done; where not, and for other
    kinds, the pixels are encoded upright.

    Args:
        original: the file as it was sent.
        header: what `read_header` says of it.
        pixels: its upright pixels, redacted.
        boxes: where they were redacted.
        policy: what of the original's metadata stays.
        quality: 1 to 100, where a lossy kind is encoded anew.

    Raises:
        BlurlineError: `not_written`, there is no clean file of this picture.
    """
    metadata = read_metadata(original, header.kind, policy)
    # Without a tag for it, pixels that lie turned in the file would be shown turned.
    stays_turned = metadata.orientation == header.orientation
    if header.kind is Kind.JPEG and stays_turned:
        try:
            picture = redact_jpeg(original, pixels, header.orientation, boxes)
            return Written(clean(picture, Kind.JPEG, metadata), Way.LOSSLESS)
        except (JpegError, ValueError):
            pass  # what can't be kept to the bit, or not be cleaned, is encoded anew
    return Written(
        _encoded(original, header, pixels, boxes, metadata, quality),
        Way.REENCODED,
    )


def _encoded(
    original: bytes,
    header: Header,
    pixels: Pixels,
    boxes: Sequence[PixelBox],
    metadata: Metadata,
    quality: int,
) -> bytes:
    try:
        picture = rewrite(original, header.kind, pixels, boxes, header.orientation, quality)
        return clean(picture, header.kind.written, replace(metadata, orientation=1))
    except ValueError as error:
        raise BlurlineError(
            "the redacted picture could not be written as a clean file", code="not_written"
        ) from error
