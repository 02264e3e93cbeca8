"""`GET /result/{job_id}`: the right picture, the right way up, with nobody left to recognise."""

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from blurline.imaging.decode import Pixels
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector
from blurline.redaction.styles import MOSAIC_CELLS
from blurline.settings import load_settings
from tests.boxes import best_iou, iou
from tests.data_folder import DataFolder
from tests.parts import (
    NOBODY,
    STORED_FOR_ORIENTATION,
    Start,
    Taking,
    ended,
    picture_file,
    refusal,
    upload,
)

FACES = np.array([[459, 48, 526, 138], [276, 135, 329, 208]], np.float32)
PEOPLE = np.array([[374, 21, 574, 355], [74, 102, 562, 358]], np.float32)
"""Where the two faces of `portrait` are, and the people they belong to."""

GROWN = 0.2
"""Least IoU of a face and its region, which is larger on every side."""


def hidden(box: np.ndarray, regions: np.ndarray) -> bool:
    """Whether one region, not much larger than the face, holds nearly all of it."""
    sides = np.minimum(box[2:], regions[:, 2:]) - np.maximum(box[:2], regions[:, :2])
    held = np.clip(sides, 0, None).prod(axis=1) / (box[2:] - box[:2]).prod()
    fits = [iou(box, region) > GROWN for region in regions]
    return bool(((held > 0.95) & fits).any())


BLOCK = 16
"""Pixels around a region that a JPEG may change with it, since it codes blocks of them."""

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def portrait(zidane: bytes) -> Image.Image:
    """Two faces in 640 x 360 pixels."""
    return Image.open(BytesIO(zidane)).resize((640, 360), Image.Resampling.LANCZOS)


def pixels_of(picture: bytes) -> Pixels:
    """The pixels as a viewer shows them: upright, with 8 bits a channel."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(picture)))
    if image.mode == "I;16":
        # Pillow's own conversion would cut everything above 255 off.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def through(client: httpx.Client, picture: bytes, **options: str) -> tuple[dict[str, Any], bytes]:
    """The results of a job that must be completed, and its picture."""
    status = ended(client, upload(client, picture, **options))
    assert status["status"] == "completed", status
    answer = client.get(f"/result/{status['job_id']}")
    assert answer.status_code == 200
    return status["results"], answer.content


def regions(results: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The boxes of what was redacted, best first."""
    found = sorted(results["blur_metadata"]["regions"], key=lambda region: -region["confidence"])
    return np.array([region["box"] for region in found], np.float32).reshape(-1, 4)


def covered(
    boxes: np.ndarray[Any, Any], shape: tuple[int, ...], border: int = 0
) -> np.ndarray[Any, Any]:
    """The mask of the pixels inside the boxes and on so many pixels around them."""
    mask = np.zeros(shape[:2], bool)
    for left, top, right, bottom in boxes.astype(int):
        mask[max(0, top - border) : bottom + border, max(0, left - border) : right + border] = True
    return mask


def test_the_faces_are_a_few_plain_cells_and_the_rest_is_untouched(
    client: httpx.Client, portrait: Image.Image
) -> None:
    # A PNG, so that what is compared are the pixels and not the losses of a JPEG.
    results, result = through(client, picture_file(portrait, "PNG"), targets="face")

    before, after = np.asarray(portrait), pixels_of(result)
    boxes = regions(results)
    inside = covered(boxes, before.shape)
    assert covered(FACES, before.shape)[~inside].sum() == 0
    assert np.array_equal(after[~inside], before[~inside])
    assert len(np.unique(after[inside], axis=0)) <= MOSAIC_CELLS**2 * len(boxes)


def test_of_a_jpeg_the_rest_stays_nearly_the_same(client: httpx.Client, zidane: bytes) -> None:
    results, result = through(client, zidane, targets="face")

    before, after = pixels_of(zidane).astype(int), pixels_of(result).astype(int)
    inside = covered(regions(results), before.shape)
    outside = ~covered(regions(results), before.shape, BLOCK)
    assert inside.any()
    assert outside.any()
    assert np.abs(after - before)[outside].mean() < 2
    assert np.abs(after - before)[inside].mean() > 10


@pytest.mark.parametrize("style", ["mosaic", "solid", "gaussian"])
def test_the_network_finds_no_face_where_it_found_one(
    client: httpx.Client, zidane: bytes, style: str
) -> None:
    detector = load_detector(find("yunet"), Inference(load_settings().model_dir, threads=1))

    def best_face(picture: bytes) -> float:
        found = detector.detect(pixels_of(picture), 0.05)
        near = [face.confidence for face in found if best_iou(face.box, 2 * FACES) > 0.2]
        return max(near, default=0.0)

    _, result = through(client, zidane, targets="face", style=style)

    assert best_face(zidane) > 0.8
    assert best_face(result) < 0.4


FORMATS: dict[str, tuple[Callable[[Image.Image], bytes], str]] = {
    "JPEG": (lambda image: picture_file(image, "JPEG"), "image/jpeg"),
    "progressive JPEG": (lambda image: picture_file(image, "JPEG", progressive=True), "image/jpeg"),
    "grey JPEG": (lambda image: picture_file(image.convert("L"), "JPEG"), "image/jpeg"),
    "CMYK JPEG": (lambda image: picture_file(image.convert("CMYK"), "JPEG"), "image/jpeg"),
    "a phone's JPEG of several": (
        lambda image: picture_file(image, "MPO", save_all=True, append_images=[image]),
        "image/jpeg",
    ),
    "PNG": (lambda image: picture_file(image, "PNG"), "image/png"),
    "PNG with a palette": (lambda image: picture_file(image.quantize(256), "PNG"), "image/png"),
    "PNG with alpha": (lambda image: picture_file(image.convert("RGBA"), "PNG"), "image/png"),
    "PNG of 16 bits": (
        lambda image: picture_file(
            Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257), "PNG"
        ),
        "image/png",
    ),
    "WebP": (lambda image: picture_file(image, "WEBP"), "image/webp"),
    "lossless WebP with alpha": (
        lambda image: picture_file(image.convert("RGBA"), "WEBP", lossless=True),
        "image/webp",
    ),
    "BMP": (lambda image: picture_file(image, "BMP"), "image/bmp"),
    "TIFF": (lambda image: picture_file(image, "TIFF"), "image/tiff"),
    "packed TIFF": (
        lambda image: picture_file(image, "TIFF", compression="tiff_lzw"),
        "image/tiff",
    ),
    "GIF": (lambda image: picture_file(image, "GIF"), "image/png"),
    "AVIF": (lambda image: picture_file(image, "AVIF"), "image/avif"),
    "HEIC": (lambda image: picture_file(image, "HEIC"), "image/jpeg"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_picture_goes_through_in_every_format(
    client: httpx.Client, portrait: Image.Image, name: str
) -> None:
    write, content_type = FORMATS[name]

    job_id = upload(client, write(portrait), targets="face")

    results = ended(client, job_id, seconds=20)["results"]
    answer = client.get(f"/result/{job_id}")
    picture = Image.open(BytesIO(answer.content))
    assert answer.headers["Content-Type"] == content_type
    assert Image.MIME[picture.format or ""] == content_type
    assert picture.size == (results["width"], results["height"]) == (640, 360)
    assert all(hidden(face, regions(results)) for face in FACES)
    shown = pixels_of(answer.content).astype(int)
    outside = ~covered(regions(results), shown.shape, BLOCK)
    wanted = portrait.convert("L") if name in ("grey JPEG", "PNG of 16 bits") else portrait
    assert np.abs(shown - np.asarray(wanted.convert("RGB")))[outside].mean() < 8


def turned(picture: Image.Image, kind: str, orientation: int) -> bytes:
    """A file that holds the picture turned, and says how to turn it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turn = STORED_FOR_ORIENTATION.get(orientation)
    stored = picture if turn is None else picture.transpose(turn)
    return picture_file(stored, kind, exif=exif)


@pytest.mark.parametrize(
    ("kind", "orientation"),
    [*(("JPEG", orientation) for orientation in range(1, 9)), ("PNG", 6), ("WEBP", 6), ("TIFF", 6)],
)
def test_a_turned_picture_comes_back_as_it_is_seen(
    client: httpx.Client, portrait: Image.Image, kind: str, orientation: int
) -> None:
    results, result = through(client, turned(portrait, kind, orientation))

    seen = pixels_of(result)
    assert (seen.shape[1], seen.shape[0]) == (results["width"], results["height"]) == portrait.size
    # A JPEG's pixels stay where they lie, to be coded anew only where they are redacted.
    tag = Image.open(BytesIO(result)).getexif().get(ORIENTATION, 1)
    assert tag == (orientation if kind == "JPEG" else 1)
    boxes = regions(results)
    outside = ~covered(boxes, (360, 640), BLOCK)
    difference = np.abs(seen.astype(int) - np.asarray(portrait))
    assert difference[outside].mean() < 5
    assert all(hidden(face, boxes) for face in FACES)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_objects_are_told_in_pixels_of_the_upright_picture(
    client: httpx.Client, portrait: Image.Image, orientation: int
) -> None:
    # Faces are left alone, so that the network sees the people well.
    results, _ = through(client, turned(portrait, "JPEG", orientation), targets="car")

    people = [
        found["box"]
        for found in results["detection_metadata"]["objects"]
        if found["label"] == "person"
    ]
    assert all(best_iou(person, people) > 0.8 for person in PEOPLE)


def test_a_picture_of_one_pixel_goes_through(client: httpx.Client) -> None:
    pixel = Image.new("RGB", (1, 1), (200, 100, 50))

    _, result = through(client, picture_file(pixel, "PNG"))

    assert pixels_of(result).tolist() == [[[200, 100, 50]]]


def test_a_result_is_not_to_be_guessed_at_by_browsers_or_kept_by_proxies(
    client: httpx.Client, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)

    headers = client.get(f"/result/{job_id}").headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "private" in headers["Cache-Control"]


def test_a_result_that_is_not_ready_is_answered_409(taking: Taking, small_jpeg: bytes) -> None:
    job_id = upload(taking.client, small_jpeg)

    assert refusal(taking.client.get(f"/result/{job_id}")) == (409, "not_ready")


def test_the_result_of_a_failed_job_is_answered_409(client: httpx.Client, bus: bytes) -> None:
    job_id = upload(client, bus[: len(bus) // 2])
    assert ended(client, job_id)["status"] == "failed"

    assert refusal(client.get(f"/result/{job_id}")) == (409, "job_failed")


def test_a_result_that_was_removed_is_answered_404(
    client: httpx.Client, data_folder: DataFolder, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    name = ended(client, job_id)["results"]["processed_image_path"]
    (data_folder.path / "store" / name).unlink()

    assert refusal(client.get(f"/result/{job_id}")) == (404, "not_found")


@pytest.mark.parametrize("job_id", [NOBODY, "x", "%2e%2e", "..%2f..%2foriginal", "%00", "a" * 5000])
def test_the_result_of_an_unknown_job_is_answered_404(taking: Taking, job_id: str) -> None:
    assert refusal(taking.client.get(f"/result/{job_id}")) == (404, "not_found")


def test_a_result_is_not_unknown_because_the_store_is_away(
    idle_client: Start, tmp_path: Path
) -> None:
    client = idle_client()
    shutil.rmtree(tmp_path / "store")

    assert refusal(client.get(f"/result/{NOBODY}")) == (503, "store_unavailable")
