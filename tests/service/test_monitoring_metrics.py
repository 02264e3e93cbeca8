"""That metrics count what they say they count."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from blurline import metrics
from blurline.api.telemetry import RequestMetrics
from blurline.errors import QueueUnavailableError, StoreUnavailableError
from blurline.inference.batching import Batcher
from blurline.inference.engine import Arithmetic, Outputs, Size
from blurline.machine import MachineCollector, memory
from blurline.models.load import Inference, load_detectors
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.queue.server import redis_memory
from blurline.settings import Settings, load_settings
from blurline.stages.frame import Frame, Redaction
from blurline.storage.objects import FolderStore
from tests.parts import (
    PATIENCE,
    QUEUE,
    ROOT,
    ValkeyServer,
    environment_of,
    eventually,
    image_worker,
    job_spec,
    runner,
    settings_for,
    treating,
)

Start = Callable[..., httpx.Client]


JOBS = {"queue": QUEUE, "pipeline": "test"}
"""Labels of the jobs here."""


def value(name: str, **labels: str) -> float:
    """What this process has counted under that name so far."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@contextmanager
def counted(by: float, name: str, **labels: str) -> Iterator[None]:
    """A metric that has to grow by so much meanwhile."""
    before = value(name, **labels)
    yield
    assert value(name, **labels) - before == by, name


def work_off(settings: Settings, *pictures: bytes, second_looks: float = 0.0) -> None:
    """Run a job for each picture, in this thread."""
    jobs = runner(settings)
    jobs._processor = replace(jobs._processor, treatment=treating(second_looks=second_looks))
    queue = Queues(connect(settings.redis_url or ""), settings, {})
    for picture in pictures:
        spec = job_spec(targets=(), pipeline="test", submitted_at=time.time() - 100)
        jobs._processor.originals.put(spec.job_id, spec.kind, picture, spec.to_order())
        queue.submit([spec])
    with image_worker(settings, jobs) as worker:
        worker.work(burst=True, max_jobs=len(pictures), logging_level="ERROR")


def test_a_job_is_counted_by_its_end_its_time_and_what_was_found(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    with (
        counted(1, "blurline_jobs_total", **JOBS, outcome="completed"),
        counted(1, "blurline_job_seconds_count", **JOBS, outcome="completed"),
        counted(0, "blurline_job_seconds_bucket", **JOBS, outcome="completed", le="60.0"),
        counted(1, "blurline_job_seconds_bucket", **JOBS, outcome="completed", le="120.0"),
        counted(1, "blurline_job_wait_seconds_count", **JOBS),
        counted(1, "blurline_image_redactions_bucket", le="0.0"),
        counted(1, "blurline_image_redacted_ratio_bucket", le="0.0"),
        counted(0, "blurline_image_detections_count"),
        counted(1, "blurline_stage_seconds_count", **JOBS, stage="encode"),
    ):
        work_off(settings_for(redis_url, tmp_path), small_jpeg)


def test_a_job_that_fails_is_counted_by_the_code_of_its_error(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    with (
        counted(1, "blurline_jobs_total", **JOBS, outcome="failed"),
        counted(1, "blurline_job_failures_total", **JOBS, code="corrupt_image"),
        counted(1, "blurline_job_seconds_count", **JOBS, outcome="failed"),
        counted(0, "blurline_image_redactions_count"),
    ):
        work_off(settings_for(redis_url, tmp_path), small_jpeg[: len(small_jpeg) // 2])


def test_a_second_look_is_counted_where_one_was_taken(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path)
    with counted(0, "blurline_second_looks_total", outcome="passed"):
        work_off(settings, small_jpeg)
    with counted(1, "blurline_second_looks_total", outcome="passed"):
        work_off(settings, small_jpeg, second_looks=1.0)


@pytest.mark.parametrize(
    ("boxes", "share"),
    [
        ([], 0.0),
        ([(0, 0, 10, 10)], 0.01),
        ([(0, 0, 10, 10), (50, 50, 100, 100)], 0.26),
        ([(0, 0, 100, 100), (0, 0, 100, 100)], 1.0),
    ],
)
def test_the_redacted_share_is_that_of_the_whole_picture(
    boxes: list[tuple[int, int, int, int]], share: float
) -> None:
    redactions = tuple(Redaction("face", 0.9, box) for box in boxes)
    for reduction in (1, 2):
        pixels = np.zeros((100 // reduction, 100 // reduction, 3), np.uint8)
        frame = Frame(pixels, redactions=redactions, reduction=reduction)
        assert frame.redacted_share == pytest.approx(share)


def test_pictures_that_are_handed_in_are_counted_one_by_one(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=3)
    files = [("files", ("a.jpg", small_jpeg))] * 4 + [("files", ("b.jpg", b"no picture"))]
    with (
        counted(3, "blurline_uploads_total", queue="image_processing_queue", outcome="taken"),
        counted(1, "blurline_batch_files_count"),
        counted(4, "blurline_batch_files_sum"),
    ):
        client.post("/batch-upload", files=files, headers={"Idempotency-Key": "one"})
    with counted(0, "blurline_uploads_total", queue="image_processing_queue", outcome="taken"):
        assert client.post("/upload", files={"file": ("a.jpg", small_jpeg)}).status_code == 429


def test_an_error_of_the_store_is_counted_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    (tmp_path / "store").rmdir()
    with counted(1, "blurline_store_errors_total"), pytest.raises(StoreUnavailableError):
        store.get("original/x.jpg")


def test_an_error_of_redis_is_counted_once(tmp_path: Path) -> None:
    settings = settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)
    queue = Queues(connect(settings.redis_url or ""), settings, {})
    with counted(1, "blurline_redis_errors_total"), pytest.raises(QueueUnavailableError):
        queue.first.depth()


def test_redis_says_what_it_uses_and_what_it_may(shared_valkey: ValkeyServer) -> None:
    with shared_valkey.client() as redis:
        free = redis_memory(redis)
        assert 0 < free.used < free.limit <= psutil.virtual_memory().total
        redis.config_set("maxmemory", 100_000_000)
        limited = redis_memory(redis)
        redis.config_set("maxmemory", 0)
    assert limited.limit == 100_000_000


class Echo:
    """A network that answers for each picture, once it may."""

    labels = ("one",)
    fixed_size: Size | None = None
    largest_batch: int | None = None
    precision: Arithmetic = "f32"

    def run(self, pictures: NDArray[np.uint8]) -> Outputs:
        return {"out": np.zeros((len(pictures), 1), np.float32)}


def test_batches_are_counted_by_network_and_size() -> None:
    batcher = Batcher(Echo(), max_size=3, max_delay=30, name="echo")
    try:
        with (
            counted(2, "blurline_inference_batch_size_count", model="echo"),
            counted(6, "blurline_inference_batch_size_sum", model="echo"),
            ThreadPoolExecutor(6) as threads,
        ):
            list(threads.map(batcher.infer, [np.zeros((8, 8, 3), np.uint8)] * 6))
    finally:
        batcher.close()


def test_a_network_that_is_loaded_says_so_and_how_long_that_took() -> None:
    detectors = load_detectors(["platenet"], Inference(load_settings().model_dir, threads=1))
    sha256 = detectors["platenet"].sha256[:12]
    assert value("blurline_model_info", model="platenet", sha256=sha256) == 1
    assert value("blurline_model_load_seconds", model="platenet") > 0
    with counted(1, "blurline_inference_seconds_count", model="platenet"):
        detectors["platenet"].detect(np.zeros((240, 320, 3), np.uint8), threshold=0.5)


# Disks and memory


def samples(collector: MachineCollector) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def test_a_place_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    found = samples(MachineCollector({"tmp": tmp_path, "data": tmp_path / "nowhere"}))
    assert ("blurline_disk_free_bytes", "data") not in found
    assert 0 <= found["blurline_disk_free_bytes", "tmp"] < found["blurline_disk_size_bytes", "tmp"]


@pytest.mark.parametrize(
    ("limit", "used", "cached", "expected"),
    [
        ("1000000\n", 900_000, 300_000, (1_000_000, 400_000)),
        ("1000000\n", 1_000_000, 0, (1_000_000, 0)),
        ("max\n", 900_000, 300_000, None),
        (f"{1 << 60}\n", 900_000, 300_000, None),
    ],
)
def test_memory_is_the_containers_where_that_has_a_limit(
    tmp_path: Path, limit: str, used: int, cached: int, expected: tuple[int, int] | None
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nfile 7\n")
    if expected is None:
        assert memory(tmp_path)[0] == psutil.virtual_memory().total
    else:
        assert memory(tmp_path) == expected


# Several API processes behind one address


@contextmanager
def uvicorn(settings: Settings, **environment: str) -> Iterator[tuple[httpx.Client, Any]]:
    """Two API processes that share a port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "uvicorn", "blurline.entry.api:app", "--workers", "2"]
        command += ["--fd", str(listener.fileno()), "--no-access-log"]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment_of(settings), **environment},
            pass_fds=(listener.fileno(),),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            # A connection each, so that both processes are met.
            limits = httpx.Limits(max_keepalive_connections=0)
            with httpx.Client(base_url=url, limits=limits, timeout=PATIENCE) as client:
                yield client, process
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def requests_counted(client: httpx.Client) -> float:
    page = client.get("/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "blurline_http_requests_total" and sample.labels["route"] == "/docs"
    )


@pytest.mark.long
def test_several_api_processes_count_together_in_a_common_folder(
    redis_url: str, tmp_path: Path
) -> None:
    settings, folder = settings_for(redis_url, tmp_path), tmp_path / "counts"
    folder.mkdir()
    with uvicorn(settings, PROMETHEUS_MULTIPROC_DIR=str(folder)) as (client, _):
        for _ in range(40):
            assert client.get("/docs").status_code == 200
        eventually(lambda: len(list(folder.glob("counter_*.db"))) == 2, "both have counted")
        assert {requests_counted(client) for _ in range(20)} == {40}
        families = {
            family.name: family
            for family in text_string_to_metric_families(client.get("/metrics").text)
        }
    (build,) = families["blurline_build_info"].samples
    assert build.value == 1
    assert families["blurline_queue_depth"].samples[0].value == 0
    assert families["blurline_disk_free_bytes"].samples


@pytest.mark.long
def test_several_api_processes_that_count_apart_say_so(redis_url: str, tmp_path: Path) -> None:
    with uvicorn(settings_for(redis_url, tmp_path)) as (client, process):
        client.get("/health")
        found = next(line for line in process.stderr if "PROMETHEUS_MULTIPROC_DIR" in line)
    assert "counts for itself alone" in found


def test_a_slow_reader_does_not_make_the_service_slow() -> None:
    """Else whoever reads slowly would set off alerts."""
    name, labels = "blurline_http_request_seconds_sum", {"method": "any", "route": "unmatched"}
    before, moments = value(name, **labels), [time.perf_counter()]

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        moments.append(time.perf_counter())
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})

    async def taken(_: Any) -> None:
        return None

    scope = {"type": "http", "method": "GET", "path": "/"}
    asyncio.run(RequestMetrics(answers)(scope, taken, taken))  # type: ignore[arg-type]
    assert 0 < value(name, **labels) - before <= moments[1] - moments[0]
