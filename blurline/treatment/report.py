"""What is told and counted of a picture that was redacted: what was blurred, and what was seen."""

from collections import Counter
from typing import Any

from pydantic import TypeAdapter

from blurline import metrics
from blurline.redaction.zones import ZONE
from blurline.stages.frame import Frame, Options, Redaction
from blurline.treatment.outputs import BLUR, DETECT
from blurline.treatment.redacted import Redacted
from blurline.treatment.second_look import SecondLook

_OPTIONS = TypeAdapter(Options)


def reports_of(redacted: Redacted, options: Options) -> dict[str, Any]:
    """What is told, by stage."""
    reports = {BLUR: blur_metadata(redacted, options)}
    if (seen := detection_metadata(redacted.frame)) is not None:
        reports[DETECT] = seen
    return reports


def tally_of(frame: Frame) -> dict[str, float]:
    """What is added up over all pictures: how often each target was redacted, and how often each
    label was seen, with the sum of its confidences."""
    tally: Counter[str] = Counter()
    for redaction in frame.redactions or ():
        tally[f"redacted:{redaction.target}"] += 1
    for seen in frame.detections or ():
        tally[f"seen:{seen.label}"] += 1
        tally[f"confidence:{seen.label}"] += round(seen.confidence, 4)  # type: ignore[assignment]
    return dict(tally)


def count(redacted: Redacted) -> None:
    """Put into the metrics what was redacted and seen."""
    if redacted.second_look is not SecondLook.SKIPPED:
        metrics.SECOND_LOOKS.labels(redacted.second_look.value).inc()
    frame = redacted.frame
    metrics.REDACTED_RATIO.observe(frame.redacted_share)
    metrics.IMAGE_REDACTIONS.observe(len(frame.redactions or ()))
    for redaction in frame.redactions or ():
        metrics.REDACTIONS.labels(redaction.target).observe(redaction.confidence)
    if frame.detections is not None:
        metrics.IMAGE_DETECTIONS.observe(len(frame.detections))
    for detection in frame.detections or ():
        metrics.DETECTIONS.labels(detection.label).observe(detection.confidence)


def blur_metadata(redacted: Redacted, options: Options) -> dict[str, Any]:
    """What was blurred: the options, the regions in pixels of the upright picture, and counts.

    Zones that were redacted count as `zone`; their regions have a `polygon` as well. A picture that
    was redacted as a whole counts as `frame`. `path` and `second_look` say how the file came to be
    and how it was checked.
    """
    redactions = redacted.frame.redactions or ()
    names = dict.fromkeys(options.targets) | dict.fromkeys(one.target for one in redactions)
    if options.zones.redact:
        names |= {ZONE: None}
    return {
        # How the file lies is no matter of what was blurred in it.
        **_OPTIONS.dump_python(options, mode="json", exclude={"upright"}),
        "path": redacted.way,
        "second_look": redacted.second_look,
        "counts": {name: sum(found.target == name for found in redactions) for name in names},
        "regions": [_region(redaction) for redaction in redactions],
    }


def detection_metadata(frame: Frame) -> dict[str, Any] | None:
    """What is seen in the blurred picture; None if the pipeline has no stage that looks."""
    if frame.detections is None:
        return None
    return {
        "count": len(frame.detections),
        "objects": [
            {
                "label": detection.label,
                "confidence": round(detection.confidence, 4),
                "box": [round(edge, 1) for edge in detection.box],
            }
            for detection in frame.detections
        ],
    }


def _region(redaction: Redaction) -> dict[str, Any]:
    region: dict[str, Any] = {
        "target": redaction.target,
        "confidence": round(redaction.confidence, 4),
        "box": list(redaction.box),
    }
    if redaction.polygon is not None:
        region["polygon"] = [[round(x, 1), round(y, 1)] for x, y in redaction.polygon]
    return region
