"""One treatment after the other, each of what the one before has made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from blurline.certificate.certificate import RedactedPicture, TransformedPicture
from blurline.errors import BlurlineError
from blurline.imaging.header import Limits, read_header
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Chain, Family, Pipeline
from blurline.treatment.outputs import Context, Source, Treated, Treatment


@dataclass(frozen=True, slots=True)
class ChainTreatment:
    """Runs chains of pipelines, each by the treatment of its family."""

    treatments: Mapping[Family, Treatment]
    limits: Limits

    def treat(self, source: Source, chain: Chain, values: Values, context: Context) -> Treated:
        """What comes of the picture in the end, with the reports of all pipelines.

        Of a chain that redacts the claim is that of redaction, which came first, and says what came
        after. Nothing else is ever returned of it.

        Raises:
            BlurlineError: what `Treatment.treat` raises; `not_redacted`, the chain has targets and
                its result is not claimed to be redacted.
        """
        first, *others = chain.pipelines
        treated = self._step(source, chain, first, values, context)
        for pipeline in others:
            treated = _joined(treated, self._next(treated, chain, pipeline, values, context))
        if chain.targets and not isinstance(treated.claim, RedactedPicture):
            raise BlurlineError("no stage of the pipeline blurs", code="not_redacted")
        return treated

    def _next(
        self, before: Treated, chain: Chain, pipeline: Pipeline, values: Values, context: Context
    ) -> Treated:
        picture = before.primary.data
        # What we have written is not judged as an upload is.
        limits = replace(
            self.limits, max_bytes=len(picture), max_pixels=max(self.limits.max_pixels, 1 << 30)
        )
        source = Source(picture, read_header(picture, limits))
        return self._step(source, chain, pipeline, values, context)

    def _step(
        self, source: Source, chain: Chain, pipeline: Pipeline, values: Values, context: Context
    ) -> Treated:
        number, count = chain.pipelines.index(pipeline), len(chain.pipelines)
        part = Context(partial(_within, context, number, count))
        return self.treatments[pipeline.family].treat(source, pipeline, values, part)


def _joined(before: Treated, after: Treated) -> Treated:
    """What came of two treatments, of which the second had the first one's result."""
    assert isinstance(after.claim, TransformedPicture)  # noqa: S101 - redaction comes first
    steps = after.claim.pipelines
    if isinstance(before.claim, RedactedPicture):
        claim: RedactedPicture | TransformedPicture = replace(
            before.claim, afterwards=before.claim.afterwards + steps
        )
    else:
        claim = replace(before.claim, pipelines=before.claim.pipelines + steps)

    def count() -> None:
        before.count()
        after.count()

    return Treated(
        outputs=(*after.outputs, *before.outputs[1:]),
        reports={**before.reports, **after.reports},
        claim=claim,
        networks=(*before.networks, *after.networks),
        tally={**before.tally, **after.tally},
        seconds={
            name: before.seconds.get(name, 0.0) + after.seconds.get(name, 0.0)
            for name in {**before.seconds, **after.seconds}
        },
        count=count,
    )


def _within(context: Context, number: int, count: int, share: float) -> None:
    context.progress((number + share) / count)
