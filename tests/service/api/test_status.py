"""`GET /status/{job_id}`: where a job is, from its upload until long after its end."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from blurline.imaging.kind import Kind
from blurline.inference.detector import Detectors
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.stages.frame import Frame, Options
from blurline.stages.options import redaction_options
from blurline.storage import keys
from tests.data_folder import DataFolder
from tests.originals import original_of, vault_in
from tests.parts import (
    NOBODY,
    Start,
    Taking,
    Unseeing,
    ended,
    image_worker,
    job_spec,
    refusal,
    runner,
    serving,
    settings_for,
    upload,
)

FIELDS = {"job_id", "status", "updated_at", "results", "error"}
RESULTS = {
    "original_image_path",
    "processed_image_path",
    "processing_time",
    "blur_metadata",
    "detection_metadata",
}


def record_of(status: dict[str, Any], store: Path) -> dict[str, Any]:
    """What the store keeps about a job."""
    job_id = status["job_id"]
    record: dict[str, Any] = json.loads(
        (store / f"metadata/{job_id[:2]}/{job_id}.json").read_bytes()
    )
    return record


def test_a_job_that_waits_is_submitted(taking: Taking, small_jpeg: bytes) -> None:
    before = time.time()
    job_id = upload(taking.client, small_jpeg)

    status = taking.client.get(f"/status/{job_id}").json()

    assert set(status) == FIELDS
    assert status["job_id"] == job_id
    assert status["status"] == "submitted"
    # A server may round to whole seconds.
    assert before - 1 < status["updated_at"] < time.time() + 1
    assert status["results"] is None
    assert status["error"] is None


def test_a_job_that_runs_is_processing(redis_url: str, tmp_path: Path, small_jpeg: bytes) -> None:
    settings, seen = settings_for(redis_url, tmp_path), []
    spec = job_spec(pipeline="test", targets=())
    vault_in(tmp_path).put(spec.job_id, spec.kind, small_jpeg, spec.to_order())
    Queues(connect(redis_url), settings, {}).submit([spec])

    with serving(settings) as client:

        class Look(Unseeing):
            """A stage that asks how its own job goes."""

            name = "look"

            def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
                seen.append(client.get(f"/status/{spec.job_id}").json())
                return frame

        with image_worker(settings, runner(settings, Look())) as worker:
            worker.work(max_jobs=1)

    assert [set(status) for status in seen] == [FIELDS]
    assert seen[0]["status"] == "processing"
    assert time.time() - 60 < seen[0]["updated_at"] < time.time() + 1


def test_a_completed_job_tells_its_results(client: httpx.Client, bus: bytes) -> None:
    before = time.time()

    status = ended(client, upload(client, bus, "bus.jpg", targets="car,person"))

    assert set(status) == FIELDS
    assert status["status"] == "completed"
    assert before - 1 < status["updated_at"] < time.time() + 1
    assert status["error"] is None
    results = status["results"]
    assert set(results) >= RESULTS
    assert 0 < results["processing_time"] < time.time() - before


def test_what_was_blurred_is_told_in_pixels(client: httpx.Client, bus: bytes) -> None:
    results = ended(client, upload(client, bus, targets="car,person"))["results"]

    blurred = results["blur_metadata"]
    names = {option.name for option in redaction_options(())}
    options = {*names, "zones", "thresholds"} - {"threshold", "ignore_zones", "redact_zones"}
    assert set(blurred) == {*options, "path", "second_look", "counts", "regions"}
    assert blurred["targets"] == ["car", "person"]
    assert (blurred["style"], blurred["quality"]) == ("mosaic", "balanced")
    assert (blurred["metadata"], blurred["on_failure"]) == ("minimal", "fail")
    assert blurred["path"] == "lossless"
    assert blurred["second_look"] in ("passed", "skipped", "mended")
    named = [region["target"] for region in blurred["regions"]]
    assert blurred["counts"] == {"car": named.count("car"), "person": named.count("person")}
    assert min(blurred["counts"].values()) >= 1
    for region in blurred["regions"]:
        assert set(region) == {"target", "confidence", "box"}
        assert 0 < region["confidence"] <= 1
        left, top, right, bottom = region["box"]
        assert all(isinstance(edge, int) for edge in region["box"])
        assert 0 <= left < right <= 810
        assert 0 <= top < bottom <= 1080


def test_what_was_seen_is_told_in_pixels(client: httpx.Client, bus: bytes) -> None:
    results = ended(client, upload(client, bus, targets="face"))["results"]

    seen = results["detection_metadata"]
    assert set(seen) == {"count", "objects"}
    assert seen["count"] == len(seen["objects"])
    assert {"bus", "person"} <= {found["label"] for found in seen["objects"]}
    for found in seen["objects"]:
        assert set(found) == {"label", "confidence", "box"}
        assert 0 < found["confidence"] <= 1
        left, top, right, bottom = found["box"]
        assert 0 <= left < right <= 810
        assert 0 <= top < bottom <= 1080


def test_the_paths_of_a_result_are_names_in_the_store(
    client: httpx.Client, data_folder: DataFolder, bus: bytes
) -> None:
    job_id = upload(client, bus)

    results = ended(client, job_id)["results"]

    store = data_folder.path / "store"
    original = store / results["original_image_path"]
    processed = store / results["processed_image_path"]
    assert original_of(data_folder.path, job_id) == bus
    assert bus[:64] not in original.read_bytes()
    assert processed.read_bytes() == client.get(f"/result/{job_id}").content
    assert results["original_image_path"] == f"original/{job_id[:2]}/{job_id}.jpg"
    assert results["processed_image_path"] == f"processed/{job_id[:2]}/{job_id}.jpg"


def test_a_record_that_names_files_of_another_job_is_none(
    client: httpx.Client, data_folder: DataFolder, small_jpeg: bytes
) -> None:
    """Who can write to the store must not be able to have it handed out what lies elsewhere."""
    job_id, other = upload(client, small_jpeg), upload(client, small_jpeg)
    for one in (job_id, other):
        ended(client, one)
    path = data_folder.path / "store" / keys.record(job_id)
    kept = path.read_bytes()
    record = json.loads(kept)
    for key in (keys.processed(other, Kind.JPEG), keys.original(other, Kind.JPEG), "../x.jpg"):
        record["outputs"][0]["key"] = key
        path.write_text(json.dumps(record))
        assert client.get(f"/result/{job_id}").status_code in (404, 409)
    record = {**json.loads(kept), "slot": f"/../../{other[:2]}/{other}"}
    path.write_text(json.dumps(record))
    assert client.get(f"/certificate/{job_id}").status_code in (404, 409)


def test_the_stored_metadata_say_the_same_as_the_status(
    client: httpx.Client, data_folder: DataFolder, bus: bytes
) -> None:
    status = ended(client, upload(client, bus, "bus.jpg"))

    record = record_of(status, data_folder.path / "store")

    shared = FIELDS - {"results"}
    assert {name: record[name] for name in shared} == {name: status[name] for name in shared}
    assert record["reports"] == status["results"]["reports"]
    assert record["filename"] == "bus.jpg"
    assert record["input"]["size"] == len(bus)
    assert record["version"] == 2


def test_a_damaged_picture_fails_with_the_reason(client: httpx.Client, bus: bytes) -> None:
    status = ended(client, upload(client, bus[: len(bus) // 2]))

    assert set(status) == FIELDS
    assert status["status"] == "failed"
    assert status["results"] is None
    assert set(status["error"]) == {"code", "message"}
    assert status["error"]["code"] == "corrupt_image"


def test_a_completed_job_is_known_when_redis_has_forgotten_it(
    client: httpx.Client, forget: Callable[[str], None], small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    before = ended(client, job_id)

    forget(job_id)

    assert client.get(f"/status/{job_id}").json() == before
    assert client.get(f"/result/{job_id}").status_code == 200


def test_a_failed_job_is_known_when_redis_has_forgotten_it(
    client: httpx.Client, forget: Callable[[str], None], bus: bytes
) -> None:
    job_id = upload(client, bus[: len(bus) // 2])
    before = ended(client, job_id)

    forget(job_id)

    assert client.get(f"/status/{job_id}").json() == before


def test_a_completed_job_is_known_while_redis_is_away(
    client: httpx.Client, data_folder: DataFolder, tmp_path: Path, small_jpeg: bytes
) -> None:
    before = ended(client, upload(client, small_jpeg))
    store = data_folder.path / "store"
    settings = settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path, store_url=store.as_uri())

    with serving(settings) as lonely:
        answer = lonely.get(f"/status/{before['job_id']}")

    assert answer.status_code == 200
    assert answer.json() == before


def test_a_job_is_not_unknown_because_redis_is_away(tmp_path: Path) -> None:
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        answer = client.get(f"/status/{NOBODY}")

    assert refusal(answer) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_job_is_not_unknown_because_the_store_is_away(idle_client: Start, tmp_path: Path) -> None:
    client = idle_client()
    shutil.rmtree(tmp_path / "store")

    assert refusal(client.get(f"/status/{NOBODY}")) == (503, "store_unavailable")


@pytest.mark.parametrize(
    "job_id",
    [
        NOBODY,
        "x",
        "%2e%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        "..%5c..%5cboot.ini",
        "%00",
        "*",
        "a" * 5000,
        f"{NOBODY}.json",
        f"{NOBODY}%0a",
        f"batches%2f{NOBODY}",
    ],
)
def test_an_unknown_job_is_answered_404(refusing: httpx.Client, job_id: str) -> None:
    assert refusal(refusing.get(f"/status/{job_id}")) == (404, "not_found")
