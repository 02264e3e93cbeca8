"""`POST /batch-upload` and `GET /batch/{batch_id}`: many pictures, each with its own fate."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.originals import original_of
from tests.parts import (
    NOBODY,
    Start,
    Taking,
    ValkeyServer,
    eventually,
    files_below,
    fresh,
    refusal,
    serving,
    settings_for,
)

QUEUE = "rq:queue:image_processing_queue"
FILM = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100)


def send(client: httpx.Client, pictures: list[bytes], **data: Any) -> httpx.Response:
    """Hand in pictures that are named by their place: 0.jpg, 1.jpg and so on."""
    files = [("files", (f"{number}.jpg", picture)) for number, picture in enumerate(pictures)]
    return client.post("/batch-upload", files=files, data=data, headers=fresh())


def done(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    """The progress of a batch once all its jobs have ended."""

    def progress() -> dict[str, Any] | None:
        answer: dict[str, Any] = client.get(f"/batch/{batch_id}").json()
        assert set(answer) == {
            "batch_id",
            "total",
            "submitted",
            "processing",
            "completed",
            "failed",
            "done",
            "jobs",
        }
        ended = answer["completed"] + answer["failed"]
        assert ended + answer["submitted"] + answer["processing"] == answer["total"]
        assert answer["done"] is (ended == answer["total"])
        return answer if answer["done"] else None

    ended: dict[str, Any] = eventually(progress, "the batch is done")
    return ended


def queued(server: ValkeyServer) -> list[str]:
    with server.client() as redis:
        return [item.decode() for item in redis.lrange(QUEUE, 0, -1)]


def test_a_bad_file_does_not_sink_its_batch(idle_client: Start, small_jpeg: bytes) -> None:
    pictures = [small_jpeg, b"plain words", small_jpeg, FILM, b"", small_jpeg]

    answer = send(idle_client(), pictures)

    content = answer.json()
    assert answer.status_code == 202
    assert set(content) == {"batch_id", "submitted", "rejected", "jobs"}
    assert str(UUID(content["batch_id"])) == content["batch_id"]
    assert (content["submitted"], content["rejected"]) == (3, 3)
    assert all(set(job) == {"filename", "job_id", "status", "error"} for job in content["jobs"])
    assert [(job["filename"], job["status"]) for job in content["jobs"]] == [
        ("0.jpg", "submitted"),
        ("1.jpg", "rejected"),
        ("2.jpg", "submitted"),
        ("3.jpg", "rejected"),
        ("4.jpg", "rejected"),
        ("5.jpg", "submitted"),
    ]
    assert [job["error"] and job["error"]["code"] for job in content["jobs"]] == [
        None,
        "not_an_image",
        None,
        "unsupported_kind",
        "not_an_image",
        None,
    ]
    assert all((job["job_id"] is None) is (job["error"] is not None) for job in content["jobs"])


def test_the_good_files_of_a_batch_are_stored_and_queued_in_order(
    idle_client: Start, shared_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    pictures = [small_jpeg + bytes(number) for number in range(12)]

    jobs = send(idle_client(), [*pictures, b"plain words"]).json()["jobs"]

    good = [job["job_id"] for job in jobs[:-1]]
    assert queued(shared_valkey) == good
    assert {path.stem for path in files_below(tmp_path / "store/original")} == set(good)
    assert [original_of(tmp_path, job_id) for job_id in good] == pictures


def test_a_file_that_is_too_large_does_not_sink_its_batch(
    idle_client: Start, small_jpeg: bytes
) -> None:
    large = small_jpeg + bytes(20_000)

    answer = send(idle_client(max_image_bytes=20_000), [small_jpeg, large, small_jpeg])

    assert answer.status_code == 202
    codes = [job["error"] and job["error"]["code"] for job in answer.json()["jobs"]]
    assert codes == [None, "too_many_bytes", None]


def test_progress_of_a_batch_reaches_done(
    client: httpx.Client, small_jpeg: bytes, bus: bytes
) -> None:
    # The header of the last one is sound, so it is found out only by the worker.
    answer = send(client, [small_jpeg, b"plain words", bus, bus[: len(bus) // 2]]).json()

    progress = done(client, answer["batch_id"])

    assert progress["batch_id"] == answer["batch_id"]
    assert [(job["job_id"], job["status"]) for job in progress["jobs"]] == [
        (answer["jobs"][0]["job_id"], "completed"),
        (answer["jobs"][2]["job_id"], "completed"),
        (answer["jobs"][3]["job_id"], "failed"),
    ]
    assert (progress["total"], progress["completed"], progress["failed"]) == (3, 2, 1)


def test_the_options_of_a_batch_hold_for_each_of_its_pictures(
    client: httpx.Client, small_jpeg: bytes
) -> None:
    zones = [[[0.0, 0.0], [0.5, 0.0], [0.5, 0.5]]]
    answer = send(
        client,
        [small_jpeg] * 2,
        targets=["person", "face"],
        style="solid",
        quality="fast",
        threshold="face=0.7",
        redact_zones=json.dumps(zones),
    )

    for job in done(client, answer.json()["batch_id"])["jobs"]:
        results = client.get(f"/status/{job['job_id']}").json()["results"]
        assert results["blur_metadata"]["targets"] == ["person", "face"]
        assert results["blur_metadata"]["style"] == "solid"
        assert results["blur_metadata"]["quality"] == "fast"
        assert results["blur_metadata"]["thresholds"] == {"face": 0.7}
        assert results["blur_metadata"]["zones"] == {"ignore": [], "redact": zones}
        assert results["blur_metadata"]["counts"]["zone"] == 1


def test_progress_is_still_known_when_redis_has_forgotten_the_jobs(
    client: httpx.Client, forget: Callable[[str], None], small_jpeg: bytes
) -> None:
    batch_id = send(client, [small_jpeg] * 2).json()["batch_id"]
    before = done(client, batch_id)

    for job in before["jobs"]:
        forget(job["job_id"])

    assert client.get(f"/batch/{batch_id}").json() == before


def test_a_batch_of_bad_files_only_is_done_at_once(taking: Taking) -> None:
    client = taking.client

    answer = send(client, [b"plain words", FILM]).json()

    assert (answer["submitted"], answer["rejected"]) == (0, 2)
    assert done(client, answer["batch_id"])["total"] == 0


def test_a_batch_of_hostile_files_is_judged_file_by_file(idle_client: Start, data: Path) -> None:
    hostile = files_below(data / "hostile")

    answer = send(idle_client(), [path.read_bytes() for path in hostile])

    assert answer.status_code == 202, answer.text
    content = answer.json()
    assert len(content["jobs"]) == len(hostile) == content["submitted"] + content["rejected"]
    assert min(content["submitted"], content["rejected"]) > 0
    codes = {job["error"]["code"] for job in content["jobs"] if job["error"]}
    assert codes <= {
        "not_an_image",
        "unsupported_kind",
        "too_many_pixels",
        "too_many_bytes",
        "animation",
        "corrupt_image",
    }


def test_a_batch_takes_no_more_than_the_free_places(
    idle_client: Start, shared_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=3)

    jobs = send(client, [small_jpeg, b"plain words", *[small_jpeg] * 4]).json()["jobs"]

    codes = [job["error"] and job["error"]["code"] for job in jobs]
    assert codes == [None, "not_an_image", None, None, "queue_full", "queue_full"]
    taken = [job["job_id"] for job in jobs if job["job_id"]]
    assert queued(shared_valkey) == taken
    stored = {path.stem for path in files_below(tmp_path / "store/original")}
    assert stored == set(taken)


def test_a_batch_for_a_full_queue_is_answered_429(
    idle_client: Start, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=1)
    send(client, [small_jpeg])
    before = files_below(tmp_path / "store")

    answer = send(client, [small_jpeg])

    assert refusal(answer) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1
    assert files_below(tmp_path / "store") == before


@pytest.mark.parametrize("number", [4, 5, 40])
def test_too_many_files_are_answered_413(
    refusing: httpx.Client, small_jpeg: bytes, number: int
) -> None:
    answer = send(refusing, [small_jpeg] * number)

    assert refusal(answer) == (413, "too_many_files")
    assert "3" in answer.json()["error"]["message"]


def test_as_many_files_as_allowed_are_taken(taking: Taking, small_jpeg: bytes) -> None:
    assert send(taking.client, [small_jpeg] * 3).json()["submitted"] == 3


def test_too_many_bytes_in_all_are_answered_413(
    idle_client: Start, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client(max_batch_bytes=50_000)

    for number in (80, 160, 1400):
        files = [("files", ("a.jpg", small_jpeg))] * number
        answer = client.post("/batch-upload", files=files, timeout=10)

        assert refusal(answer) == (413, "too_many_bytes")
        assert files_below(tmp_path / "store") == []


@pytest.mark.parametrize(
    "data",
    [
        {"targets": "cat"},
        {"style": "pixelate"},
        {"quality": "best"},
        {"metadata": "all"},
        {"on_failure": "ignore"},
        {"threshold": "person=0.5"},
        {"ignore_zones": "[[]]"},
        {"pipeline": "none"},
    ],
)
def test_a_bad_option_is_answered_422(
    refusing: httpx.Client, small_jpeg: bytes, data: dict[str, str]
) -> None:
    assert refusal(send(refusing, [small_jpeg], **data)) == (422, "bad_option")


@pytest.mark.parametrize(
    "request_parts",
    [{}, {"json": []}, {"data": {"files": "x"}}, {"files": {"file": ("a.jpg", b"x")}}],
    ids=["nothing", "JSON", "text", "the single upload's field"],
)
def test_a_batch_without_files_is_answered_400(
    refusing: httpx.Client, request_parts: dict[str, Any]
) -> None:
    answer = refusing.post("/batch-upload", **request_parts)

    assert refusal(answer) == (400, "no_file")


def test_a_batch_while_redis_is_away_is_answered_503(tmp_path: Path, small_jpeg: bytes) -> None:
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        answer = send(client, [small_jpeg] * 2)

    assert refusal(answer) == (503, "queue_unavailable")
    assert files_below(tmp_path / "store") == []


def test_a_batch_that_could_not_be_queued_leaves_nothing(
    refusing: httpx.Client, full_redis: Callable[[], None], small_jpeg: bytes
) -> None:
    full_redis()

    assert refusal(send(refusing, [small_jpeg] * 3)) == (503, "queue_unavailable")


def test_a_batch_while_the_store_is_away_is_not_queued(
    idle_client: Start, shared_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client()
    shutil.rmtree(tmp_path / "store")

    assert refusal(send(client, [small_jpeg] * 3)) == (503, "store_unavailable")
    assert queued(shared_valkey) == []


def test_a_batch_that_was_stored_by_half_leaves_nothing(
    idle_client: Start, shared_valkey: ValkeyServer, tmp_path: Path, small_jpeg: bytes
) -> None:
    # Files stand where half of the store's sub-folders would be, so half of the writes fail.
    blocks = tmp_path / "store/original"
    client = idle_client()
    blocks.mkdir()
    for number in range(0, 256, 2):
        (blocks / f"{number:02x}").touch()

    assert refusal(send(client, [small_jpeg] * 24)) == (503, "store_unavailable")
    assert queued(shared_valkey) == []
    assert [path for path in files_below(tmp_path / "store") if path.stat().st_size] == []


def test_a_batch_is_not_unknown_because_the_store_is_away(
    idle_client: Start, tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client()
    batch_id = send(client, [small_jpeg]).json()["batch_id"]
    shutil.rmtree(tmp_path / "store")

    assert refusal(client.get(f"/batch/{batch_id}")) == (503, "store_unavailable")


@pytest.mark.parametrize("batch_id", [NOBODY, "x", "%2e%2e", "..%2f..%2fmetadata", "%00"])
def test_an_unknown_batch_is_answered_404(refusing: httpx.Client, batch_id: str) -> None:
    assert refusal(refusing.get(f"/batch/{batch_id}")) == (404, "not_found")


def test_a_job_is_no_batch(taking: Taking, small_jpeg: bytes) -> None:
    client = taking.client
    answer = send(client, [small_jpeg]).json()

    assert client.get(f"/batch/{answer['jobs'][0]['job_id']}").status_code == 404
    assert client.get(f"/status/{answer['batch_id']}").status_code == 404


def test_the_names_of_a_batch_come_back_harmless(taking: Taking, small_jpeg: bytes) -> None:
    names = ["../../etc/passwd", "a\u202egpj.exe", "x" * 4096]

    files = [("files", (name, small_jpeg)) for name in names]
    answer = taking.client.post("/batch-upload", files=files)

    shown = [job["filename"] for job in json.loads(answer.content)["jobs"]]
    assert shown[:2] == ["passwd", "agpj.exe"]
    assert len(shown[2]) <= 255
