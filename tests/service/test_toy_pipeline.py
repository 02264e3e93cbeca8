"""A pipeline from outside the package, on its whole way: one stage's class and one entry."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from blurline.certificate.certificate import RedactedPicture, TransformedPicture, verify
from blurline.certificate.signing import Finding, load_signing_key
from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings
from blurline.stages.blur import Blur
from tests.parts import (
    drawing,
    ended,
    image_worker,
    names_below,
    picture_file,
    redacting,
    refusal,
    runner,
    send,
    serving,
    settings_for,
)
from tests.toys import QUEUE, TOY
from tests.unit.stages.test_stages import FACE, Eye, detector, target

HIDING = redacting(Blur({"face": target("net", "face")}), name="hide")


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return settings_for(redis_url, tmp_path, max_output_pixels=400 * 300)


@pytest.fixture
def toys(settings: Settings) -> Iterator[httpx.Client]:
    """A service that has the pipeline, and one that redacts what its network is told to see."""
    known = pipelines(settings) | {"frame": TOY, "hide": HIDING}
    with serving(settings, known) as client:
        yield client


def done(client: httpx.Client, settings: Settings, picture: bytes, **options: str) -> Any:
    """The status of a job of the pipeline that a worker of its queue has completed."""
    answer = send(client, picture, **{"pipeline": "frame", **options})
    assert answer.status_code == 202, answer.text
    jobs = runner(settings, more=[TOY, HIDING], detectors={"net": detector(Eye((FACE,)))})
    with image_worker(settings, jobs, QUEUE) as worker:
        worker.work(max_jobs=1)
    status = ended(client, answer.json()["job_id"])
    assert status["status"] == "completed", status
    return status


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def test_a_pipeline_from_outside_goes_from_upload_to_result(
    toys: httpx.Client, settings: Settings
) -> None:
    picture = picture_file(Image.fromarray(drawing(100, 60)), "PNG")
    status = done(toys, settings, picture, border="8", shade="1")
    results, job_id = status["results"], status["job_id"]
    assert results["pipeline"] == "frame"
    assert results["reports"] == {"framed": {"border": 8}}
    assert results["blur_metadata"] is None
    told = [(one["name"], one["role"], one["media_type"]) for one in results["outputs"]]
    assert told == [("picture.png", "primary", "image/png"), ("border.png", "mask", "image/png")]
    assert [(one["width"], one["height"]) for one in results["outputs"]] == [(116, 76)] * 2
    answer = toys.get(f"/result/{job_id}")
    pixels = np.asarray(opened(answer.content))
    assert (pixels[8:-8, 8:-8] == drawing(100, 60)).all()
    assert (pixels[:8] == 255).all()
    assert len(answer.content) == results["outputs"][0]["size"]


def test_each_of_its_files_is_handed_out_by_its_name(
    toys: httpx.Client, settings: Settings, small_jpeg: bytes
) -> None:
    job_id = done(toys, settings, small_jpeg)["job_id"]
    primary = toys.get(f"/result/{job_id}/picture.jpg")
    assert primary.content == toys.get(f"/result/{job_id}").content
    mask = toys.get(f"/result/{job_id}/border.png")
    assert mask.headers["Content-Type"] == "image/png"
    shown = np.asarray(opened(mask.content).convert("L"))
    assert (shown[4:-4, 4:-4] == 0).all()
    assert (shown[:4] == 255).all()
    assert toys.get(f"/result/{job_id}/border.png", headers={"Range": "bytes=0-3"}).content == (
        b"\x89PNG"
    )


@pytest.mark.parametrize("name", ["nothing.png", "border", "..%2f..%2fmetadata", "%00", "a" * 5000])
def test_a_file_that_the_job_has_not_is_not_found(
    toys: httpx.Client, settings: Settings, small_jpeg: bytes, name: str
) -> None:
    job_id = done(toys, settings, small_jpeg)["job_id"]
    assert refusal(toys.get(f"/result/{job_id}/{name}")) == (404, "not_found")


def test_what_is_certified_is_that_nothing_was_hidden(
    toys: httpx.Client, settings: Settings, small_jpeg: bytes
) -> None:
    job_id = done(toys, settings, small_jpeg, shade="0.3")["job_id"]
    certificate = toys.get(f"/certificate/{job_id}").content
    public = load_signing_key(None, settings.data_dir).public
    for name in ("picture.jpg", "border.png"):
        verdict = verify(toys.get(f"/result/{job_id}/{name}").content, certificate, public)
        assert verdict.finding is Finding.VALID
        assert verdict.certificate is not None
        assert verdict.certificate.claim == TransformedPicture(("frame",))
        assert verdict.certificate.options["shade"] == 0.3


def test_after_redaction_the_certificate_says_so_whatever_the_order_asked(
    toys: httpx.Client, settings: Settings
) -> None:
    sent = picture_file(Image.fromarray(drawing(320, 240)), "PNG")
    options = {"pipeline": "frame,hide", "targets": "face", "style": "solid", "border": "8"}
    status = done(toys, settings, sent, **options)
    assert status["results"]["pipeline"] == "hide,frame"
    assert set(status["results"]["reports"]) == {"blur", "framed"}
    assert status["results"]["blur_metadata"]["counts"] == {"face": 1}
    job_id = status["job_id"]
    public = load_signing_key(None, settings.data_dir).public
    picture, certificate = (
        toys.get(f"/{kind}/{job_id}").content for kind in ("result", "certificate")
    )
    verdict = verify(picture, certificate, public)
    assert verdict.certificate is not None
    claim = verdict.certificate.claim
    assert isinstance(claim, RedactedPicture)
    assert [region.target for region in claim.regions] == ["face"]
    assert claim.afterwards == ("frame",)
    left, top, right, bottom = claim.regions[0].box
    shown = np.asarray(opened(picture))
    assert (shown[top + 8 : bottom + 8, left + 8 : right + 8] == 0).all()


def test_a_deleted_job_leaves_none_of_its_files(
    toys: httpx.Client, settings: Settings, small_jpeg: bytes
) -> None:
    job_id = done(toys, settings, small_jpeg)["job_id"]
    store = settings.data_dir / "store"
    before = {name for name in names_below(settings.data_dir) if job_id in name}
    assert any(name.endswith(f"{job_id}/border.png") for name in before), store
    receipt = toys.delete(f"/jobs/{job_id}").json()["receipt"]
    assert "result" in receipt["removed"]
    left = {name for name in names_below(settings.data_dir) if job_id in name}
    assert not [name for name in left if "metadata/" not in name]
    assert refusal(toys.get(f"/result/{job_id}/border.png")) == (404, "not_found")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"border": "5"}, "0, 4, 8"),
        ({"shade": "2"}, "from 0 to 1"),
        ({"style": "solid"}, "only border, callback_url, file"),
        ({"border": "0", "shade": "1"}, "of no use"),
        ({"pipeline": "frames"}, "frame"),
        ({"pipeline": "frame,frame"}, "once"),
        ({"pipeline": "blur,frame,blur_detect"}, "one that redacts"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_stored(
    toys: httpx.Client,
    settings: Settings,
    small_jpeg: bytes,
    options: dict[str, str],
    named: str,
) -> None:
    answer = send(toys, small_jpeg, **{"pipeline": "frame", **options})
    assert refusal(answer) == (422, "bad_option")
    assert named in answer.json()["error"]["message"]
    assert not [name for name in names_below(settings.data_dir) if "original/" in name]


def test_a_result_that_would_be_too_large_is_refused_before_anything_is_stored(
    toys: httpx.Client, settings: Settings
) -> None:
    fits, large = ((w, 300 - 16) for w in (400 - 16, 400 - 15))
    for size, status in ((fits, 202), (large, 413)):
        picture = picture_file(Image.new("RGB", size), "PNG")
        answer = send(toys, picture, pipeline="frame", border="8")
        assert answer.status_code == status
    assert refusal(answer) == (413, "too_many_pixels")
    kept = [name for name in names_below(settings.data_dir) if "original/" in name]
    assert len(kept) == 1


def test_a_picture_whose_size_stays_may_be_as_large_as_it_is_taken(toys: httpx.Client) -> None:
    picture = picture_file(Image.new("RGB", (500, 400)), "PNG")
    assert send(toys, picture, pipeline="frame", border="0").status_code == 202


def test_its_options_are_shown_beside_those_of_the_others(toys: httpx.Client) -> None:
    listed = {one["name"]: one for one in toys.get("/pipelines").json()["pipelines"]}
    toy = listed["frame"]
    assert (toy["family"], toy["queue"], toy["stages"]) == ("transform", QUEUE, ["framed"])
    assert [one["name"] for one in toy["options"]] == list(TOY.options)
    border = toy["options"][0]
    assert (border["default"], border["values"]) == ("4", ["0", "4", "8"])
    assert toy["networks"] == []
    assert "style" in {one["name"] for one in listed["blur"]["options"]}
    assert {one["status"] for one in listed["blur"]["networks"]} == {"unknown"}
    document = toys.get("/openapi.json").json()
    body = document["paths"]["/upload"]["post"]["requestBody"]
    properties = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert properties["border"]["enum"] == ["0", "4", "8"]
    assert "(of frame)" in properties["border"]["description"]


def test_the_same_picture_with_another_option_is_another_job(
    toys: httpx.Client, small_jpeg: bytes
) -> None:
    def sent(**options: str) -> str:
        files = {"file": ("a.jpg", small_jpeg)}
        answer = toys.post("/upload", files=files, data={"pipeline": "frame", **options})
        job_id: str = answer.json()["job_id"]
        return job_id

    assert sent(border="4") == sent()
    assert len({sent(), sent(border="8"), sent(shade="0.25")}) == 3
