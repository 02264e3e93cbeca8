"""Opening a picture: as many of its pixels as its treatment needs."""

from contextlib import suppress

from blurline.errors import BlurlineError
from blurline.imaging.decode import HALF, decode
from blurline.imaging.header import Header
from blurline.imaging.panorama import panorama_of
from blurline.inference.detector import Detectors
from blurline.stages.frame import Frame, Options
from blurline.stages.options import values_of
from blurline.stages.pipeline import Pipeline, Redacting
from blurline.treatment.writing import stays_a_jpeg


def open_frame(
    data: bytes, header: Header, pipeline: Pipeline, options: Options, detectors: Detectors
) -> Frame:
    """The pixels of the picture in `data`.

    Of a JPEG half the width and height will do, where no stage looks closer than that, and where
    nothing but the redacted blocks is written anew.

    Raises:
        PictureError: the file can't be read as a picture.
    """
    if stays_a_jpeg(header, options):
        # What a stage lacks it says when it runs.
        with suppress(BlurlineError):
            if HALF * finest_scale(pipeline, *header.upright_size, options, detectors) <= 1:
                half = decode(data, header, reduction=HALF)
                return Frame(half, reduction=HALF, wraps=_wraps(data, header))
    return whole_frame(data, header)


def finest_scale(
    pipeline: Pipeline, width: int, height: int, options: Options, detectors: Detectors
) -> float:
    """The largest scale, as a share of the picture's sides, that one of the stages wants.

    Raises:
        OptionError, ModelMissingError: see `Pipeline.check_models`.
    """
    pipeline.check_models(values_of(options), detectors)
    return max(
        stage.finest_scale(width, height, options, detectors)
        for stage in pipeline.stages
        if isinstance(stage, Redacting)
    )


def whole_frame(data: bytes, header: Header) -> Frame:
    """All pixels of the picture in `data`.

    Raises:
        PictureError: the file can't be read as a picture.
    """
    return Frame(decode(data, header), wraps=_wraps(data, header))


def _wraps(data: bytes, header: Header) -> bool:
    """Whether the upright picture's left edge meets its right one."""
    panorama = panorama_of(data, header.kind)
    return panorama is not None and panorama.wraps_around and header.orientation < 5
