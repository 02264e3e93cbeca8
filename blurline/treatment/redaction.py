"""The treatment that redacts: what is asked for is made unreadable, or nothing is published."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from secrets import SystemRandom
from time import perf_counter

from blurline import metrics, tracing
from blurline.errors import BlurlineError, LeakSuspectedError
from blurline.imaging.decode import decode
from blurline.imaging.deep import file_levels
from blurline.imaging.header import Header, Limits, read_header
from blurline.inference.detector import Detectors
from blurline.redaction.styles import Style
from blurline.stages.blur import Blur
from blurline.stages.frame import Frame, OnFailure, Options, Redaction
from blurline.stages.options import options_of, values_of
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Pipeline, Redacting
from blurline.stages.regions import apply
from blurline.treatment.opening import open_frame, whole_frame
from blurline.treatment.outputs import Context, Output, Role, Source, Stopwatch, Treated
from blurline.treatment.redacted import Redacted
from blurline.treatment.report import count, reports_of, tally_of
from blurline.treatment.second_look import SecondLook, shows_redactions, uncovered
from blurline.treatment.statement import claim_of, networks_of
from blurline.treatment.writing import write

WHOLE = "frame"
"""What the redaction of a whole picture is called where targets have their names."""

_CHANCE = SystemRandom()  # nobody shall foresee which pictures are looked at again

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RedactionTreatment:
    """Decode, stages, write, and look again. One serves all threads of a process.

    Attributes:
        quality: 1 to 100, where a lossy kind is encoded anew.
        second_looks: share of the pictures, 0 to 1, that are looked at again.
    """

    detectors: Detectors
    limits: Limits
    quality: int
    second_looks: float

    def treat(
        self, source: Source, pipeline: Pipeline, values: Values, context: Context
    ) -> Treated:
        """See `Treatment.treat`; raises what `redact` does."""
        options = options_of(values)
        redacted = self.redact(source.data, pipeline, options, header=source.header)
        written = options.output_format.of(source.header.kind)
        width, height = redacted.frame.size
        picture = Output(
            f"picture.{written.extension}",
            Role.PRIMARY,
            written.content_type,
            redacted.picture,
            width,
            height,
        )
        return Treated(
            (picture,),
            reports_of(redacted, options),
            claim_of(redacted, options),
            networks_of(pipeline, options, self.detectors),
            tally_of(redacted.frame),
            redacted.seconds,
            partial(count, redacted),
        )

    def redact(
        self,
        data: bytes,
        pipeline: Pipeline,
        options: Options,
        *,
        header: Header | None = None,
        whole: bool = False,
    ) -> Redacted:
        """The redacted picture; if `whole`, with all its pixels in the frame.

        `header` is what `read_header` says of it, if it was read already.

        Whatever fails once the pixels are there, no pixel gets out: the error is passed on, or the
        whole frame is redacted if the caller chose so.

        Raises:
            PictureError: the file can't be read as a picture.
            OptionError: the options don't fit the pipeline or the networks that are loaded.
            LeakSuspectedError: the file that was written shows what it should not.
            BlurlineError: `not_redacted`, the pipeline would have let the picture through as it is.
        """
        watch = Stopwatch()
        header = header or read_header(data, self.limits)
        frame = (
            whole_frame(data, header)
            if whole
            else open_frame(data, header, pipeline, options, self.detectors)
        )
        watch.lap("decode")
        try:
            return self._redacted(data, header, frame, pipeline, options, watch)
        except Exception as error:
            if options.on_failure is OnFailure.FAIL:
                raise
            log.warning("a picture is redacted as a whole: %s", type(error).__name__)
            return self._obscured(data, header, frame, options, watch)

    def _redacted(
        self,
        data: bytes,
        header: Header,
        frame: Frame,
        pipeline: Pipeline,
        options: Options,
        watch: "Stopwatch",
    ) -> Redacted:
        frame, seconds = run_stages(pipeline, frame, options, self.detectors)
        watch.skip(seconds)
        if frame.redactions is None:
            raise BlurlineError("no stage of the pipeline blurs", code="not_redacted")
        blurs = [stage for stage in pipeline.stages if isinstance(stage, Blur)]
        treated = self._written(data, header, frame, options, watch)
        if _CHANCE.random() >= self.second_looks:
            return treated
        outcome, news = SecondLook.PASSED, self._look(data, treated, blurs, options)
        if news:
            frame = replace(treated.frame, redactions=(*frame.redactions, *news))
            for redaction in news:
                apply(redaction, frame, options.style)
            treated = self._written(data, header, frame, options, watch)
            outcome = SecondLook.MENDED
            if self._look(data, treated, blurs, options, certain=True):
                metrics.LEAKS.inc()
                raise LeakSuspectedError("the redacted picture still shows what it should not")
        watch.lap("second look")
        return replace(treated, second_look=outcome, seconds=dict(watch.seconds))

    def _look(
        self,
        original: bytes,
        treated: Redacted,
        blurs: list[Blur],
        options: Options,
        *,
        certain: bool = False,
    ) -> tuple[Redaction, ...]:
        """What has to be redacted beside what is; the file is read as anybody would read it.

        Raises:
            LeakSuspectedError: it does not show the redactions, or can't be read.
        """
        redactions = treated.frame.redactions or ()
        # The result may well have more bytes than the upload, and so than are taken of an upload.
        limits = replace(self.limits, max_bytes=len(treated.picture))
        reduction = treated.frame.reduction
        try:
            header = read_header(treated.picture, limits)
            # Its own may be others, since what was brightest may be redacted.
            levels = file_levels(original, treated.header.kind)
            pixels = decode(treated.picture, header, reduction=reduction, levels=levels)
        except BlurlineError as error:
            metrics.LEAKS.inc()
            raise LeakSuspectedError("the redacted file can't be read again") from error
        if not shows_redactions(pixels, treated.frame.pixels, treated.frame.boxes):
            metrics.LEAKS.inc()
            raise LeakSuspectedError("the redacted file does not show its redactions")
        shown = replace(treated.frame, pixels=pixels, redactions=None, detections=None)
        return tuple(
            found
            for blur in blurs
            for found in uncovered(
                shown, blur, options, redactions, self.detectors, certain=certain
            )
        )

    def _obscured(
        self, data: bytes, header: Header, frame: Frame, options: Options, watch: "Stopwatch"
    ) -> Redacted:
        """The picture with every pixel redacted."""
        whole = Redaction(WHOLE, 1.0, (0, 0, *frame.size))
        apply(whole, frame, Style.SOLID)
        frame = replace(frame, redactions=(whole,), detections=None)
        return self._written(data, header, frame, replace(options, style=Style.SOLID), watch)

    def _written(
        self,
        data: bytes,
        header: Header,
        frame: Frame,
        options: Options,
        watch: "Stopwatch",
    ) -> Redacted:
        written = write(data, header, frame, options, self.quality)
        watch.lap("encode")
        return Redacted(
            written.picture,
            header,
            written.frame,
            written.way,
            SecondLook.SKIPPED,
            dict(watch.seconds),
        )


def run_stages(
    pipeline: Pipeline, frame: Frame, options: Options, detectors: Detectors
) -> tuple[Frame, dict[str, float]]:
    """The frame after all stages, and the wall-clock seconds that each stage took.

    Raises:
        ModelMissingError: before the first stage, when a network is missing.
    """
    pipeline.check_models(values_of(options), detectors)
    seconds = {}
    for stage in pipeline.stages:
        assert isinstance(stage, Redacting)  # noqa: S101 - a mistake of ours, not a caller's
        started = perf_counter()
        frame = stage.run(frame, options, detectors)
        seconds[stage.name] = perf_counter() - started
        tracing.lap(stage.name, seconds[stage.name])
    return frame, seconds
