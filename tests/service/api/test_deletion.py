"""`DELETE /jobs/{job_id}`: what is removed, what a receipt says, and what does not come back."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from blurline.api.deletion import Deletion
from blurline.audit import AuditTrail, DeletionReceipt, read_receipt
from blurline.certificate.signing import load_signing_key
from blurline.imaging.kind import Kind
from blurline.inference.detector import Detectors
from blurline.jobs.records import Records, open_records
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.stages.frame import Frame, Options
from blurline.storage import keys
from blurline.storage.objects import FolderStore
from blurline.storage.signet import Signet
from blurline.storage.vault import open_vault
from blurline.webhooks.outbox import open_outbox
from tests.data_folder import DataFolder
from tests.originals import original_of, vault_in
from tests.parts import (
    BAD_IDS,
    NOBODY,
    Taking,
    Unseeing,
    ended,
    image_worker,
    job_spec,
    picture_file,
    refusal,
    runner,
    serving,
    settings_for,
    upload,
)


def test_of_a_deleted_job_only_a_mark_is_left(
    client: httpx.Client, data_folder: DataFolder, bus: bytes
) -> None:
    # Of a size that no other test sends, so that no other job has the same bytes.
    photo = picture_file(Image.open(BytesIO(bus)).resize((404, 539)), "JPEG")
    name = f"holiday-{uuid4()}.jpg"
    job_id = upload(client, photo, name, metadata="keep")
    ended(client, job_id)
    picture = client.get(f"/result/{job_id}").content
    words = (job_id.encode(), name.encode(), photo[-64:], picture[-64:])
    assert len(data_folder.naming(*words)) == 5

    receipt = data_folder.receipt(client.delete(f"/jobs/{job_id}"))

    assert receipt.job_id == job_id
    assert receipt.removed == ("original", "result", "certificate", "record", "queue entry")
    assert data_folder.naming(*words) == {keys.record(job_id)}
    assert original_of(data_folder.path, job_id) is None
    mark = json.loads((data_folder.path / "store" / keys.record(job_id)).read_bytes())
    assert mark == {"deleted": True}


def test_a_deleted_job_is_unknown(client: httpx.Client, small_jpeg: bytes) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)

    client.delete(f"/jobs/{job_id}")

    for path in ("status", "result", "certificate"):
        assert refusal(client.get(f"/{path}/{job_id}")) == (404, "not_found")


def test_a_failed_job_is_deleted_with_its_original(
    client: httpx.Client, data_folder: DataFolder, bus: bytes
) -> None:
    job_id = upload(client, bus[: len(bus) // 2])
    ended(client, job_id)

    receipt = data_folder.receipt(client.delete(f"/jobs/{job_id}"))

    assert receipt.removed == ("original", "record", "queue entry")
    assert data_folder.naming(job_id.encode()) == {keys.record(job_id)}


def test_a_job_that_redis_has_forgotten_is_deleted_too(
    client: httpx.Client, data_folder: DataFolder, forget: Callable[[str], None], small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)
    forget(job_id)

    receipt = data_folder.receipt(client.delete(f"/jobs/{job_id}"))

    assert receipt.removed == ("original", "result", "certificate", "record")
    assert client.get(f"/status/{job_id}").status_code == 404


def test_what_is_deleted_twice_was_not_there_the_second_time(
    client: httpx.Client, data_folder: DataFolder, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)
    client.delete(f"/jobs/{job_id}")

    receipt = data_folder.receipt(client.delete(f"/jobs/{job_id.upper()}"))

    assert (receipt.job_id, receipt.removed) == (job_id, ())
    assert data_folder.naming(job_id.encode()) == {keys.record(job_id)}


def test_a_receipt_for_an_unknown_job_says_that_nothing_was_removed(
    client: httpx.Client, data_folder: DataFolder
) -> None:
    receipt = data_folder.receipt(client.delete(f"/jobs/{NOBODY}"))

    assert (receipt.job_id, receipt.removed) == (NOBODY, ())
    assert data_folder.naming(NOBODY.encode()) == set()


def test_ids_that_nothing_ever_had_leave_no_line_in_the_trail(taking: Taking) -> None:
    data_folder = DataFolder(taking.store.parent)
    before = data_folder.names()
    receipts = [data_folder.receipt(taking.client.delete(f"/jobs/{uuid4()}")) for _ in range(5)]
    assert data_folder.names() == before
    assert {receipt.audit for receipt in receipts} == {""}


def test_a_deleted_job_that_is_deleted_again_and_again_is_noted_once_more(
    taking: Taking, small_jpeg: bytes
) -> None:
    data_folder = DataFolder(taking.store.parent)
    job_id = upload(taking.client, small_jpeg)
    first = data_folder.receipt(taking.client.delete(f"/jobs/{job_id}"))
    later = [data_folder.receipt(taking.client.delete(f"/jobs/{job_id}")) for _ in range(4)]
    assert len({receipt.audit for receipt in later}) == 1
    assert data_folder.trail.inspect({first.audit, later[0].audit}).whole
    lines = [line for line in data_folder.trail.lines() if line["job_id"] == job_id]
    assert [line["outcome"] for line in lines] == ["done", "absent", "absent"] + ["absent"] * 3


@pytest.mark.parametrize("job_id", BAD_IDS)
def test_what_is_no_id_is_not_deleted(refusing: httpx.Client, job_id: str) -> None:
    assert refusal(refusing.delete(f"/jobs/{job_id}")) == (404, "not_found")


def test_a_job_that_waits_is_taken_out_of_the_queue(taking: Taking, small_jpeg: bytes) -> None:
    data_folder = DataFolder(taking.store.parent)
    _, before = taking.holds()
    job_id = upload(taking.client, small_jpeg)

    receipt = data_folder.receipt(taking.client.delete(f"/jobs/{job_id}"))

    assert receipt.removed == ("original", "queue entry")
    assert taking.holds()[1] == before
    assert list(taking.redis.scan_iter(f"*{job_id}*")) == []
    assert data_folder.naming(job_id.encode()) == {keys.record(job_id)}
    assert taking.client.get(f"/status/{job_id}").status_code == 404


def test_a_job_that_is_deleted_while_it_runs_leaves_no_result(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, data_folder = settings_for(redis_url, tmp_path), DataFolder(tmp_path)
    spec = job_spec(pipeline="test", targets=())
    vault_in(tmp_path).put(spec.job_id, spec.kind, small_jpeg, spec.to_order())
    Queues(connect(redis_url), settings, {}).submit([spec])
    receipts: list[DeletionReceipt] = []

    with serving(settings) as client:

        class Delete(Unseeing):
            """A stage that has its own job deleted."""

            name = "delete"

            def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
                receipts.append(data_folder.receipt(client.delete(f"/jobs/{spec.job_id}")))
                return frame

        with image_worker(settings, runner(settings, Delete())) as worker:
            worker.work(max_jobs=1)

        assert [receipt.removed for receipt in receipts] == [("original", "queue entry")]
        assert data_folder.naming(spec.job_id.encode()) == {keys.record(spec.job_id)}
        assert refusal(client.get(f"/status/{spec.job_id}")) == (404, "not_found")


def test_a_deletion_is_not_confirmed_while_redis_is_away(tmp_path: Path) -> None:
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        answer = client.delete(f"/jobs/{NOBODY}")

    assert refusal(answer) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_the_audit_trail_holds_every_receipt_and_is_whole(
    client: httpx.Client, data_folder: DataFolder, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)

    receipts = [data_folder.receipt(client.delete(f"/jobs/{job_id}")) for _ in range(2)]

    inspection = data_folder.trail.inspect([receipt.audit for receipt in receipts])
    assert inspection.whole
    assert inspection.lines >= 6
    assert not data_folder.trail.inspect(["0" * 64]).whole
    events = [line for line in data_folder.trail.lines() if line["job_id"] == job_id]
    assert [(line["event"], line["outcome"]) for line in events] == [
        ("original_deleted", "done"),
        ("result_deleted", "done"),
        ("metadata_deleted", "done"),
        ("original_deleted", "absent"),
        ("result_deleted", "absent"),
        ("metadata_deleted", "absent"),
    ]
    assert {line["actor"] for line in events} == {"api"}


class Watched(FolderStore):
    """A folder that notes of each removed object whether its job was marked as deleted before."""

    def __init__(self, folder: Path, job_id: str) -> None:
        super().__init__(folder)
        self._job_id = job_id
        self.removed: dict[str, bool] = {}

    def delete(self, key: str) -> None:
        self.removed[key] = Records(self, Signet([bytes(32)])).is_deleted(self._job_id)
        super().delete(key)


def test_a_job_is_marked_as_deleted_before_anything_is_removed(
    redis_url: str, tmp_path: Path
) -> None:
    """Otherwise a worker could write its result between the removal and the mark."""
    settings, spec = settings_for(redis_url, tmp_path), job_spec()
    store = Watched(tmp_path / "store", spec.job_id)
    vault, key = open_vault(settings, store), load_signing_key(None, tmp_path)
    queue = Queues(connect(redis_url), settings, {})
    vault.put(spec.job_id, Kind.JPEG, b"a picture")
    result = keys.processed(spec.job_id, Kind.JPEG)
    store.put(result, b"a result", "image/jpeg")
    queue.submit([spec])

    records = open_records(settings, store)
    outbox, trail = open_outbox(connect(redis_url), settings), AuditTrail(store)
    receipt = Deletion(store, vault, records, queue, outbox, trail, key).delete(spec.job_id)

    assert {result, spec.input.key, keys.data_key(spec.job_id)} <= set(store.removed)
    assert all(store.removed.values())
    assert read_receipt(receipt, key.public).removed == ("original", "result", "queue entry")
