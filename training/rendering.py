"""Number plates that never existed, in the shapes, colours and scripts of many countries.

And things that are no plates but look like them: boards with words, signs, fences, keyboards.
"""

import random
import string
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
JobRequest = TypeVar("JobRequest")

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("~/.fonts"))
UNSUITED = ("Oblique", "Italic", "Symbol", "Emoji", "Math", "Dingbats")

# Width to height: one line of Europe, of Britain, two lines, Japan and Gulf, America, motorcycles.
SHAPES = ((4.73, 5), (4.5, 3), (3.3, 1), (2.0, 6), (1.5, 2), (1.25, 1))
SCHEMES: tuple[tuple[tuple[Colour, Colour], int], ...] = (  # (background, text), how common
    (((245, 245, 245), (15, 15, 20)), 9),
    (((240, 200, 40), (15, 15, 15)), 4),
    (((235, 235, 240), (20, 40, 150)), 3),
    (((235, 235, 235), (170, 20, 30)), 2),
    (((20, 20, 25), (235, 235, 235)), 3),
    (((30, 60, 160), (240, 240, 240)), 2),
    (((150, 20, 30), (240, 240, 240)), 1),
    (((20, 110, 60), (240, 240, 240)), 2),
    (((190, 225, 245), (25, 30, 90)), 1),
    (((250, 220, 180), (40, 30, 30)), 1),
)
PATTERNS = (
    "LL99LLL", "LL 99 LLL", "LLL 999", "999 LLL", "L 999 LL", "LL-LL 999", "9LLL999", "LLL-9999",
    "99-LL-99", "LL 9999", "LLL9L99", "9999 LLL", "L 99 LLL", "LL99 LLLL", "99999", "L 9999 LL",
    "99L-999.99", "9 LLL 999",
)  # fmt: skip
STATES = ("CALIFORNIA", "TEXAS", "NEW YORK", "Florida", "OHIO", "Ontario", "NSW", "ARIZONA")
WORDS = (
    "EXIT", "Hotel", "CAFE", "Bakery", "SALE", "OPEN", "Street", "NORTH", "Police", "TAXI", "Bank",
    "LIBRARY", "Parking", "50 m", "STOP", "Market", "Pizza", "TEXTIL", "Museum", "BUS", "Avenue",
    "Centre", "1.5 km", "Pharmacy", "FOR RENT", "Cinema", "24 h", "-30 %", "Main St", "Kiosk",
)  # fmt: skip


def render_plate(rng: random.Random) -> Pixels:
    """A plate seen from the front, RGB, about 96 pixels a line of text high."""
    aspect = weighted(rng, SHAPES)
    background, colour = weighted(rng, SCHEMES)
    height = 192 if aspect <= 2.2 else 96
    width = round(height * aspect * rng.uniform(0.93, 1.07))
    image = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(image)
    face = rng.choice(font_files())
    text = _registration(rng)
    left = 0
    if aspect > 3 and rng.random() < 0.65:
        left = round(height * 0.42)
        _country_band(rng, draw, left, height)
    if aspect <= 2.0 and rng.random() < 0.55:
        cut = len(text) // 2
        _write(rng, image, text[:cut].strip(" -."), face, colour, (left, 0.06, 0.47))
        _write(rng, image, text[cut:].strip(" -."), face, colour, (left, 0.5, 0.95))
    elif aspect <= 2.2:
        _write(rng, image, text, face, colour, (left, 0.25, 0.85))
        if rng.random() < 0.8:
            place = (width * rng.uniform(0.2, 0.4), height * 0.03)
            ink = rng.choice((colour, (180, 30, 40), (30, 50, 150)))
            draw.text(place, rng.choice(STATES), fill=ink, font=_font(face, round(height * 0.14)))
    else:
        _write(rng, image, text, face, colour, (left, 0.1, 0.92))
    if rng.random() < 0.6:
        edge = rng.choice((colour, (30, 30, 30), (200, 200, 200)))
        draw.rectangle((0, 0, width - 1, height - 1), outline=edge, width=rng.randint(1, 6))
    plate = np.array(image)
    if rng.random() < 0.35:
        side, below = rng.randint(4, 14), rng.randint(4, 40)
        grey = rng.choice((20, 60, 170))
        holder = (grey, grey, grey)
        plate = np.asarray(
            cv2.copyMakeBorder(plate, side, below, side, side, cv2.BORDER_CONSTANT, value=holder),
            np.uint8,
        )
    return _weathered(rng, plate)


def render_distractor(rng: random.Random) -> Pixels:
    """Something that is no plate, RGB: words on a board, a sign, stripes, a grid, a keyboard."""
    kind = rng.random()
    if kind < 0.5:
        return _weathered(rng, _board(rng))
    if kind < 0.65:
        return _weathered(rng, _sign(rng))
    return _weathered(rng, _lattice(rng))


def paste(rng: random.Random, image: Pixels, thing: Pixels, box: Box, tallest: float) -> Box:
    """Put `thing` into `image` in place, in perspective, about where `box` is; its new box.

    Its width is that of `box`, its height follows from its own proportions, up to `tallest` times
    the height of `box`. It takes on the brightness that is there.
    """
    high, wide = thing.shape[:2]
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    new_height = min(width * high / wide, tallest * height + 4)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], np.float32)
    quad = corners * [width, new_height]
    quad[:, 1] *= 1 + rng.uniform(-0.25, 0.25) * corners[:, 0]
    quad[:, 1] += quad[:, 0] * rng.gauss(0, 0.12)
    angle = rng.gauss(0, 0.05)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = (quad @ turn + [(left + right) / 2, (top + bottom) / 2]).astype(np.float32)
    # It is shrunk before it is warped, since a warp takes single pixels and no means.
    scale = min(1.0, 1.5 * max(width, 4) / wide)
    size = max(2, round(wide * scale)), max(2, round(high * scale))
    small = cv2.resize(thing, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    gain = np.clip((_brightness(image, box) + 20) / 150 * rng.uniform(0.8, 1.25), 0.25, 1.25)
    flat = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float32)
    transform = cv2.getPerspectiveTransform(flat, quad)
    canvas = image.shape[1], image.shape[0]
    warped = cv2.warpPerspective(np.clip(small * gain, 0, 255), transform, canvas)
    mask = cv2.warpPerspective(np.ones((size[1], size[0]), np.float32), transform, canvas)
    if width < 60:
        mask = cv2.GaussianBlur(mask, (3, 3), 0)
    mask = mask[..., None]
    image[:] = (image * (1 - mask) + warped * mask).astype(np.uint8)
    (x1, y1), (x2, y2) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
    return x1, y1, x2, y2


def weighted(rng: random.Random, table: Sequence[tuple[JobRequest, int]]) -> JobRequest:
    """One of the rows' first values, as often as their second ones say."""
    return rng.choices([row[0] for row in table], [row[1] for row in table])[0]


@cache
def font_files() -> list[str]:
    """The TrueType fonts of the machine; a wide choice makes for a better network."""
    found = [path for folder in FONT_FOLDERS for path in folder.expanduser().rglob("*.ttf")]
    suited = sorted(
        str(path)
        for path in found
        if not any(word in path.name for word in UNSUITED) and _writes_latin(path)
    )
    if not suited:
        raise SystemExit("no TrueType fonts found: install some, such as DejaVu and Liberation")
    return suited


def _writes_latin(path: Path) -> bool:
    """Whether a letter looks different from the sign for letters that the font lacks."""
    font = ImageFont.truetype(str(path), 40)
    return bytes(font.getmask("A")) != bytes(font.getmask("\uffff"))


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _registration(rng: random.Random) -> str:
    sets = {"L": string.ascii_uppercase, "9": string.digits}
    return "".join(rng.choice(sets.get(sign, sign)) for sign in rng.choice(PATTERNS))


def _country_band(rng: random.Random, draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    blue = rng.choice(((20, 50, 160), (0, 60, 140), (200, 30, 40)))
    draw.rectangle((0, 0, width, height), fill=blue)
    country = rng.choice(("D", "RO", "F", "PL", "I", "GB", "CZ"))
    face = _font(rng.choice(font_files()), round(height * 0.26))
    draw.text((width * 0.2, height * 0.6), country, fill=(250, 250, 250), font=face)


def _write(
    rng: random.Random,
    image: Image.Image,
    text: str,
    face: str,
    colour: Colour,
    place: tuple[int, float, float],
) -> None:
    """Text that fills the height from one share to another, right of `place`'s first value."""
    left, top, bottom = place
    if not text:
        return
    font = _font(face, 120)
    x1, y1, x2, y2 = (round(edge) for edge in font.getbbox(text))
    glyphs = Image.new("L", (max(1, x2 - x1), max(1, y2 - y1)), 0)
    ImageDraw.Draw(glyphs).text((-x1, -y1), text, fill=255, font=font)
    space = image.width - left
    size = max(1, round(space * rng.uniform(0.78, 0.95))), round(image.height * (bottom - top))
    glyphs = glyphs.resize(size, Image.Resampling.BILINEAR)
    corner = left + (space - size[0]) // 2, round(image.height * top)
    image.paste(Image.new("RGB", size, colour), corner, glyphs)


def _board(rng: random.Random) -> Pixels:
    """Words as on shop fronts, street signs, book spines and sports fields."""
    lines = rng.choice((1, 1, 2, 3))
    width = round(96 * rng.uniform(1.5, 6))
    image = Image.new("RGB", (width, 96 * lines), _any_colour(rng))
    ink, face = _any_colour(rng), rng.choice(font_files())
    for line in range(lines):
        words = " ".join(rng.choices(WORDS, k=rng.randint(1, 3)))
        band = (0, (line + 0.12) / lines, (line + 0.88) / lines)
        _write(rng, image, words, face, ink, band)
    return np.array(image)


def _sign(rng: random.Random) -> Pixels:
    """A road sign: a disc, a triangle or a panel with a figure or an arrow."""
    image = Image.new("RGB", (160, 160), _any_colour(rng))
    draw = ImageDraw.Draw(image)
    body, rim = _any_colour(rng), _any_colour(rng)
    shape = rng.choice(("disc", "triangle", "panel"))
    if shape == "disc":
        draw.ellipse((4, 4, 155, 155), fill=body, outline=rim, width=rng.randint(4, 20))
    elif shape == "triangle":
        draw.polygon([(80, 5), (155, 150), (5, 150)], fill=body, outline=rim)
    else:
        draw.rectangle((4, 4, 155, 155), fill=body, outline=rim, width=rng.randint(4, 20))
    if rng.random() < 0.6:
        draw.text(
            (34, 48), str(rng.randint(10, 99)), fill=_any_colour(rng),
            font=_font(rng.choice(font_files()), 72),
        )  # fmt: skip
    else:
        draw.line((80, 130, 80, 40), fill=_any_colour(rng), width=14)
        draw.polygon([(80, 20), (110, 60), (50, 60)], fill=_any_colour(rng))
    return np.array(image)


def _lattice(rng: random.Random) -> Pixels:
    """Bars, rails, windows, keys or checks at even distances."""
    width, height = round(96 * rng.uniform(1, 5)), 96
    image = Image.new("RGB", (width, height), _any_colour(rng))
    draw, ink = ImageDraw.Draw(image), _any_colour(rng)
    step = rng.randint(8, 40)
    thick = rng.uniform(0.15, 0.8) * step
    rows = rng.choice((1, 1, 2, 3, 4))
    gap = height / rows
    for row in range(rows):
        top, bottom = row * gap + rng.uniform(0, 0.2) * gap, (row + 1) * gap - 0.1 * gap
        for x in range(rng.randint(0, step), width, step):
            draw.rectangle((x, top, x + thick, max(top, bottom)), fill=ink)
    return np.array(image)


def _any_colour(rng: random.Random) -> Colour:
    if rng.random() < 0.5:
        grey = rng.choice((10, 60, 200, 240))
        return grey, grey, grey
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _weathered(rng: random.Random, flat: Pixels) -> Pixels:
    """With uneven light and dirt."""
    height, width = flat.shape[:2]
    out: NDArray[Any] = flat.astype(np.float32)
    if rng.random() < 0.6:
        ramp = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.5, 1.1), width)
        out = out * ramp[None, :, None]
    if rng.random() < 0.4:
        coarse = np.random.default_rng(rng.getrandbits(32)).random((4, 8)).astype(np.float32)
        dirt = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
        out = out * (1 - 0.6 * np.clip(dirt - 0.4, 0, 1)) + 40 * np.clip(dirt - 0.6, 0, 1)
    return np.asarray(np.clip(out, 0, 255), np.uint8)


def _brightness(image: Pixels, box: Box) -> float:
    height, width = image.shape[:2]
    left, right = np.clip([int(box[0]), int(box[2]) + 1], 0, width)
    top, bottom = np.clip([int(box[1]), int(box[3]) + 1], 0, height)
    region = image[top:bottom, left:right]
    return float(region.mean()) if region.size else 128.0
