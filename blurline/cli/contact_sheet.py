"""A picture of pictures: before and after, side by side."""

import sys
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header

ROW_HEIGHT = 480
GAP = 12
BACKGROUND = (32, 32, 32)
BOX_COLOUR = (64, 220, 96)
LABEL_COLOUR = (0, 0, 0)

Row = tuple[bytes, bytes, dict[str, Any]]
"""The original, the blurred picture, and the job's results."""


def contact_sheet(rows: Sequence[Row]) -> bytes:
    """A PNG with a row for each photo: on the left as sent, on the right blurred, with boxes."""
    pairs = [
        (_fit(_open(before)), _with_boxes(_open(after), results)) for before, after, results in rows
    ]
    width = max((left.width + right.width for left, right in pairs), default=0) + 3 * GAP
    sheet = Image.new("RGB", (width, len(pairs) * (ROW_HEIGHT + GAP) + GAP), BACKGROUND)
    top = GAP
    for left, right in pairs:
        sheet.paste(left, (GAP, top))
        sheet.paste(right, (2 * GAP + left.width, top))
        top += ROW_HEIGHT + GAP
    file = BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _open(picture: bytes) -> Image.Image:
    """The picture, upright, of whichever kind; the service has taken it, so it needs no bounds."""
    header = read_header(picture, Limits(len(picture), max_pixels=sys.maxsize))
    return Image.fromarray(decode(picture, header))


def _fit(image: Image.Image) -> Image.Image:
    width = max(1, round(image.width * ROW_HEIGHT / image.height))
    return image.resize((width, ROW_HEIGHT), Image.Resampling.LANCZOS)


def _with_boxes(image: Image.Image, results: dict[str, Any]) -> Image.Image:
    """The picture at the sheet's size with the detected objects drawn in."""
    scale = ROW_HEIGHT / image.height
    fitted = _fit(image)
    draw = ImageDraw.Draw(fitted)
    for found in (results["detection_metadata"] or {"objects": []})["objects"]:
        left, top, right, bottom = (edge * scale for edge in found["box"])
        draw.rectangle((left, top, right, bottom), outline=BOX_COLOUR, width=2)
        text = f"{found['label']} {found['confidence']:.2f}"
        place = draw.textbbox((left + 2, top + 1), text)
        draw.rectangle((place[0] - 2, place[1] - 1, place[2] + 2, place[3] + 1), fill=BOX_COLOUR)
        draw.text((left + 2, top + 1), text, fill=LABEL_COLOUR)
    return fitted
