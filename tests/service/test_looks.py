"""Pictures that are made better or get another look, through the whole service."""

from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from blurline.imaging.decode import Pixels
from blurline.imaging.kind import Kind
from tests.parts import ended, picture_file, refusal, send, upload
from tests.pixels import difference, lab, photo


def result(client: httpx.Client, picture: bytes, **options: str) -> tuple[Pixels, dict[str, Any]]:
    """The pixels that come of a picture, and the job's results."""
    job = ended(client, upload(client, picture, **options))
    assert job["status"] == "completed", job["error"]
    return photo(client.get(f"/result/{job['job_id']}").content), job["results"]


def test_a_dark_photo_comes_back_bright(client: httpx.Client, bus: bytes) -> None:
    pixels = photo(bus)
    dark = (pixels * 0.35).astype(np.uint8)
    better, results = result(
        client, picture_file(Image.fromarray(dark), Kind.PNG), pipeline="enhance"
    )
    assert difference(better, pixels) < 0.2 * difference(dark, pixels)
    assert results["reports"]["enhance"]["white"] < 128
    assert [one["name"] for one in results["outputs"]] == ["picture.png"]


def test_a_comic_and_an_old_print_are_made_of_a_photo(client: httpx.Client, bus: bytes) -> None:
    pixels = photo(bus)
    comic, _ = result(client, bus, pipeline="style-comic", output_format="png")
    assert np.mean(comic.max(axis=2) < 20) > np.mean(pixels.max(axis=2) < 20)  # ink
    aged, _ = result(client, bus, pipeline="style-aged", output_format="png")
    assert lab(aged)[..., 2].min() > 3  # all of it is brown


@pytest.mark.parametrize("pipeline", ["enhance", "style-comic", "style-aged"])
def test_a_transparent_picture_stays_transparent(client: httpx.Client, pipeline: str) -> None:
    picture = Image.new("RGBA", (40, 30), (200, 120, 80, 0))
    picture.paste((60, 90, 200, 255), (10, 10, 30, 20))
    job = ended(client, upload(client, picture_file(picture, Kind.PNG), pipeline=pipeline))
    shown = Image.open(BytesIO(client.get(f"/result/{job['job_id']}").content))
    assert np.array_equal(np.asarray(shown.getchannel("A")), np.asarray(picture.getchannel("A")))


def test_a_look_comes_after_redaction_whatever_was_asked(client: httpx.Client, bus: bytes) -> None:
    _, results = result(client, bus, pipeline="style-comic,blur", targets="person")
    assert results["blur_metadata"]["counts"]["person"] >= 3
    assert {"blur", "style-comic"} <= set(results["reports"])


@pytest.mark.parametrize(
    "options",
    [
        {"pipeline": "enhance", "ink": "1"},
        {"pipeline": "style-comic", "tones": "13"},
        {"pipeline": "style-aged", "strength": "2"},
    ],
)
def test_options_that_are_not_its_own_are_refused(
    client: httpx.Client, small_jpeg: bytes, options: dict[str, str]
) -> None:
    assert refusal(send(client, small_jpeg, **options)) == (422, "bad_option")
