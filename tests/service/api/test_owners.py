"""A job, a batch and their ends belong to the caller that handed them in."""

import json
import time
from pathlib import Path

import pytest
from redis import Redis

from blurline.access.apikeys import new_key
from blurline.api.deletion import Deletion
from blurline.audit import AuditTrail, read_receipt
from blurline.certificate.signing import load_public_key, load_signing_key, public_key_place
from blurline.errors import StoreUnavailableError
from blurline.imaging.kind import Kind
from blurline.jobs.job import JobError, JobSpec, failed
from blurline.jobs.records import open_records
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.storage.objects import FolderStore, open_store
from blurline.storage.vault import open_vault
from blurline.webhooks.outbox import open_outbox
from tests.callers import House, bearer, key_file
from tests.parts import NOBODY, job_spec, refusal, serving, settings_for


def test_v8_2_2_a_job_that_waits_is_its_callers_alone(house: House, small_jpeg: bytes) -> None:
    job_id = house.upload(small_jpeg, "alice")
    assert house.get(f"/status/{job_id}", "alice").json()["status"] == "submitted"
    for route in ("/status", "/result", "/certificate", "/original"):
        answer = house.get(f"{route}/{job_id}", "eve")
        assert refusal(answer) == (404, "not_found")
        assert answer.json() == house.get(f"{route}/{NOBODY}", "eve").json()
    answer = house.request("DELETE", f"/jobs/{job_id}", "bob")
    assert refusal(answer) == (404, "not_found")
    assert answer.json() == house.request("DELETE", f"/jobs/{NOBODY}", "bob").json()
    assert house.get(f"/status/{job_id}", "alice").json()["status"] == "submitted"


def test_v8_2_2_a_job_that_is_done_is_its_callers_alone(house: House, small_jpeg: bytes) -> None:
    job_id = house.treated(small_jpeg, "alice")
    with Redis.from_url(house.settings.redis_url or "") as redis:
        for forgotten in (False, True):
            if forgotten:
                redis.flushall()
            for route in ("/status", "/result", "/certificate"):
                assert house.get(f"{route}/{job_id}", "alice").status_code == 200
                assert refusal(house.get(f"{route}/{job_id}", "bob")) == (404, "not_found")
            answer = house.request("DELETE", f"/jobs/{job_id}", "bob")
            assert refusal(answer) == (404, "not_found")
    assert house.get(f"/result/{job_id}", "alice").status_code == 200


def test_v8_2_2_a_job_that_failed_is_its_callers_alone(house: House) -> None:
    spec = job_spec(owner="key-alice")
    error = JobError("corrupt_image", "the picture's data is damaged")
    open_records(house.settings, open_store(house.settings)).commit(
        failed(spec, error, time.time())
    )
    assert house.get(f"/status/{spec.job_id}", "alice").json()["status"] == "failed"
    for route in ("/status", "/result", "/certificate"):
        assert refusal(house.get(f"{route}/{spec.job_id}", "bob")) == (404, "not_found")


def test_v8_2_2_a_batch_is_its_callers_alone(house: House, small_jpeg: bytes) -> None:
    for pictures in ([small_jpeg, small_jpeg], [b"words"]):
        files = [("files", ("a.jpg", picture)) for picture in pictures]
        answer = house.request("POST", "/batch-upload", "alice", files=files).json()
        path = f"/batch/{answer['batch_id']}"
        assert house.get(path, "alice").json()["total"] == answer["submitted"]
        assert refusal(house.get(path, "bob")) == (404, "not_found")
        assert house.get(path, "bob").json() == house.get(f"/batch/{NOBODY}", "bob").json()
        assert house.get(path, "admin").status_code == 200
        for job in answer["jobs"]:
            if job["job_id"]:
                path = f"/status/{job['job_id']}"
                assert house.get(path, "alice").status_code == 200
                assert house.get(path, "bob").status_code == 404


def test_v8_4_1_an_admin_sees_the_jobs_of_all_and_of_nobody(
    house: House, small_jpeg: bytes
) -> None:
    for owner in ("alice", None):
        job_id = house.treated(small_jpeg, owner)
        for route in ("/status", "/result", "/certificate"):
            assert house.get(f"{route}/{job_id}", "admin").status_code == 200
            if owner is None:
                assert refusal(house.get(f"{route}/{job_id}", "alice")) == (404, "not_found")
        assert house.request("DELETE", f"/jobs/{job_id}", "admin").status_code == 200


def test_two_keys_of_one_name_are_one_caller(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    (old, old_line), (new, new_line) = (new_key("camera", ["submit", "read"]) for _ in range(2))
    settings = settings_for(redis_url, tmp_path, api_keys_file=key_file(tmp_path, old_line))
    with serving(settings) as client:
        house = House(client, settings, {"old": old, "new": new})
        job_id = house.upload(small_jpeg, "old")
        assert house.get(f"/status/{job_id}", "new").status_code == 401
        key_file(tmp_path, new_line)
        assert house.get(f"/status/{job_id}", "new").status_code == 200
        assert house.get(f"/status/{job_id}", "old").status_code == 401


def test_the_owner_is_kept_with_the_job_and_told_to_nobody(house: House, small_jpeg: bytes) -> None:
    job_id = house.treated(small_jpeg, "alice")
    record = open_records(house.settings, open_store(house.settings)).find(job_id)
    assert record is not None
    assert record.owner == "key-alice"
    for route in ("/status", "/certificate"):
        assert "alice" not in house.get(f"{route}/{job_id}", "alice").text


def test_a_job_of_an_earlier_version_belongs_to_nobody() -> None:
    order = json.loads(job_spec().to_order())
    del order["owner"]
    assert JobSpec.from_order(json.dumps(order).encode()).owner is None


# Deletion


def test_a_deletion_names_its_caller_in_the_audit_trail(house: House, small_jpeg: bytes) -> None:
    job_id = house.treated(small_jpeg, "alice")

    answer = house.request("DELETE", f"/jobs/{job_id}", "alice")

    assert answer.status_code == 200
    key = load_public_key(public_key_place(house.settings.data_dir))
    assert "original" in read_receipt(answer.content, key).removed
    assert {actor for _, actor, _ in house.trail(job_id)} == {"key-alice"}
    assert b"alice" not in answer.content
    for who, status in (("alice", 404), ("bob", 404), ("admin", 404)):
        assert house.get(f"/status/{job_id}", who).status_code == status


def test_an_owner_may_delete_twice_and_others_not_even_then(
    house: House, small_jpeg: bytes
) -> None:
    job_id = house.upload(small_jpeg, "alice")
    assert house.request("DELETE", f"/jobs/{job_id}", "alice").status_code == 200
    again = house.request("DELETE", f"/jobs/{job_id}", "alice")
    assert again.status_code == 200
    assert json.loads(again.content)["receipt"]["removed"] == []
    assert refusal(house.request("DELETE", f"/jobs/{job_id}", "bob")) == (404, "not_found")


def test_a_picture_that_is_not_blurred_in_time_is_deleted_in_the_name_of_its_caller(
    house: House, small_jpeg: bytes
) -> None:
    with serving(house.settings.model_copy(update={"blur_wait": 0.1})) as client:
        files = {"picture": ("a.jpg", small_jpeg)}
        answer = client.post("/blur/", files=files, headers=bearer(house.keys["alice"]))
    assert refusal(answer) == (503, "busy")
    lines = list(AuditTrail(open_store(house.settings)).lines())
    assert {line["actor"] for line in lines} == {"key-alice"}
    assert (
        open_records(house.settings, open_store(house.settings)).owner(lines[0]["job_id"])
        == "key-alice"
    )


class Failing(FolderStore):
    """A folder from which nothing can be removed for a while."""

    away = True

    def delete(self, key: str) -> None:
        if self.away:
            raise StoreUnavailableError("the store does not answer")
        super().delete(key)


def test_a_deletion_that_failed_half_way_still_knows_its_owner(
    redis_url: str, tmp_path: Path
) -> None:
    settings, spec = settings_for(redis_url, tmp_path), job_spec(owner="key-alice")
    store = Failing(tmp_path / "store")
    records, queue = open_records(settings, store), Queues(connect(redis_url), settings, {})
    vault, key = open_vault(settings, store), load_signing_key(None, tmp_path)
    vault.put(spec.job_id, Kind.JPEG, b"a picture")
    outbox = open_outbox(connect(redis_url), settings)
    queue.submit([spec])
    deletion = Deletion(store, vault, records, queue, outbox, AuditTrail(store), key)

    with pytest.raises(StoreUnavailableError):
        deletion.delete(spec.job_id, owner="key-alice")

    assert queue.states([spec.job_id]) == [None]
    assert records.owner(spec.job_id) == "key-alice"
    assert records.is_deleted(spec.job_id)
    assert records.find(spec.job_id) is None
    store.away = False
    receipt = read_receipt(deletion.delete(spec.job_id, owner="key-alice"), key.public)
    assert receipt.removed == ("original",)
