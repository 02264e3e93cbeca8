"""What somebody who can write to the store, and to nothing else, can't bring about; and that what a
job has come to stays as it is, whoever runs it again."""

import json
import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

from blurline.certificate.certificate import verify
from blurline.certificate.signing import load_signing_key
from blurline.imaging.decode import Pixels
from blurline.imaging.encode import encode
from blurline.imaging.kind import Kind
from blurline.jobs.job import JobRecord, JobSpec, JobStatus
from blurline.jobs.orders import find_order
from blurline.jobs.records import Batch, open_records
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.masterkeys import MasterKeys
from blurline.storage.objects import ObstoreStore, open_store
from blurline.storage.store import Store
from blurline.storage.vault import Originals, OriginalsVault, open_vault
from blurline.worker.endings import Endings
from blurline.worker.reconciler import Reconciled, open_reconciler
from tests.callers import House
from tests.parts import S3Server, job_spec, needs_s3, settings_for
from tests.plays import Flow, Play, begin, finish

NOW = timedelta(seconds=-60)
BYTES, JSON = "application/octet-stream", "application/json"
ALL = ((0.0, 0.0), (9999.0, 0.0), (9999.0, 9999.0), (0.0, 9999.0))


@pytest.fixture(params=["folder", pytest.param("s3", marks=needs_s3)])
def settings(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Settings:
    """A service on each kind of store."""
    own: dict[str, Any] = {}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        (tmp_path / "master").write_bytes(b64encode(os.urandom(32)))
        own = {
            "store_url": f"s3://{server.BUCKET}/{tmp_path.name}",
            "aws_endpoint_url": server.url,
            "aws_region": "us-east-1",
            "master_key_file": tmp_path / "master",
        }
    return settings_for(redis_url, tmp_path, **own)


@pytest.fixture
def play(settings: Settings) -> Play:
    return Play(settings)


def kept(play: Play, spec: JobSpec, slot: str = "") -> tuple[bytes | None, bytes | None]:
    """The job's result and certificate."""
    names = keys.processed(spec.job_id, spec.kind, slot), keys.certificate(spec.job_id, slot)
    picture, certificate = map(play.store.get, names)
    return picture, certificate


def harmful(spec: JobSpec) -> bytes:
    """An order for the same picture that leaves all of it as it is, as earlier versions wrote it
    without any encryption."""
    told = replace(spec, owner="key-mallory", options={**spec.options, "ignore_zones": [ALL]})
    return told.to_order()


def planted(spec: JobSpec, name: str) -> dict[str, Callable[[Play], bytes]]:
    """Small files that somebody without a master key can make, to be put under that id."""
    other = OriginalsVault(cast("Store", None), MasterKeys([bytes(32)]))
    return {
        "plain": lambda play: b"PLAN" + harmful(spec),
        "plain of its own id": lambda play: b"PLAN" + harmful(replace(spec, job_id=name)),
        "another job's": lambda play: play.store.get(keys.data_key(spec.job_id)) or b"",
        "another master key's": lambda play: other._sealed(name, bytes(32), harmful(spec), b"BLJ1"),
        "kept": lambda play: other._sealed(name, bytes(32), harmful(spec), b"BLP1"),
        "another form": lambda play: (
            b"BLP1" + (play.store.get(keys.data_key(spec.job_id)) or b"")[4:]
        ),
        "empty": lambda play: b"",
    }


FILES = tuple(planted(job_spec(), ""))


def requeued(play: Play) -> Reconciled:
    return open_reconciler(
        play.settings, play.queues, play.store, open_vault(play.settings, play.store)
    ).reconcile(older_than=NOW)


@pytest.mark.parametrize("place", ["of a new id", "its own"])
def test_an_order_that_somebody_has_planted_runs_no_job(
    play: Play, small_jpeg: bytes, place: str
) -> None:
    """The way by which an encrypted original would come out as it was sent."""
    spec = play.submit(small_jpeg)
    if place == "of a new id":
        play.work()
        before = kept(play, spec)
    for number, form in enumerate(FILES):
        new = f"{number}0000000-1111-4111-8111-111111111111"
        name = new if place == "of a new id" else spec.job_id
        if place == "its own" and form in ("another job's",):
            continue
        play.store.put(keys.data_key(name), planted(spec, name)[form](play), BYTES)
        if place == "its own":
            assert find_order(open_vault(play.settings, play.store), name) is None, form
    if place == "its own":
        play.work()
        assert play.state(spec) is JobStatus.FAILED
        assert kept(play, spec) == (None, None)
        return
    found = requeued(play)
    assert found.requeued == 0
    assert found.unreadable == len(FILES)
    assert play.queues.first.depth() == 0
    assert kept(play, spec) == before


def test_kept_originals_have_sealed_orders_too(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    play = Play(settings_for(redis_url, tmp_path, originals="keep"))
    spec, mine = play.submit(small_jpeg), job_spec()
    file = play.store.get(keys.data_key(spec.job_id)) or b""
    assert spec.filename.encode() not in file
    vault = open_vault(play.settings, play.store)
    for form in FILES:
        play.store.put(keys.data_key(mine.job_id), planted(spec, mine.job_id)[form](play), BYTES)
        assert find_order(vault, mine.job_id) is None, form
    play.work()
    assert play.record(spec).status is JobStatus.COMPLETED
    assert vault.get(spec.job_id, spec.kind) == small_jpeg


@pytest.mark.parametrize("policy", ["delete", "encrypt"])
def test_a_plain_order_counts_for_nothing_where_originals_are_encrypted(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, policy: str
) -> None:
    play = Play(settings_for(redis_url, tmp_path, originals=policy))
    mine = replace(job_spec(pipeline="test", targets=()), filename="mine.jpg")
    play.store.put(keys.data_key(mine.job_id), b"PLAN" + mine.to_order(), BYTES)
    play.store.put(mine.input.key, small_jpeg, "image/jpeg")
    assert requeued(play) == Reconciled(kept=1, lost=1, requeued=0, unreadable=1)


@pytest.mark.parametrize("policy", Originals)
def test_a_plain_original_of_an_earlier_version_can_still_be_had(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, policy: Originals
) -> None:
    settings = settings_for(redis_url, tmp_path, originals=policy.value)
    store, spec = open_store(settings), job_spec()
    store.put(keys.data_key(spec.job_id), b"PLAN" + spec.to_order(), BYTES)
    store.put(spec.input.key, small_jpeg, "image/jpeg")
    vault = open_vault(settings, store)
    if policy is Originals.KEEP:
        assert vault.get(spec.job_id, spec.kind) == small_jpeg
    else:
        with pytest.raises(Exception, match="known here"):
            vault.get(spec.job_id, spec.kind)


def test_a_job_that_has_ended_and_is_queued_again_stays_as_it_is(
    play: Play, small_jpeg: bytes
) -> None:
    spec = play.submit(small_jpeg)
    play.work()
    record, before = play.record(spec), kept(play, spec)
    assert None not in before
    play.queues.forget(spec.job_id)
    play.queues.submit([spec])
    play.work()
    assert play.state(spec) is JobStatus.COMPLETED
    assert (play.record(spec), kept(play, spec)) == (record, before)
    assert record.primary.sha256 == certified(before[1])


def certified(certificate: bytes | None) -> str:
    found: str = json.loads(certificate or b"")["certificate"]["outputs"][0]["sha256"]
    return found


class Differs(Flow):
    """A stage whose pixels are others each time, as on another CPU."""

    def run(self, frame: Any, options: Any, detectors: Any) -> Any:
        super().run(frame, options, detectors)
        noise = np.frombuffer(os.urandom(frame.pixels.size), np.uint8)
        pixels: Pixels = noise.reshape(frame.pixels.shape)
        return replace(frame, pixels=pixels)


def half_kept(hands: Any, job: Any) -> None:
    """Die when the result is there, before the record is."""
    begin(hands, job)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blurline.worker.endings.Endings.commit", _die)
        with pytest.raises(KeyboardInterrupt):
            job.perform()


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


def valid(play: Play, record: JobRecord, spec: JobSpec) -> bool:
    """Whether the record names a result that is there, with a certificate of that very result."""
    picture, certificate = kept(play, spec, record.slot)
    assert picture is not None
    assert certificate is not None
    public = load_signing_key(None, play.settings.data_dir).public
    verdict = verify(picture, certificate, public)
    return (
        verdict.finding.value == "valid"
        and verdict.certificate is not None
        and verdict.certificate.outputs[0].sha256 == record.primary.sha256
        and verdict.certificate.job_id == spec.job_id
    )


def names_of(play: Play, spec: JobSpec) -> list[str]:
    """All objects in the store that belong to the job."""
    folders = ("processed", "certificate", "metadata")
    far = datetime.max.replace(tzinfo=UTC)
    found = [name for folder in folders for name in play.store.older(folder, far)]
    return sorted(name for name in found if spec.job_id in name)


def test_a_try_whose_worker_died_before_the_record_leaves_nothing_behind_and_nothing_mixed(
    settings: Settings, small_jpeg: bytes
) -> None:
    play = Play(settings, Differs())
    spec = play.submit(small_jpeg)
    play.lose_a_worker(half_kept)
    left = kept(play, spec)
    assert None not in left
    play.miss_the_lost()
    play.next_try()
    play.work()
    record = play.record(spec)
    assert valid(play, record, spec)
    assert record.slot
    assert len(names_of(play, spec)) == 3


def test_of_two_workers_at_once_the_first_result_stays_whole(
    settings: Settings, small_jpeg: bytes
) -> None:
    """The other one finishes while this one has written its result and not yet its record."""
    play = Play(settings, Differs())
    spec = play.submit(small_jpeg)
    commit, seen = Endings.commit, []

    def late(self: Any, record: JobRecord) -> bool:
        if not seen:
            seen.append(kept(play, spec))
            play.runner.run(spec.job_id, retries_left=4, waited=0.0)
            seen.append(play.record(spec))
        return commit(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Endings, "commit", late)
        play.work()
    record = play.record(spec)
    assert record == seen[1]
    assert valid(play, record, spec)
    assert len(names_of(play, spec)) == 3


def test_a_result_that_somebody_has_planted_before_is_no_result(
    play: Play, small_jpeg: bytes
) -> None:
    spec = play.submit(small_jpeg)
    play.store.put(keys.processed(spec.job_id, spec.kind), b"planted", "image/jpeg")
    play.store.put(keys.certificate(spec.job_id), b"{}", JSON)
    play.work()
    assert valid(play, play.record(spec), spec)
    assert len(names_of(play, spec)) == 3


def test_a_job_that_is_deleted_while_it_is_tried_again_leaves_its_mark_alone(
    settings: Settings, small_jpeg: bytes
) -> None:
    play = Play(settings, flow := Flow())
    spec = play.submit(small_jpeg)
    play.lose_a_worker(half_kept)
    play.miss_the_lost()
    play.next_try()
    flow.acts.append(lambda: play.records.delete(spec.job_id))
    play.work()
    left = [name for name in names_of(play, spec) if not name.startswith("metadata")]
    # Those of the dead worker are for whoever deletes, or keeps the times.
    assert left in ([], [keys.certificate(spec.job_id), keys.processed(spec.job_id, spec.kind)])


def test_a_retry_after_the_end_changes_nothing(play: Play, small_jpeg: bytes) -> None:
    spec = play.submit(small_jpeg)
    play.lose_a_worker(finish)
    record, before = play.record(spec), kept(play, spec)
    play.miss_the_lost()
    play.next_try()
    play.work()
    assert (play.record(spec), kept(play, spec)) == (record, before)


def seen(house: House, job_id: str, who: str) -> list[int]:
    return [house.get(f"/{route}/{job_id}", who).status_code for route in ROUTES]


ROUTES = ("status", "result", "certificate")


def raw(record: JobRecord, **changes: Any) -> bytes:
    """A record as earlier versions wrote it."""
    told, picture = json.loads(record.to_json()), record.primary
    same = ("job_id", "status", "filename", "submitted_at", "updated_at", "pipeline", "error")
    content = {
        **{name: told[name] for name in (*same, "owner")},
        "file_size": record.input.size,
        "kind": record.kind.value,
        "results": {
            "width": picture.width,
            "height": picture.height,
            "processing_time": record.seconds,
            "blur_metadata": told["reports"]["blur"],
        },
    }
    return json.dumps({**content, **changes}, separators=(",", ":")).encode()


def test_a_planted_record_gives_a_job_to_nobody_else(house: House, small_jpeg: bytes) -> None:
    store = open_store(house.settings)
    records = open_records(house.settings, store)
    hers = house.treated(small_jpeg, "alice")
    his = house.treated(encode(np.zeros((240, 320, 3), np.uint8), Kind.JPEG, 90), "bob")
    record, own = records.find(hers), records.find(his)
    assert record is not None
    assert own is not None
    bobs = "key-bob"
    tagged = store.get(keys.record(hers)) or b""
    forged = {
        "plain": raw(record, owner=bobs),
        "old tag": tagged.replace(b"key-alice", b"key-bob\x20\x20"),
        "another's": store.get(keys.record(his)) or b"",
        "a mark": b'{"deleted":true,"owner":"key-bob"}',
        "no record": b'{"owner":"key-bob"}',
        "no JSON": b"\xff",
        "nothing": b"",
    }
    for name, content in forged.items():
        store.put(keys.record(hers), content, JSON)
        assert seen(house, hers, "bob") == [404, 404, 404], name
    # Nor does a record of his own job answer with her picture.
    store.put(keys.record(his), raw(own, job_id=hers), JSON)
    assert 200 not in seen(house, his, "bob")[1:]


def test_a_planted_record_or_mark_gives_no_original_to_anybody(
    house: House, small_jpeg: bytes
) -> None:
    store = open_store(house.settings)
    hers = house.treated(small_jpeg, "alice")
    record = open_records(house.settings, store).find(hers)
    assert record is not None
    owner = "key-eve"  # who may read originals, but only her own
    for content in (raw(record, owner=owner), f'{{"deleted":true,"owner":"{owner}"}}'.encode()):
        store.put(keys.record(hers), content, JSON)
        assert house.get(f"/original/{hers}", "eve").status_code == 404


def test_a_record_of_an_earlier_version_is_its_owners_by_the_order(
    house: House, small_jpeg: bytes
) -> None:
    store = open_store(house.settings)
    hers = house.treated(small_jpeg, "alice")
    record = open_records(house.settings, store).find(hers)
    assert record is not None
    store.put(keys.record(hers), raw(record), JSON)
    assert seen(house, hers, "alice") == [200, 200, 200]
    assert seen(house, hers, "bob") == [404, 404, 404]
    assert seen(house, hers, "admin") == [200, 200, 200]


def test_a_planted_list_of_a_batch_tells_of_no_others_jobs(house: House, small_jpeg: bytes) -> None:
    store = open_store(house.settings)
    records = open_records(house.settings, store)
    hers, his = house.treated(small_jpeg, "alice"), house.treated(small_jpeg + b"\0", "bob")
    records.write_batch(hers, Batch([hers, his], "key-alice"), 1.0)
    written = store.get(keys.batch(hers)) or b""
    assert len(house.get(f"/batch/{hers}", "alice").json()["jobs"]) == 2
    mine = json.dumps({"batch_id": his, "submitted_at": 1.0, "jobs": [hers, his]})
    plain = json.dumps({**json.loads(mine), "owner": "key-bob"}).encode()
    for content in (plain, written, written.replace(hers.encode(), his.encode()), b"[]", b"\xff"):
        store.put(keys.batch(his), content, JSON)
        answer: httpx.Response = house.get(f"/batch/{his}", "bob")
        told = [job["job_id"] for job in answer.json().get("jobs", [])]
        assert hers not in told


def test_a_record_is_looked_for_once_a_try(play: Play, small_jpeg: bytes) -> None:
    asked: list[str] = []
    get = ObstoreStore.get

    def noted(self: ObstoreStore, key: str) -> bytes | None:
        asked.append(key.partition("/")[0])
        return get(self, key)

    play.submit(small_jpeg)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObstoreStore, "get", noted)
        play.work()
    assert asked == ["metadata", "keys", "original"]


def test_what_is_queued_is_no_order(play: Play) -> None:
    spec = job_spec(pipeline="test", targets=())
    Queues(play.redis, play.settings, {}).submit([spec])
    play.work()
    assert play.state(spec) is JobStatus.FAILED
    assert play.records.find(spec.job_id) is None
