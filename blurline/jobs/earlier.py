"""Orders and records of the release before, in the words of this one.

That release had no versions, knew redaction alone, and wrote one picture of the kind that came in,
or the one that its option asked for.
"""

from typing import Any

from blurline.imaging.kind import Kind, OutputFormat
from blurline.storage import keys

ZONES, THRESHOLDS = "zones", "thresholds"


def order(found: dict[str, Any]) -> dict[str, Any]:
    """An order as `JobSpec` has it now.

    Raises:
        LookupError, TypeError: it is none of that release either.
    """
    if "version" in found:
        return found
    told = dict(found)
    kind, key, size = Kind(told.pop("kind")), told.pop("original"), told.pop("file_size")
    asset = {"key": key, "media_type": kind.content_type, "size": size}
    return {**told, "input": asset, "options": values(told["options"])}


def record(found: dict[str, Any]) -> dict[str, Any]:
    """A record as `JobRecord` has it now.

    Raises:
        LookupError, TypeError: it is none of that release either.
    """
    if "version" in found:
        return found
    told, kind = dict(found), Kind(found["kind"])
    told.pop("kind")
    asset = {
        "key": keys.original(told["job_id"], kind),
        "media_type": kind.content_type,
        "size": told.pop("file_size"),
    }
    results, digest = told.pop("results", None), told.pop("output_sha256", None)
    written = OutputFormat(told.pop("output_format", OutputFormat.SAME)).of(kind)
    told |= {"input": asset, "error": told.get("error")}
    if results is None:
        return told
    picture = {
        "key": keys.processed(told["job_id"], written, told.get("slot", "")),
        "name": f"picture.{written.extension}",
        "role": "primary",
        "media_type": written.content_type,
        "width": results["width"],
        "height": results["height"],
        "sha256": digest,
    }
    reports = {"blur": results["blur_metadata"]}
    if results.get("detection_metadata") is not None:
        reports["detect"] = results["detection_metadata"]
    return {
        **told,
        "outputs": [picture],
        "reports": reports,
        "tally": _tally(reports),
        "seconds": results["processing_time"],
    }


def values(options: dict[str, Any]) -> dict[str, Any]:
    """Values of redaction's options out of an order's."""
    told = {name: value for name, value in options.items() if name not in (ZONES, THRESHOLDS)}
    zones = options.get(ZONES) or {}
    return {
        "quality": "balanced",
        "metadata": "minimal",
        "on_failure": "fail",
        "output_format": "same",
        **told,
        "threshold": options.get(THRESHOLDS) or {},
        "ignore_zones": zones.get("ignore", []),
        "redact_zones": zones.get("redact", []),
    }


def spelled(options: Any) -> dict[str, Any]:
    """Values of redaction's options as that release spelled them; of other pipelines as they are.

    What an upload is known again by is made of them, so it has to stay as it was.
    """
    if "redact_zones" not in options:
        return dict(options)
    told = dict(options)
    ignore, redact = told.pop("ignore_zones"), told.pop("redact_zones")
    told[THRESHOLDS] = told.pop("threshold")
    order_of_old = ("targets", "style", "quality", THRESHOLDS, ZONES, "metadata", "on_failure")
    told[ZONES] = {"ignore": ignore, "redact": redact}
    first = {name: told.pop(name) for name in order_of_old if name in told}
    unusual = {"output_format": OutputFormat.SAME.value, "upright": False}
    return first | {name: value for name, value in told.items() if unusual.get(name) != value}


def _tally(reports: dict[str, Any]) -> dict[str, float]:
    tally = {f"redacted:{name}": n for name, n in reports["blur"]["counts"].items() if n}
    for seen in reports.get("detect", {"objects": []})["objects"]:
        label, confidence = seen["label"], seen["confidence"]
        tally[f"seen:{label}"] = tally.get(f"seen:{label}", 0) + 1
        tally[f"confidence:{label}"] = tally.get(f"confidence:{label}", 0.0) + confidence
    return tally
