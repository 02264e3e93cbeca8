"""Endless training crops: real photos, rendered plates in them, and what only looks like plates."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from training.rendering import Box, Pixels, paste, render_distractor, render_plate
from training.sets import Photo, Photos

SIDES = ((320, 16), (320, 16), (320, 16), (512, 6))
"""Side of the crops and crops a batch, in turns: large ones show large objects whole."""

IGNORE = 0.0
OBJECT = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops, (n, 3, side, side) of 0 to 255, and per crop its labels and whether it is trusted.

    Labels have the shape (n, 5): left, top, right, bottom in pixels, and `OBJECT` or `IGNORE`.
    """

    crops: Tensor
    labels: list[Tensor]
    trusted: list[bool]


class Batches(IterableDataset[Batch]):
    """Batches without end, the same for the same seed."""

    def __init__(self, photos: Photos, seed: int) -> None:
        self._photos, self._seed = photos, seed

    def __iter__(self) -> Iterator[Batch]:
        # Without its own thread count each loader would take all cores.
        cv2.setNumThreads(1)
        rng = random.Random(self._seed)
        while True:
            for side, count in SIDES:
                crops = [crop(rng, self._photos, side) for _ in range(count)]
                yield Batch(
                    torch.stack([torch.from_numpy(pixels) for pixels, _, _ in crops]),
                    [torch.from_numpy(labels) for _, labels, _ in crops],
                    [trusted for _, _, trusted in crops],
                )


def crop(rng: random.Random, photos: Photos, side: int) -> tuple[Pixels, NDArray[np.float32], bool]:
    """One crop, (3, side, side), its labels as in `Batch`, and whether its background is trusted.

    Plates are shown at all sizes from 9 pixels to wider than the crop, each octave as often.
    """
    if rng.random() < 0.7:
        photo = rng.choices(photos.labelled, photos.weights)[0]
    else:
        photo = rng.choice(photos.negative)
    pixels = _decoded(photo)
    chosen = rng.choice(photo.boxes) if len(photo.boxes) and rng.random() < 0.85 else None
    around = _background(rng, photos, side)
    image, boxes, doubtful = _window(rng, pixels, photo, chosen, around)
    if photos.render:
        if rng.random() < 0.35:
            _distract(rng, image, boxes + doubtful)
        boxes = _with_rendered_plates(rng, image, boxes)
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        boxes, doubtful = _mirrored(boxes, side), _mirrored(doubtful, side)
    image = _photographed(rng, image)
    labels = _labels(boxes, doubtful, side)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), labels, photo.trusted


def _mirrored(boxes: list[Box], side: int) -> list[Box]:
    return [(side - right, top, side - left, bottom) for left, top, right, bottom in boxes]


def _decoded(photo: Photo) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels, np.uint8)


def _background(rng: random.Random, photos: Photos, side: int) -> Pixels:
    """A piece of a photo without plates; seldom just grey, as at the edge of a letterbox."""
    if rng.random() < 0.15:
        return np.full((side, side, 3), 114, np.uint8)
    pixels = _decoded(rng.choice(photos.negative))
    height, width = pixels.shape[:2]
    cut = min(height, width, round(side * math.exp(rng.uniform(-0.7, 0.9))))
    x, y = rng.randint(0, width - cut), rng.randint(0, height - cut)
    return np.asarray(cv2.resize(pixels[y : y + cut, x : x + cut], (side, side)), np.uint8)


def _window(
    rng: random.Random,
    pixels: Pixels,
    photo: Photo,
    chosen: NDArray[np.float32] | None,
    around: Pixels,
) -> tuple[Pixels, list[Box], list[Box]]:
    """A square window of the photo, scaled and a little turned, with its boxes in its pixels.

    Where the window looks over the photo's edge, `around` is seen.
    """
    height, width = pixels.shape[:2]
    side = around.shape[0]
    if chosen is not None:
        plate_width = float(chosen[2] - chosen[0])
        wanted = math.exp(rng.uniform(math.log(9), math.log(1.05 * side)))
        scale = wanted / max(4.0, plate_width)
        scale = max(0.12, min(scale, 3.0 if plate_width > 20 else 1.5))
    else:
        scale = math.exp(rng.uniform(math.log(0.3), math.log(2.0)))
        scale = max(scale, 0.6 * side / max(height, width))
    stretch = math.exp(rng.gauss(0, 0.08))
    fx, fy = scale / stretch, scale * stretch
    window_width, window_height = side / fx, side / fy
    if chosen is not None:
        x = float(chosen[0] + chosen[2]) / 2 - window_width * rng.uniform(0.06, 0.94)
        y = float(chosen[1] + chosen[3]) / 2 - window_height * rng.uniform(0.06, 0.94)
    else:
        x, y = (
            rng.uniform(min(0, free), max(0, free))
            for free in (width - window_width, height - window_height)
        )
    transform = np.array([[fx, 0, -x * fx], [0, fy, -y * fy], [0, 0, 1]], np.float64)
    if rng.random() < 0.5:
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.gauss(0, 4), 1.0)
        transform = np.vstack([turn, [0, 0, 1]]) @ transform
    # It is shrunk before it is warped, since a warp takes single pixels and no means.
    shrink = min(1.0, 1.6 * max(fx, fy))
    shown = transform
    if shrink < 0.9:
        pixels = np.asarray(
            cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8
        )
        shown = transform @ np.diag([1 / shrink, 1 / shrink, 1])
    image = cv2.warpAffine(
        pixels, shown[:2], (side, side), dst=around, borderMode=cv2.BORDER_TRANSPARENT
    )
    boxes, doubtful = (
        [_moved(box, transform) for box in rows.tolist()] for rows in (photo.boxes, photo.doubtful)
    )
    return np.asarray(image, np.uint8), boxes, doubtful


def _moved(box: Box, transform: NDArray[np.float64]) -> Box:
    """The box after the transform. A turned plate's corners stick out; half of that is taken."""
    left, top, right, bottom = box
    corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]])
    x, y = np.sort((corners @ transform.T)[:, :2], axis=0).T
    return (x[0] + x[1]) / 2, (y[0] + y[1]) / 2, (x[2] + x[3]) / 2, (y[2] + y[3]) / 2


def _distract(rng: random.Random, image: Pixels, boxes: list[Box]) -> None:
    """Up to three things that are no plates, where they hide none."""
    side = image.shape[0]
    for _ in range(rng.randint(1, 3)):
        thing = render_distractor(rng)
        width = math.exp(rng.uniform(math.log(14), math.log(0.9 * side)))
        height = min(width * thing.shape[0] / thing.shape[1], 0.8 * side)
        x, y = rng.uniform(-0.2 * width, side - 0.5 * width), rng.uniform(0, side - 0.5 * height)
        reach = (x - 0.2 * width, y - height, x + 1.2 * width, y + 2 * height)
        if not any(_meet(reach, box) for box in boxes):
            paste(rng, image, thing, (x, y, x + width, y + height), tallest=1.0)


def _with_rendered_plates(rng: random.Random, image: Pixels, boxes: list[Box]) -> list[Box]:
    """The boxes after some plates were replaced by rendered ones, or one was put anywhere."""
    side = image.shape[0]
    if boxes and rng.random() < 0.45:
        return [
            _replaced(rng, image, box) if box[2] - box[0] > 8 and _inside(box, side) else box
            for box in boxes
        ]
    if not boxes and rng.random() < 0.12:
        width = math.exp(rng.uniform(math.log(12), math.log(0.7 * side)))
        x, y = rng.uniform(0, side - 0.5 * width), rng.uniform(0, side - 0.2 * width)
        box = (x, y, x + width, y + width / 3)
        return [paste(rng, image, render_plate(rng), box, tallest=2.5)]
    return boxes


def _replaced(rng: random.Random, image: Pixels, box: Box) -> Box:
    """The box of a rendered plate that hides the plate which was there."""
    plate = render_plate(rng)
    left, top, right, bottom = box
    natural = (right - left) * plate.shape[0] / plate.shape[1]
    short = max(1.0, min(1.6, (bottom - top) / max(natural, 1e-6)))
    grow = (right - left) * (short - 1) / 2 * 0.4
    return paste(rng, image, plate, (left - grow, top, right + grow, bottom), tallest=1.6)


def _photographed(rng: random.Random, image: Pixels) -> Pixels:
    """With the light, colours, blur, noise and compression of real cameras."""
    out: NDArray[Any] = image.astype(np.float32)
    if rng.random() < 0.8:
        out = (out - 128) * rng.uniform(0.6, 1.4) + 128 + rng.gauss(0, 18)
        out *= np.array([rng.uniform(0.9, 1.1) for _ in range(3)], np.float32)
    if rng.random() < 0.15:
        out = 255 * (np.clip(out, 0, 255) / 255) ** rng.uniform(1.5, 3.0)
    if rng.random() < 0.12:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    out = np.clip(out, 0, 255)
    if rng.random() < 0.2:
        length = rng.choice((3, 5, 7))
        kernel = np.zeros((length, length), np.float32)
        if rng.random() < 0.6:
            kernel[length // 2] = 1 / length
        else:
            kernel[:, length // 2] = 1 / length
        out = cv2.filter2D(out, -1, kernel)
    elif rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.4))
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(out.shape, np.float32)
        out = np.clip(out + noise * rng.uniform(2, 12), 0, 255)
    out = out.astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(25, 85)]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR))
    return out


def _labels(boxes: list[Box], doubtful: list[Box], side: int) -> NDArray[np.float32]:
    """Boxes cut to the crop; what is doubtful, tiny or mostly outside is to be ignored."""
    rows = []
    kinds = [*zip(boxes, repeat(OBJECT)), *zip(doubtful, repeat(IGNORE))]
    for (left, top, right, bottom), kind in kinds:
        x1, y1, x2, y2 = max(0.0, left), max(0.0, top), min(side, right), min(side, bottom)
        if x2 <= x1 or y2 <= y1:
            continue
        width, height = right - left, bottom - top
        shown = (x2 - x1) * (y2 - y1) / (width * height)
        unclear = width < 7 or height < 2.5 or shown < 0.3
        rows.append((x1, y1, x2, y2, IGNORE if unclear else kind))
    return np.array(rows, np.float32).reshape(-1, 5)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: Box, side: int) -> bool:
    return box[0] > -10 and box[2] < side + 10
