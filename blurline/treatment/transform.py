"""The treatment that makes another picture of the one that it is given."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from blurline.certificate.certificate import ModelUse, TransformedPicture
from blurline.errors import BlurlineError, OptionError
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import decode
from blurline.imaging.header import Header
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.rewrite import new_picture, read_alpha
from blurline.inference.mapper import Networks
from blurline.stages.frame import Frame
from blurline.stages.options import METADATA, OUTPUT_FORMAT
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Pipeline, Transforming, output_size
from blurline.treatment.outputs import Context, Output, Role, Source, Stopwatch, Treated

OPAQUE = (Kind.JPEG,)
"""The kinds of files that hold no transparency."""


@dataclass(frozen=True, slots=True)
class TransformTreatment:
    """Decode, stages, write. One serves all threads of a process.

    Attributes:
        networks: by name; those that are not used yet may be loaded when they are.
        quality: 1 to 100, where a lossy kind is written.
        most_pixels: of a result.
    """

    networks: Networks
    quality: int
    most_pixels: int

    def treat(
        self, source: Source, pipeline: Pipeline, values: Values, context: Context
    ) -> Treated:
        """See `Treatment.treat`.

        Raises:
            PictureError: the file can't be read as a picture, or the result would be too large.
            OptionError: the picture has transparency, and the kind of the result has none; or what
                `Transforming.check` raises.
            ModelMissingError: a network is not loaded.
        """
        watch, header = Stopwatch(), source.header
        pipeline.check_models(values, self.networks)
        output_size(pipeline, *header.upright_size, values, self.most_pixels)
        frame = Frame(
            decode(source.data, header),
            alpha=read_alpha(source.data, header.kind, header.orientation),
        )
        watch.lap("decode")
        stages = [stage for stage in pipeline.stages if isinstance(stage, Transforming)]
        for number, stage in enumerate(stages):
            frame = stage.run(
                frame, values, self.networks, partial(_within, context, number, len(stages))
            )
            watch.lap(stage.name)
        outputs = self._written(source, frame, values)
        watch.lap("encode")
        reports = {stage.name: dict(frame.reports.get(stage.name, {})) for stage in stages}
        return Treated(
            outputs,
            reports,
            TransformedPicture((pipeline.name,)),
            self._used(pipeline.models(values)),
            seconds=watch.seconds,
        )

    def _written(self, source: Source, frame: Frame, values: Values) -> tuple[Output, ...]:
        header, written = source.header, written_kind(source.header, frame, values)
        policy = MetadataPolicy(METADATA.of(values))
        try:
            metadata = read_metadata(source.data, header.kind, policy)
            same_size = frame.size == header.upright_size
            panorama = metadata.panorama if same_size else None
            metadata = replace(metadata, orientation=1, panorama=panorama)
            picture = clean(
                new_picture(
                    source.data, header.kind, frame.pixels, frame.alpha, self.quality, written
                ),
                written,
                metadata,
            )
        except ValueError as error:
            raise BlurlineError(
                "the picture could not be written as a clean file", code="not_written"
            ) from error
        height, width = frame.pixels.shape[:2]
        primary = Output(
            f"picture.{written.extension}",
            Role.PRIMARY,
            written.content_type,
            picture,
            width,
            height,
        )
        return primary, *(_mask(name, mask) for name, mask in frame.masks.items())

    def _used(self, models: frozenset[str]) -> tuple[ModelUse, ...]:
        used = {name: self.networks[name] for name in sorted(models)}
        return tuple(
            ModelUse(name, one.sha256, {}, one.engine.precision) for name, one in used.items()
        )


def written_kind(header: Header, frame: Frame, values: Values) -> Kind:
    """The kind of the result's file: as asked for, or else the original's if that can hold it.

    Raises:
        OptionError: the picture has transparency, which the kind that is asked for has not.
    """
    asked = OutputFormat(OUTPUT_FORMAT.of(values))
    kind = asked.of(header.kind)
    if frame.alpha is None or kind not in OPAQUE:
        return kind
    if asked is OutputFormat.SAME:
        return Kind.PNG
    raise OptionError(
        f"the picture is transparent in places, which {kind} has no way to say: ask for "
        "output_format png, webp or avif"
    )


def _mask(name: str, mask: "np.ndarray[Any, np.dtype[np.uint8]]") -> Output:
    height, width = mask.shape
    rgb = np.ascontiguousarray(np.broadcast_to(mask[..., None], (height, width, 3)))
    data = new_picture(b"", Kind.BMP, rgb, None, 100, Kind.PNG)
    return Output(f"{name}.png", Role.MASK, Kind.PNG.content_type, data, width, height)


def _within(context: Context, number: int, count: int, share: float) -> None:
    context.progress((number + share) / count)
