"""Options of an upload: which are refused, and that they hold for the picture."""

from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.data_folder import DataFolder
from tests.parts import Start, drawing, ended, picture_file, refusal, send, upload


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": "cat"}, "face, license_plate, car, person"),
        ({"targets": "face,cat"}, "face, license_plate"),
        ({"targets": ["face", "cat"]}, "face, license_plate"),
        ({"style": "pixelate"}, "mosaic, solid, gaussian"),
        ({"style": ["solid", "mosaic"]}, "mosaic, solid, gaussian"),
        ({"quality": "best"}, "fast, balanced, thorough"),
        ({"metadata": "all"}, "keep, minimal, none"),
        ({"on_failure": "ignore"}, "fail, obscure"),
        ({"output_format": "gif"}, "same, jpeg, png, webp, avif"),
        ({"threshold": "car=0.3"}, "face, license_plate"),
        ({"threshold": "face=2"}, "0.01 to 1"),
        ({"ignore_zones": "[[[0, 0], [1, 0]]]"}, "ignore_zones[0]"),
        ({"redact_zones": "[[[0, 0], [1, 0], [1, 2]]]"}, "redact_zones[0][2][1]"),
        ({"pipeline": "none"}, "blur_detect, blur"),
        ({"pipeline": "../blur"}, "blur_detect, blur"),
        ({"targets": " , "}, "face, license_plate"),
        ({"target": "person"}, "targets"),
        ({"zones": "[]"}, "ignore_zones"),
    ],
)
def test_a_bad_option_is_answered_422_with_the_good_ones(
    refusing: httpx.Client,
    small_jpeg: bytes,
    options: dict[str, Any],
    said: str,
) -> None:
    answer = send(refusing, small_jpeg, **options)

    assert refusal(answer) == (422, "bad_option")
    assert said in answer.json()["error"]["message"]


def test_an_option_that_is_a_file_is_answered_422(
    refusing: httpx.Client, small_jpeg: bytes
) -> None:
    files = {"file": ("a.jpg", small_jpeg), "targets": ("targets.txt", b"face")}

    assert refusal(refusing.post("/upload", files=files)) == (422, "bad_option")


@pytest.mark.parametrize(
    ("options", "targets", "style", "detects"),
    [
        ({}, ["face", "license_plate"], "mosaic", True),
        ({"targets": "person,face"}, ["person", "face"], "mosaic", True),
        ({"targets": ["person", "car"]}, ["person", "car"], "mosaic", True),
        ({"targets": " Face , face,"}, ["face"], "mosaic", True),
        ({"style": "SOLID", "pipeline": "Blur"}, ["face", "license_plate"], "solid", False),
        ({"targets": "", "style": "", "pipeline": ""}, ["face", "license_plate"], "mosaic", True),
    ],
)
def test_options_are_form_fields(
    client: httpx.Client,
    small_jpeg: bytes,
    options: dict[str, Any],
    targets: list[str],
    style: str,
    detects: bool,
) -> None:
    results = ended(client, upload(client, small_jpeg, **options))["results"]

    assert results["blur_metadata"]["targets"] == targets
    assert results["blur_metadata"]["style"] == style
    assert (results["detection_metadata"] is not None) is detects


def test_quality_threshold_and_zones_hold_for_the_picture(
    client: httpx.Client, small_jpeg: bytes
) -> None:
    results = ended(
        client,
        upload(
            client,
            small_jpeg,
            quality="thorough",
            threshold="0.9,face=0.5",
            ignore_zones="[[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]]",
            redact_zones="[[[0.5, 0.5], [1, 0.5], [1, 1]]]",
        ),
    )["results"]

    blurred = results["blur_metadata"]
    assert blurred["quality"] == "thorough"
    assert blurred["thresholds"] == {"face": 0.5, "license_plate": 0.9}
    assert blurred["zones"] == {
        "ignore": [[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]],
        "redact": [[[0.5, 0.5], [1, 0.5], [1, 1]]],
    }
    assert blurred["counts"]["zone"] == 1
    assert blurred["regions"][-1] == {
        "target": "zone",
        "confidence": 1.0,
        "box": [160, 120, 320, 240],
        "polygon": [[160, 120], [320, 120], [320, 240]],
    }


def test_a_zone_is_one_of_the_picture_as_it_is_seen(client: httpx.Client) -> None:
    # Orientation 6: the file's 320 x 240 pixels are shown as 240 x 320.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = picture_file(Image.fromarray(drawing()), "JPEG", exif=exif)
    lower_left = "[[[0, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]]]"

    job_id = upload(client, picture, style="solid", threshold="1", redact_zones=lower_left)
    ended(client, job_id)

    result = Image.open(BytesIO(client.get(f"/result/{job_id}").content))
    pixels = np.asarray(ImageOps.exif_transpose(result))
    assert pixels.shape == (320, 240, 3)
    dark = (pixels < 30).all(axis=2)
    assert dark[165:, :115].all()
    assert not dark[:155].any()
    assert not dark[:, 125:].any()


def test_a_camera_has_zones_and_thresholds_by_its_settings(
    idle_client: Start, idle_folder: DataFolder, small_jpeg: bytes
) -> None:
    zones = [[[0, 0], [1, 0], [1, 0.5]]]
    client = idle_client(
        default_quality="fast", default_threshold="face=0.5", default_redact_zones=zones
    )
    own = {"quality": "thorough", "threshold": "face=0.7", "redact_zones": "[]"}
    jobs = upload(client, small_jpeg), upload(client, small_jpeg, **own)

    found = [idle_folder.order(job).options for job in jobs]
    assert [options["quality"] for options in found] == ["fast", "thorough"]
    assert [options["threshold"] for options in found] == [{"face": 0.5}, {"face": 0.7}]
    assert [options["redact_zones"] for options in found] == [zones, []]


def test_a_pipeline_that_is_not_offered_is_refused_before_anything_is_stored(
    idle_client: Start, idle_folder: DataFolder, small_jpeg: bytes
) -> None:
    client = idle_client(pipelines="blur_detect,blur")
    for pipeline in ("upscale", "blur,enhance"):
        assert refusal(send(client, small_jpeg, pipeline=pipeline)) == (422, "bad_option")
    assert not idle_folder.names()
