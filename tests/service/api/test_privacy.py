"""What results tell beside their pixels, and which pictures have none."""

from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.data_folder import shown
from tests.parts import Start, drawing, ended, picture_file, refusal, upload
from tests.telltales import MARKER, srgb, traces

ORIENTATION, MAKE, CAPTURE, GPS = 0x0112, 0x010F, 0x8769, 0x8825
DATE_TIME_ORIGINAL, LATITUDE = 0x9003, 2

ANIMATED = {"GIF": "a.gif", "PNG": "a.png", "WEBP": "a.webp"}


def telling() -> bytes:
    """A picture that lies turned and tells camera, time, place, colours and more."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "Acme"
    exif[0x010E] = MARKER.decode()
    exif.get_ifd(CAPTURE)[DATE_TIME_ORIGINAL] = "2024:05:17 12:34:56"
    exif.get_ifd(GPS).update({1: "N", LATITUDE: (48.0, 51.0, 30.25)})
    picture = Image.fromarray(drawing())
    return picture_file(picture, "JPEG", exif=exif, icc_profile=srgb(), comment=MARKER)


def told(picture: bytes) -> dict[str, Any]:
    """What the file says beside its pixels."""
    image = Image.open(BytesIO(picture))
    exif = image.getexif()
    found = {
        "orientation": exif.get(ORIENTATION),
        "make": exif.get(MAKE),
        "time": exif.get_ifd(CAPTURE).get(DATE_TIME_ORIGINAL),
        "latitude": exif.get_ifd(GPS).get(LATITUDE),
        "profile": "icc_profile" in image.info or None,
    }
    return {name: value for name, value in found.items() if value is not None}


MINIMAL = {"orientation": 6, "profile": True}
ALL = {
    **MINIMAL,
    "make": "Acme",
    "time": "2024:05:17 12:34:56",
    "latitude": (48.0, 51.0, 30.25),
}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"metadata": "keep"}, ALL),
        ({"metadata": "MINIMAL"}, MINIMAL),
        ({"metadata": "none"}, {}),
        ({}, MINIMAL),
    ],
    ids=lambda value: value.get("metadata", "") if len(value) < 2 else "",
)
def test_a_result_tells_what_its_sender_allows(
    client: httpx.Client, options: dict[str, str], left: dict[str, Any]
) -> None:
    picture = telling()
    assert told(picture) == ALL
    job_id = upload(client, picture, **options)
    status = ended(client, job_id)

    result = client.get(f"/result/{job_id}").content

    assert told(result) == left
    assert traces(result) == []
    assert status["results"]["blur_metadata"]["metadata"] == (
        options.get("metadata", "minimal").lower()
    )
    assert shown(result).shape == shown(picture).shape == (320, 240, 3)
    assert np.abs(shown(result).astype(int) - shown(picture)).mean() < 3


# Animations


@pytest.fixture(scope="module")
def animations() -> dict[str, bytes]:
    """An animation of each kind, whose second picture is black."""
    first, second = Image.fromarray(drawing()), Image.new("RGB", (320, 240))
    return {
        kind: picture_file(first, kind, save_all=True, append_images=[second]) for kind in ANIMATED
    }


@pytest.mark.parametrize("kind", ANIMATED)
def test_an_animation_is_answered_415(
    refusing: httpx.Client, animations: dict[str, bytes], kind: str
) -> None:
    answer = refusing.post("/upload", files={"file": (ANIMATED[kind], animations[kind])})

    assert refusal(answer) == (415, "animation")
    answer = refusing.post("/blur/", files={"picture": (ANIMATED[kind], animations[kind])})
    assert refusal(answer) == (415, "animation")


def test_an_animation_does_not_sink_its_batch(
    idle_client: Start, animations: dict[str, bytes], small_jpeg: bytes
) -> None:
    pictures = [small_jpeg, *animations.values(), small_jpeg]
    files = [("files", (f"{number}.jpg", picture)) for number, picture in enumerate(pictures)]

    answer = idle_client().post("/batch-upload", files=files)

    assert answer.status_code == 202
    codes = [job["error"] and job["error"]["code"] for job in answer.json()["jobs"]]
    assert codes == [None, "animation", "animation", "animation", None]


# Failures


def test_a_picture_that_goes_well_is_not_obscured(client: httpx.Client, zidane: bytes) -> None:
    job_id = upload(client, zidane, targets="face", on_failure="Obscure")

    results = ended(client, job_id)["results"]

    assert results["blur_metadata"]["on_failure"] == "obscure"
    assert "frame" not in results["blur_metadata"]["counts"]


def test_a_file_without_pixels_fails_even_if_it_may_be_obscured(
    client: httpx.Client, bus: bytes
) -> None:
    status = ended(client, upload(client, bus[: len(bus) // 2], on_failure="obscure"))

    assert (status["status"], status["error"]["code"]) == ("failed", "corrupt_image")


@pytest.mark.parametrize("words", [{"on_failure": "ignore"}, {"metadata": "some"}])
def test_an_unknown_word_is_answered_422(
    refusing: httpx.Client, small_jpeg: bytes, words: dict[str, str]
) -> None:
    answer = refusing.post("/upload", files={"file": ("a.jpg", small_jpeg)}, data=words)

    assert refusal(answer) == (422, "bad_option")
