"""What is told of a picture that was treated: what was blurred in it, and what was seen."""

from typing import Any

from pydantic import TypeAdapter

from blurline.redaction.zones import ZONE
from blurline.stages.frame import Frame, Options, Redaction
from blurline.treatment.treatment import Treated

_OPTIONS = TypeAdapter(Options)


def blur_metadata(treated: Treated, options: Options) -> dict[str, Any]:
    """What was blurred: the options, the regions in pixels of the upright picture, and counts.

    Zones that were redacted count as `zone`; their regions have a `polygon` as well. A picture that
    was redacted as a whole counts as `frame`. `path` and `second_look` say how the file came to be
    and how it was checked.
    """
    redactions = treated.frame.redactions or ()
    names = dict.fromkeys(options.targets) | dict.fromkeys(one.target for one in redactions)
    if options.zones.redact:
        names |= {ZONE: None}
    return {
        # How the file lies is no matter of what was blurred in it.
        **_OPTIONS.dump_python(options, mode="json", exclude={"upright"}),
        "path": treated.way,
        "second_look": treated.second_look,
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
