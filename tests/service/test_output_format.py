"""`output_format`: every kind of picture as the kind that is asked for, with what that can hold."""

from io import BytesIO

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from blurline.intake.fingerprints import Fingerprints, JobRequest, digest_of
from blurline.jobs.results import WRITTEN
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.settings import load_settings
from blurline.stages.frame import Options
from blurline.stages.options import values_of
from blurline.stages.pipeline import Chain
from tests.parts import drawing, ended, picture_file, upload
from tests.telltales import srgb

LIMITS = Limits(max_bytes=50_000_000, max_pixels=100_000_000)
PIXELS = drawing(96, 64)
OPACITY = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
SEE_THROUGH = Image.fromarray(np.dstack([PIXELS, OPACITY]))
CHOSEN = [output for output in OutputFormat if output is not OutputFormat.SAME]
WITH_ALPHA = (Kind.PNG, Kind.WEBP, Kind.TIFF, Kind.AVIF, Kind.HEIC)


@pytest.mark.parametrize("output", CHOSEN)
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_written_as_the_kind_that_is_asked_for(
    kind: Kind, output: OutputFormat
) -> None:
    sees_through = kind in WITH_ALPHA
    data = picture_file(SEE_THROUGH if sees_through else SEE_THROUGH.convert("RGB"), kind)
    pixels = decode(data, read_header(data, LIMITS))
    written = output.of(kind)
    result = clean(
        rewrite(data, kind, pixels, [(0, 0, 8, 8)], 1, 95, output),
        written,
        read_metadata(data, kind, MetadataPolicy.MINIMAL),
    )
    header = read_header(result, LIMITS)
    assert header.kind is written is Kind(output.value)
    assert cv2.absdiff(decode(result, header), pixels).mean() < 4
    with Image.open(BytesIO(result)) as image:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    expected = OPACITY.copy() if sees_through else np.full_like(OPACITY, 255)
    expected[:8, :8] = 255
    if written is Kind.JPEG:
        expected[:] = 255
    assert cv2.absdiff(alpha, expected).mean() < 4


@pytest.mark.parametrize("output", CHOSEN)
def test_a_colour_profile_goes_into_the_other_kind(output: OutputFormat) -> None:
    for kind in (Kind.PNG, Kind.JPEG, Kind.HEIC):
        data = picture_file(Image.fromarray(PIXELS), kind, icc_profile=srgb())
        metadata = read_metadata(data, kind, MetadataPolicy.MINIMAL)
        result = clean(rewrite(data, kind, PIXELS, [], 1, 90, output), output.of(kind), metadata)
        with Image.open(BytesIO(result)) as image:
            assert image.info["icc_profile"] == metadata.icc


@pytest.mark.parametrize("output", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_samples_of_16_bits_become_8_where_the_kind_has_no_more(output: OutputFormat) -> None:
    deep = np.dstack([PIXELS[..., ::-1], OPACITY]).astype(np.uint16) * 257
    done, buffer = cv2.imencode(".png", deep)
    assert done
    data = buffer.tobytes()
    pixels = decode(data, read_header(data, LIMITS))
    result = rewrite(data, Kind.PNG, pixels, [], 1, 95, output)
    assert cv2.absdiff(decode(result, read_header(result, LIMITS)), pixels).mean() < 4


def test_samples_of_16_bits_of_a_tiff_stay_in_a_png() -> None:
    deep = (PIXELS.astype(np.uint16) << 8) + 7
    done, buffer = cv2.imencode(".tiff", deep[..., ::-1])
    assert done
    data = buffer.tobytes()
    result = rewrite(data, Kind.TIFF, PIXELS, [], 1, 90, OutputFormat.PNG)
    found = cv2.imdecode(np.frombuffer(result, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert (found[..., ::-1] == deep).all()


def test_results_have_no_kind_that_is_not_looked_for_when_they_are_removed() -> None:
    assert len({*WRITTEN, *(output.of(Kind.JPEG) for output in OutputFormat)}) == len(WRITTEN)


def test_the_same_picture_in_another_format_is_another_upload() -> None:
    identity = Fingerprints(b"secret", by_content=True)
    blur = pipelines(load_settings())["blur"]
    marks = [
        identity.of_picture(
            digest_of(b"picture"),
            JobRequest(
                Chain((blur,)),
                values_of(Options(("face",), Style.MOSAIC, output_format=output)),
            ),
            None,
        )
        for output in OutputFormat
    ]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize(
    ("kind", "output", "content_type"),
    [
        ("HEIC", "png", "image/png"),
        ("PNG", "JPEG", "image/jpeg"),
        ("JPEG", "webp", "image/webp"),
        ("JPEG", "jpeg", "image/jpeg"),
        ("GIF", "avif", "image/avif"),
    ],
)
def test_a_result_comes_as_the_kind_that_is_asked_for_and_is_deleted_so(
    client: httpx.Client, zidane: bytes, kind: str, output: str, content_type: str
) -> None:
    portrait = Image.open(BytesIO(zidane)).resize((320, 180))
    job_id = upload(client, picture_file(portrait, kind), targets="face", output_format=output)
    status = ended(client, job_id)
    assert status["status"] == "completed", status
    answer = client.get(f"/result/{job_id}")
    assert answer.headers["Content-Type"] == content_type
    assert Image.MIME[Image.open(BytesIO(answer.content)).format or ""] == content_type
    blurred = status["results"]["blur_metadata"]
    assert blurred["output_format"] == output.lower()
    assert blurred["path"] == ("lossless" if kind == output.upper() else "re-encoded")
    ending = Kind(output.lower()).extension
    assert status["results"]["processed_image_path"].endswith(f".{ending}")
    receipt = client.delete(f"/jobs/{job_id}").json()
    assert "result" in str(receipt)
    assert client.get(f"/result/{job_id}").status_code == 404
