"""Pictures that are enlarged or cut out, through the whole service."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

from blurline.imaging.kind import Kind
from tests.parts import drawing, ended, picture_file, refusal, send, upload


def result(client: httpx.Client, job_id: str, name: str = "") -> Image.Image:
    answer = client.get(f"/result/{job_id}{name and '/'}{name}")
    answer.raise_for_status()
    return Image.open(BytesIO(answer.content))


def test_an_upscaled_picture_is_larger_and_says_how(client: httpx.Client) -> None:
    photo = picture_file(Image.fromarray(drawing(60, 40)), Kind.PNG)
    job = ended(client, upload(client, photo, pipeline="upscale", scale="4", quality="fast"))
    picture = result(client, job["job_id"])
    assert (picture.size, picture.format) == ((240, 160), "PNG")
    assert job["results"]["reports"]["upscale"] == {"scale": 4, "networks": ["realesr_x4"]}


def test_a_cut_out_picture_is_transparent_and_brings_its_mask(
    client: httpx.Client, zidane: bytes
) -> None:
    job = ended(client, upload(client, zidane, pipeline="background-remove", subject="people"))
    picture, mask = (result(client, job["job_id"], name) for name in ("", "mask.png"))
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    assert mask.size == picture.size == (1280, 720)
    alpha = np.asarray(picture.getchannel("A"))
    assert np.array_equal(alpha, np.asarray(mask.convert("L")))
    assert (alpha[500, 350], alpha[60, 640]) == (255, 0)
    roles = {output["name"]: output["role"] for output in job["results"]["outputs"]}
    assert roles == {"picture.png": "primary", "mask.png": "mask"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"pipeline": "upscale", "scale": "3"}, "bad_option"),
        ({"pipeline": "upscale", "background": "white"}, "bad_option"),
        ({"pipeline": "upscale", "quality": "fast", "denoise": "2"}, "bad_option"),
        ({"pipeline": "background-remove", "output_format": "jpeg"}, "bad_option"),
        ({"pipeline": "background-remove", "background": "pinkish"}, "bad_option"),
    ],
)
def test_what_can_not_be_is_refused_before_it_is_queued(
    options: dict[str, str], code: str, client: httpx.Client
) -> None:
    photo = picture_file(Image.fromarray(drawing(60, 40)), Kind.PNG)
    assert refusal(send(client, photo, **options)) == (422, code)


def test_a_result_that_would_be_too_large_is_refused_before_it_is_queued(
    client: httpx.Client,
) -> None:
    blank = picture_file(Image.new("L", (5000, 4000)), Kind.PNG)
    answer = send(client, blank, pipeline="upscale", scale="4")
    assert refusal(answer) == (413, "too_many_pixels")
    assert "20000 x 16000" in answer.json()["error"]["message"]
