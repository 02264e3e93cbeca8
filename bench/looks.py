"""`python -m bench looks`: pictures made better or given another look, beside OpenCV's own ways."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from statistics import median
from time import thread_time
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from bench.figures import rounded
from bench.photos import SIZE_HELP, make_photos, sizes
from bench.report import RECIPE, console, publish
from blurline.effects.aged import aged
from blurline.effects.comic import comic
from blurline.effects.enhance import enhanced, planned
from blurline.imaging.decode import Pixels
from blurline.settings import load_settings

PHOTOS = 4
NOISE = 10.0
"""Deviation of the noise, in tones of 255, of the noisy copies."""


def looks(
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "720p",
    rounds: Annotated[int, typer.Option(min=1, help="Times that each photo is treated.")] = 3,
) -> None:
    """CPU of the pipelines that need no network, on one thread, in milliseconds a megapixel.

    `enhance_noisy` is of photos with noise. Beside them what OpenCV has for the same: `stylization`
    for a comic; `nlmeans_clahe`, non-local means and local equalisation of the lightness, for a
    noisy photo. All of them take turns; medians.
    """
    settings = load_settings()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {}
    for one in sizes(size):
        photos = [_pixels(photo) for photo in make_photos(one, settings)[:PHOTOS]]
        with console.status(f"{rounds} rounds at {one.name}"):
            figures[one.name] = _figures(looks_cost(photos, rounds))
    publish("looks", {**figures, RECIPE: {"rounds": rounds, "photos": PHOTOS}})


def looks_cost(photos: list[Pixels], rounds: int) -> dict[str, float]:
    """CPU milliseconds a megapixel of each way, medians over photos and rounds."""
    costs: dict[str, list[float]] = {}
    for photo in photos:
        noise = np.random.default_rng(1).normal(0, NOISE, photo.shape)
        noisy = np.clip(photo + noise, 0, 255).astype(np.uint8)
        ways: dict[str, Callable[[], object]] = {
            "enhance": partial(_enhanced, photo),
            "enhance_noisy": partial(_enhanced, noisy),
            "style_comic": partial(comic, photo),
            "style_aged": partial(aged, photo),
            "stylization": partial(cv2.stylization, photo),
            "nlmeans_clahe": partial(_nlmeans_clahe, noisy),
        }
        megapixels = photo.shape[0] * photo.shape[1] / 1e6
        for _ in range(rounds):
            for name, way in ways.items():
                started = thread_time()
                way()
                costs.setdefault(name, []).append(1000 * (thread_time() - started) / megapixels)
    return {name: median(found) for name, found in costs.items()}


def _figures(costs: dict[str, float]) -> dict[str, float]:
    """The costs, and what ours are of the others'."""
    return rounded(
        {
            **costs,
            "comic_of_stylization": costs["style_comic"] / costs["stylization"],
            "noisy_of_nlmeans": costs["enhance_noisy"] / costs["nlmeans_clahe"],
        }
    )


def _enhanced(pixels: Pixels) -> Pixels:
    return enhanced(pixels, planned(pixels))


def _nlmeans_clahe(pixels: Pixels) -> Pixels:
    quiet = cv2.fastNlMeansDenoisingColored(pixels, None, NOISE, NOISE, 7, 21)
    lightness, *colours = cv2.split(cv2.cvtColor(quiet, cv2.COLOR_RGB2LAB))
    equalised = cv2.createCLAHE(2.0, (8, 8)).apply(lightness)
    return np.asarray(cv2.cvtColor(cv2.merge([equalised, *colours]), cv2.COLOR_LAB2RGB), np.uint8)


def _pixels(photo: bytes) -> Pixels:
    return np.asarray(Image.open(BytesIO(photo)).convert("RGB"))
