"""What is asked of pictures that are enlarged or cut out."""

import httpx
import pytest
from PIL import Image

from blurline.imaging.kind import Kind
from tests.parts import drawing, picture_file, refusal, send


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
