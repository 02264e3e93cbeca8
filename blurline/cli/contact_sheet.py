"""A picture of pictures: photos, and beside each what became of it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.rewrite import read_alpha

ROW_HEIGHT = 480
GAP = 12
BACKGROUND = (32, 32, 32)
BOX_COLOUR = (64, 220, 96)
LABEL_COLOUR = (0, 0, 0)
CHECK, LIGHT, DARK = 12, 255, 200
"""Side and tones of the squares that show through where a picture is transparent."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        picture: a file, of whichever kind.
        caption: what stands in its corner.
        objects: what was detected in it, which is drawn in.
    """

    picture: bytes
    caption: str = ""
    objects: Sequence[Mapping[str, Any]] = ()


def contact_sheet(rows: Sequence[Sequence[Panel]]) -> bytes:
    """A PNG with the panels of each row beside each other."""
    drawn = [[_drawn(panel) for panel in row] for row in rows]
    width = max((sum(one.width + GAP for one in row) for row in drawn), default=0) + GAP
    sheet = Image.new("RGB", (width, len(drawn) * (ROW_HEIGHT + GAP) + GAP), BACKGROUND)
    top = GAP
    for row in drawn:
        left = GAP
        for one in row:
            sheet.paste(one, (left, top))
            left += one.width + GAP
        top += ROW_HEIGHT + GAP
    file = BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _drawn(panel: Panel) -> Image.Image:
    """The panel at the sheet's size, with its detected objects and its caption drawn in."""
    image = _open(panel.picture)
    scale = ROW_HEIGHT / image.height
    fitted = image.resize(
        (max(1, round(image.width * scale)), ROW_HEIGHT), Image.Resampling.LANCZOS
    )
    draw = ImageDraw.Draw(fitted)
    for found in panel.objects:
        left, top, right, bottom = (edge * scale for edge in found["box"])
        draw.rectangle((left, top, right, bottom), outline=BOX_COLOUR, width=2)
        _label(draw, left, top, f"{found['label']} {found['confidence']:.2f}")
    if panel.caption:
        _label(draw, 0, 0, panel.caption)
    return fitted


def _label(draw: ImageDraw.ImageDraw, left: float, top: float, text: str) -> None:
    place = draw.textbbox((left + 2, top + 1), text)
    draw.rectangle((place[0] - 2, place[1] - 1, place[2] + 2, place[3] + 1), fill=BOX_COLOUR)
    draw.text((left + 2, top + 1), text, fill=LABEL_COLOUR)


def _open(picture: bytes) -> Image.Image:
    """The picture, upright, of whichever kind; the service has taken it, so it needs no bounds."""
    header = read_header(picture, Limits(len(picture), max_pixels=sys.maxsize))
    image = Image.fromarray(decode(picture, header))
    alpha = read_alpha(picture, header.kind, header.orientation)
    if alpha is None:
        return image
    board = Image.new("L", (2, 2), LIGHT)
    for corner in ((0, 0), (1, 1)):
        board.putpixel(corner, DARK)
    across, down = (-(-side // (2 * CHECK)) for side in image.size)
    tile = board.resize((2 * CHECK, 2 * CHECK), Image.Resampling.NEAREST)
    behind = Image.new("L", image.size)
    for row in range(down):
        for column in range(across):
            behind.paste(tile, (2 * CHECK * column, 2 * CHECK * row))
    return Image.composite(image, behind.convert("RGB"), Image.fromarray(alpha))
