"""Writing a redacted picture: with as much of the original's own coding as may stay."""

from dataclasses import dataclass, replace
from enum import StrEnum

from blurline.errors import BlurlineError
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import decode
from blurline.imaging.header import Header
from blurline.imaging.jpeg import JpegError
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import Metadata, MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from blurline.imaging.turbojpeg import library
from blurline.redaction.lossless import redact_jpeg
from blurline.stages.frame import Frame, Options
from blurline.stages.regions import apply


class WriteMethod(StrEnum):
    """How the redacted file came to be.

    `LOSSLESS`: only the blocks that a redaction touches were coded anew, all others are those of
    the original to the bit, be they turned as a whole.
    """

    LOSSLESS = "lossless"
    REENCODED = "re-encoded"


@dataclass(frozen=True, slots=True)
class Written:
    """A redacted file, the way to it, and the frame whose pixels it holds."""

    picture: bytes
    way: WriteMethod
    frame: Frame


def stays_a_jpeg(header: Header, options: Options) -> bool:
    """Whether `write` tries to keep the coefficients, for which it needs no pixel of the others."""
    # Without a tag for it, pixels that lie turned in the file would be shown turned.
    is_shown_upright = header.orientation == 1 or options.metadata is not MetadataPolicy.NONE
    stays = header.kind is Kind.JPEG and options.output_format.of(Kind.JPEG) is Kind.JPEG
    return stays and is_shown_upright and library() is not None


def write(original: bytes, header: Header, frame: Frame, options: Options, quality: int) -> Written:
    """The redacted picture as a file of the kind that the options say, with what they let through.

    A JPEG keeps its coefficients outside the boxes where that can be done; where not, and for other
    kinds, the pixels are encoded upright. A reduced frame of what has to be encoded is decoded once
    more as a whole and redacted again.

    Args:
        original: the file as it was sent.
        header: what `read_header` says of it.
        frame: its pixels, redacted.
        options: how they were redacted, and what of the original's metadata stays.
        quality: 1 to 100, where a lossy kind is encoded anew.

    Raises:
        BlurlineError: `not_written`, there is no clean file of this picture.
        PictureError: a reduced picture can't be decoded as a whole.
    """
    metadata = read_metadata(original, header.kind, options.metadata)
    if stays_a_jpeg(header, options) and metadata.orientation == header.orientation:
        try:
            picture = redact_jpeg(
                original,
                frame.pixels,
                header.orientation,
                frame.boxes,
                frame.reduction,
                upright=options.upright,
            )
            kept = replace(metadata, orientation=1) if options.upright else metadata
            return Written(clean(picture, Kind.JPEG, kept), WriteMethod.LOSSLESS, frame)
        except (JpegError, ValueError):
            pass  # what can't be kept to the bit, or not be cleaned, is encoded anew
    whole = _whole(original, header, frame, options)
    return Written(
        _encoded(original, header, whole, options.output_format, metadata, quality),
        WriteMethod.REENCODED,
        whole,
    )


def _whole(original: bytes, header: Header, frame: Frame, options: Options) -> Frame:
    """The frame with all its pixels, redacted as the reduced one is."""
    if frame.reduction == 1:
        return frame
    whole = replace(frame, pixels=decode(original, header), reduction=1)
    for redaction in frame.redactions or ():
        apply(redaction, whole, options.style)
    return whole


def _encoded(
    original: bytes,
    header: Header,
    frame: Frame,
    output: OutputFormat,
    metadata: Metadata,
    quality: int,
) -> bytes:
    try:
        picture = rewrite(
            original, header.kind, frame.pixels, frame.boxes, header.orientation, quality, output
        )
        return clean(picture, output.of(header.kind), replace(metadata, orientation=1))
    except ValueError as error:
        raise BlurlineError(
            "the redacted picture could not be written as a clean file", code="not_written"
        ) from error
