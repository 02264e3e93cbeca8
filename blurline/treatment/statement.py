"""What a certificate says of a picture that was treated."""

from datetime import UTC, datetime

from blurline import __version__
from blurline.certificate.canonical import utc_text
from blurline.certificate.certificate import Certificate, ModelUse, regions_of
from blurline.certificate.signing import SigningKey
from blurline.inference.detector import Detectors
from blurline.models.wheels import sha256
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline
from blurline.treatment.treatment import Treated


def statement(
    job_id: str,
    original: bytes,
    treated: Treated,
    pipeline: Pipeline,
    options: Options,
    detectors: Detectors,
    key: SigningKey,
) -> Certificate:
    """The certificate of the treated picture, to be signed with the key."""
    return Certificate(
        job_id=job_id,
        time=utc_text(datetime.now(UTC)),
        input_sha256=sha256(original),
        output_sha256=sha256(treated.picture),
        models=_models(pipeline, options, detectors),
        metadata_policy=options.metadata,
        quality=options.quality,
        style=options.style,
        regions=regions_of(treated.frame.redactions or ()),
        path_taken=treated.way.value,
        second_look=treated.second_look,
        blurline=__version__,
        key_id=key.key_id,
    )


def _models(pipeline: Pipeline, options: Options, detectors: Detectors) -> tuple[ModelUse, ...]:
    """The networks that looked for the targets, each with its thresholds."""
    thresholds: dict[str, dict[str, float]] = {}
    for name in options.targets:
        target = pipeline.targets[name]
        least = options.thresholds.get(name, target.levels[options.quality].threshold)
        thresholds.setdefault(target.model, {})[name] = least
    return tuple(
        ModelUse(model, detectors[model].sha256, by_target, detectors[model].engine.precision)
        for model, by_target in sorted(thresholds.items())
        if model in detectors  # with `on_failure=obscure` one may be missing
    )
