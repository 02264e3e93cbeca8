"""What is claimed of a picture that was redacted, and which networks that rests on."""

from blurline.certificate.certificate import ModelUse, RedactedPicture, regions_of
from blurline.inference.detector import Detectors
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline
from blurline.treatment.redacted import Redacted


def claim_of(redacted: Redacted, options: Options) -> RedactedPicture:
    """The claim of the redacted picture."""
    return RedactedPicture(
        metadata_policy=options.metadata,
        quality=options.quality,
        style=options.style,
        regions=regions_of(redacted.frame.redactions or ()),
        path_taken=redacted.way.value,
        second_look=redacted.second_look,
    )


def networks_of(pipeline: Pipeline, options: Options, detectors: Detectors) -> tuple[ModelUse, ...]:
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
