"""Traces: one for each picture, from its upload to its result, and nothing private in it."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from blurline import tracing
from blurline.errors import SettingsError
from blurline.imaging.header import limits_of
from blurline.inference.detector import Detectors
from blurline.models.load import Inference, load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings, load_settings
from tests.parts import (
    ROOT,
    image_worker,
    runner,
    serving,
    settings_for,
    treating,
    upload,
)
from tests.receivers import Receiver, receiving

pytest.importorskip("opentelemetry.sdk.trace")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

MARK = "unmistakable-name"
TOKEN = "unmistakable-token"  # noqa: S105 - what must not come back
REQUEST = "request-7"


@dataclass(frozen=True)
class Span:
    """A span as it came over the wire; ids in hex."""

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    failed: bool
    service: str


def spans(receiver: Receiver) -> list[Span]:
    """What the receiver was sent, by OTLP's own description of it."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for received in receiver.received:
        assert received.headers["content-type"] == "application/x-protobuf"
        message = ExportTraceServiceRequest.FromString(received.body)
        for resource in message.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            found += [
                Span(
                    one.name,
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    one.parent_span_id.hex(),
                    one.start_time_unix_nano,
                    one.end_time_unix_nano,
                    {
                        pair.key: pair.value.string_value or pair.value.int_value
                        for pair in one.attributes
                    },
                    one.status.code == 2,
                    named["service.name"],
                )
                for scope in resource.scope_spans
                for one in scope.spans
            ]
    return sorted(found, key=lambda span: span.start)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
        tracing.stop()


def traced(settings: Settings, collector: Receiver) -> Settings:
    """The settings with traces on, in this process too."""
    url = collector.url.replace("/hook", "/v1/traces")
    chosen = settings.model_copy(update={"traces_url": url})
    tracing.start(chosen, "blurline-test")
    return chosen


@pytest.fixture(scope="module")
def faces() -> Detectors:
    return load_detectors(["centerface"], Inference(load_settings().model_dir, threads=1))


def work_off(settings: Settings, faces: Detectors) -> None:
    """Run one job in this thread, with the network for faces alone."""
    jobs = runner(settings)
    treatment = treating(faces, limits_of(settings), second_looks=1.0)
    jobs._processor = replace(jobs._processor, pipelines=pipelines(settings), treatment=treatment)
    with image_worker(settings, jobs) as worker:
        worker.work(burst=True, max_jobs=1, logging_level="ERROR")


def hand_in(settings: Settings, faces: Detectors, picture: bytes) -> str:
    """Upload a picture, work its job off, ask how it went, and send all spans; the job's id."""
    sent = {"Authorization": f"Bearer {TOKEN}", "X-Request-ID": REQUEST}
    wanted = {"pipeline": "blur", "targets": "face"}
    with serving(settings) as client:
        client.headers.update(sent)
        job_id = upload(client, picture, f"{MARK}.jpg", **wanted)
        work_off(settings, faces)
        assert client.get(f"/status/{job_id}").status_code == 200
    tracing.stop()
    return job_id


def test_a_picture_is_one_trace_from_its_upload_to_its_result(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, collector: Receiver, faces: Detectors
) -> None:
    job_id = hand_in(traced(settings_for(redis_url, tmp_path), collector), faces, small_jpeg)

    found = spans(collector)
    named = {span.name: span for span in found}
    assert len(named) == len(found)
    assert {span.trace for span in found} == {found[0].trace}
    request, job = named["POST /upload"], named["job"]
    assert request.parent == ""
    assert {s.name for s in found if s.parent == request.id} == {
        "store original",
        "enqueue",
        "wait",
        "job",
    }
    stages = ["fetch", "decode", "blur", "encode", "second look", "store", "commit"]
    assert [s.name for s in found if s.parent == job.id] == stages
    assert request.attributes == {"request_id": REQUEST, "status": 202}
    assert job.attributes == {"job_id": job_id, "tries_before": 0}
    assert named["wait"].end <= job.end
    assert all(span.start <= span.end and not span.failed for span in found)
    assert {span.service for span in found} == {"blurline-test"}


def test_a_failed_job_has_its_code_and_no_words(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, collector: Receiver, faces: Detectors
) -> None:
    hand_in(traced(settings_for(redis_url, tmp_path), collector), faces, small_jpeg[:-2000])

    (job,) = [span for span in spans(collector) if span.name == "job"]
    assert job.failed
    assert job.attributes["error.type"] == "corrupt_image"
    assert b"exception" not in b"".join(received.body for received in collector.received)


def test_traces_hold_nothing_of_anybodys(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, collector: Receiver, faces: Detectors
) -> None:
    hand_in(traced(settings_for(redis_url, tmp_path), collector), faces, small_jpeg)

    sent = b"".join(received.body for received in collector.received)
    assert sent
    for word in (MARK, TOKEN, str(tmp_path), "face", "127.0.0.1", redis_url):
        assert word.encode() not in sent, word
    keys = {key for span in spans(collector) for key in span.attributes}
    assert keys == {"request_id", "status", "job_id", "jobs", "tries_before"}


def test_a_caller_can_not_choose_the_trace(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, collector: Receiver, faces: Detectors
) -> None:
    settings = traced(settings_for(redis_url, tmp_path), collector)
    theirs = "0af7651916cd43dd8448eb211c80319c"
    with serving(settings) as client:
        client.post(
            "/upload",
            files={"file": ("a.jpg", small_jpeg)},
            headers={"traceparent": f"00-{theirs}-b7ad6b7169203331-01"},
        )
    tracing.stop()
    assert spans(collector)
    assert theirs not in {span.trace for span in spans(collector)}


@pytest.mark.parametrize("parent", ["", "00-nonsense", "x" * 1000])
def test_a_message_with_a_damaged_trace_is_worked_on(parent: str, collector: Receiver) -> None:
    tracing.start(Settings(traces_url=collector.url), "blurline-test")
    with tracing.continued(parent), tracing.span("job"):
        assert tracing.context().startswith("00-")
    tracing.stop()
    assert [span.name for span in spans(collector)] == ["job"]


def test_off_nothing_is_traced_and_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; import api_server, worker; from blurline import tracing\n"
        "with tracing.span('x', job_id='y'): tracing.lap('z', 1.0); tracing.note('n')\n"
        "assert tracing.context() == ''; tracing.stop()\n"
        # Redis' library imports other parts of it, where it is installed.
        "parts = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(parts)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_setting_without_the_extra_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match=r"blurline\[otel\]"):
        tracing.start(Settings(traces_url="http://127.0.0.1:4318/v1/traces"), "blurline-test")


def test_a_receiver_that_is_away_holds_no_picture_up(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    with receiving() as gone:
        settings = settings_for(redis_url, tmp_path)
    traced(settings, gone)
    try:
        with serving(settings) as client:
            answer = client.post("/upload", files={"file": ("a.jpg", small_jpeg)})
            assert answer.status_code == 202
    finally:
        tracing.stop()
