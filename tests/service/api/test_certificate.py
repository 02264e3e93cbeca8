"""`GET /certificate/{job_id}`: what proves a result, and what has no proof."""

from hashlib import sha256

import httpx
import pytest

from blurline.certificate.certificate import RedactedPicture, verify
from blurline.certificate.signing import Finding
from tests.arithmetic import cpu_arithmetic
from tests.data_folder import DataFolder
from tests.parts import BAD_IDS, NOBODY, Taking, ended, refusal, upload


def test_a_result_is_proved_by_its_certificate(
    client: httpx.Client, data_folder: DataFolder, zidane: bytes
) -> None:
    job_id = upload(client, zidane, targets="face", style="solid", metadata="none")
    results = ended(client, job_id)["results"]

    answer = client.get(f"/certificate/{job_id}")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    picture = client.get(f"/result/{job_id}").content
    verdict = verify(picture, answer.content, data_folder.key)
    assert verdict.finding is Finding.VALID
    said = verdict.certificate
    assert said is not None
    assert said.job_id == job_id
    assert said.inputs == (sha256(zidane).hexdigest(),)
    assert [one.sha256 for one in said.outputs] == [sha256(picture).hexdigest()]
    claim = said.claim
    assert isinstance(claim, RedactedPicture)
    assert (claim.style, claim.metadata_policy) == ("solid", "none")
    told = results["blur_metadata"]
    assert (claim.path_taken, claim.second_look) == (told["path"], told["second_look"])
    assert len(claim.regions) >= 2
    boxes = [list(region.box) for region in claim.regions]
    assert boxes == [region["box"] for region in told["regions"]]
    (model,) = said.networks
    assert model.thresholds.keys() == {"face"}
    assert model.precision == cpu_arithmetic()


def test_a_certificate_proves_no_other_picture(
    client: httpx.Client, data_folder: DataFolder, zidane: bytes
) -> None:
    job_id = upload(client, zidane)
    ended(client, job_id)

    certificate = client.get(f"/certificate/{job_id}").content

    assert verify(zidane, certificate, data_folder.key).finding is Finding.ALTERED


@pytest.mark.parametrize("job_id", [NOBODY, *BAD_IDS])
def test_the_certificate_of_an_unknown_job_is_answered_404(
    refusing: httpx.Client, job_id: str
) -> None:
    assert refusal(refusing.get(f"/certificate/{job_id}")) == (404, "not_found")


def test_a_certificate_that_is_not_ready_is_answered_409(taking: Taking, small_jpeg: bytes) -> None:
    job_id = upload(taking.client, small_jpeg)

    assert refusal(taking.client.get(f"/certificate/{job_id}")) == (409, "not_ready")


def test_a_failed_job_has_no_certificate(client: httpx.Client, bus: bytes) -> None:
    job_id = upload(client, bus[: len(bus) // 2])
    assert ended(client, job_id)["status"] == "failed"

    assert refusal(client.get(f"/certificate/{job_id}")) == (409, "job_failed")
