"""The answers to Panoramax's servers: the blurred picture, and what was blurred in it.

They ask for it by `Accept: multipart/form-data`, and read a part `image` and a part `metadata`. Its
JSON may hold `annotations` for their database: boxes in pixels with tags.
https://gitlab.com/panoramax/server/api (`geovisio.utils.pictures`, `geovisio.utils.annotations`)

Blurring services of theirs ask a detection service for boxes alone.
https://github.com/cquest/sgblur (`src/detect/detect_api.py`)
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blurline import __version__
from blurline.api.download import Content, framed
from blurline.api.schemas import DetectAnswer, SeenRegion
from blurline.imaging.kind import Kind

MULTIPART = "multipart/form-data"
SERVICE = "blurline"
KEY = f"{SERVICE}|redacted"
"""The tag of a redacted region; its value is the name of the target."""

CLASSES = {"license_plate": "plate"}
"""Names of SGBlur's for targets that are called otherwise here."""


@dataclass(frozen=True, slots=True)
class Blurred:
    """A blurred picture, its kind, and its regions as the job's results have them.

    `remove` removes the picture from where it is fetched; it may block.
    """

    picture: Content
    kind: Kind
    regions: Sequence[Mapping[str, Any]]
    remove: Callable[[], None]


def wants_parts(accept: str) -> bool:
    """Whether a request with that `Accept` is to be answered in parts."""
    return any(word.partition(";")[0].strip() == MULTIPART for word in accept.lower().split(","))


def in_parts(blurred: Blurred, models: Mapping[str, str]) -> Content:
    """The answer's body.

    Args:
        blurred: what to answer.
        models: names of the networks by target.
    """
    boundary = secrets.token_hex(16)
    annotations = [_annotation(region, models) for region in blurred.regions]
    metadata = json.dumps({"service_name": SERVICE, "annotations": annotations}).encode()
    name = f"picture.{blurred.kind.extension}"
    before = (
        _head_of_part(boundary, 'name="metadata"', "application/json")
        + metadata
        + b"\r\n"
        + _head_of_part(boundary, f'name="image"; filename="{name}"', blurred.kind.content_type)
    )
    after = f"\r\n--{boundary}--\r\n".encode()
    return framed(before, blurred.picture, after, f"{MULTIPART}; boundary={boundary}")


def _head_of_part(boundary: str, said: str, content_type: str) -> bytes:
    return (
        f"--{boundary}\r\nContent-Disposition: form-data; {said}\r\n"
        f"Content-Type: {content_type}\r\n\r\n"
    ).encode()


def boxes_of(blurred: Blurred, classes: str) -> DetectAnswer:
    """The boxes alone.

    Args:
        blurred: the picture's answer.
        classes: names of those that are asked for, in one text as SGBlur takes it; empty for all.
    """
    info = []
    for region in blurred.regions:
        name = CLASSES.get(region["target"], region["target"])
        left, top, right, bottom = region["box"]
        if not classes or name in classes:
            xywh, bbox = [left, top, right - left, bottom - top], [left, top, right, bottom]
            seen = SeenRegion(kind=name, confidence=region["confidence"], xywh=xywh, bbox=bbox)
            info.append(seen)
    return DetectAnswer(info=info, crop_rects=[seen.xywh for seen in info])


def _annotation(region: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, Any]:
    """A box as left, top, right, bottom; a tag, and what qualifies it, in their way of writing."""
    target = region["target"]
    tag = f"[{KEY}={target}]"
    tags = {KEY: target, f"detection_confidence{tag}": f"{region['confidence']:.2f}"}
    if target in models:
        tags[f"detection_model{tag}"] = f"{SERVICE}-{models[target]}/{__version__}"
    semantics = [{"key": key, "value": value} for key, value in tags.items()]
    return {"shape": list(region["box"]), "semantics": semantics}
