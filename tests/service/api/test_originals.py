"""`GET /original/{job_id}`: who sees an original, and that the audit trail says so."""

from pathlib import Path
from uuid import uuid4

import pytest

from blurline.audit import AuditTrail
from blurline.imaging.kind import Kind
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.storage import keys
from blurline.storage.objects import open_store
from tests.callers import House, key_settings
from tests.originals import vault_in
from tests.parts import NOBODY, job_spec, refusal, serving, settings_for, upload


def test_an_original_is_handed_out_as_it_was_sent_and_the_trail_says_to_whom(
    house: House, small_jpeg: bytes
) -> None:
    spec = job_spec(owner="key-eve")
    vault_in(house.settings.data_dir).put(spec.job_id, spec.kind, small_jpeg, spec.to_order())
    Queues(connect(house.settings.redis_url or ""), house.settings, {}).submit([spec])
    for job_id in (spec.job_id, house.treated(small_jpeg, "eve")):
        answer = house.get(f"/original/{job_id}", "eve")
        assert answer.status_code == 200
        assert answer.content == small_jpeg
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Cache-Control"] == "no-store"
        assert house.trail(job_id) == [("original_read", "key-eve", "done")]


@pytest.mark.parametrize("who", ["alice", "admin"])
def test_v8_2_1_an_original_asks_for_its_own_scope_even_of_an_admin(
    house: House, small_jpeg: bytes, who: str
) -> None:
    job_id = house.treated(small_jpeg, "alice")
    answer = house.get(f"/original/{job_id}", who)
    assert refusal(answer) == (403, "forbidden")
    assert "read:original" in answer.json()["error"]["message"]


def test_v8_2_2_the_original_of_another_caller_is_not_found_and_the_trail_says_who_asked(
    house: House, small_jpeg: bytes
) -> None:
    job_id = house.treated(small_jpeg, "alice")
    assert refusal(house.get(f"/original/{job_id}", "eve")) == (404, "not_found")
    assert house.trail(job_id) == [("original_read", "key-eve", "refused")]


@pytest.mark.parametrize("scopes", ["read:original", "admin,read:original"])
def test_ids_that_nothing_ever_had_leave_no_line_in_the_trail(
    redis_url: str, tmp_path: Path, scopes: str
) -> None:
    granted, path = key_settings(tmp_path, {"guesser": scopes})
    settings = settings_for(redis_url, tmp_path, api_keys_file=path)
    with serving(settings) as client:
        house = House(client, settings, granted)
        for _ in range(3):
            assert refusal(house.get(f"/original/{uuid4()}", "guesser")) == (404, "not_found")
    assert list(AuditTrail(open_store(settings)).lines()) == []


def test_an_admin_with_the_scope_may_read_any_original(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    granted, path = key_settings(tmp_path, {"boss": "admin,read:original", "admin": "admin"})
    settings = settings_for(redis_url, tmp_path, api_keys_file=path)
    with serving(settings) as client:
        house = House(client, settings, granted)
        job_id = house.treated(small_jpeg, "alice")
        assert house.get(f"/original/{job_id}", "boss").content == small_jpeg


def test_an_original_that_is_gone_is_not_found(house: House, small_jpeg: bytes) -> None:
    job_id = house.treated(small_jpeg, "eve")
    vault_in(house.settings.data_dir).forget(job_id, Kind.JPEG)
    assert refusal(house.get(f"/original/{job_id}", "eve")) == (404, "not_found")
    assert house.trail(job_id) == [("original_read", "key-eve", "absent")]


def test_an_original_that_can_not_be_decrypted_is_noted_and_not_shown(
    house: House, small_jpeg: bytes
) -> None:
    job_id = house.treated(small_jpeg, "eve")
    open_store(house.settings).put(keys.original(job_id, Kind.JPEG), b"BLO1" + bytes(60), "x/x")
    assert refusal(house.get(f"/original/{job_id}", "eve")) == (500, "original_unreadable")
    assert house.trail(job_id) == [("original_read", "key-eve", "failed")]


def test_what_is_no_id_has_no_original(house: House) -> None:
    for job_id in ("x", "%2e%2e", "*", f"{NOBODY}.json"):
        assert refusal(house.get(f"/original/{job_id}", "eve")) == (404, "not_found")


def test_nobody_reads_originals_while_nobody_is_asked_who_they_are(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    with serving(settings_for(redis_url, tmp_path)) as client:
        job_id = upload(client, small_jpeg)
        assert refusal(client.get(f"/original/{job_id}")) == (403, "forbidden")
