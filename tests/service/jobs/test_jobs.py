"""Jobs and their records, and the way of one picture from the store back to the store."""

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import numpy as np
import pytest

from blurline.certificate.certificate import Certificate, RedactedPicture, verify
from blurline.certificate.signing import Finding, load_signing_key
from blurline.errors import BlurlineError, OptionError, StoreUnavailableError
from blurline.imaging.header import Header, Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy
from blurline.inference.detector import Detectors
from blurline.jobs.job import JobError, JobRecord, JobSpec, JobStatus, Result, completed, failed
from blurline.jobs.processor import Processor
from blurline.jobs.records import Batch, Records, open_records
from blurline.jobs.results import key_of
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.models.wheels import sha256
from blurline.pipeline_architecture import pipelines
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.redaction.styles import Style
from blurline.redaction.zones import Zones
from blurline.settings import load_settings
from blurline.stages.detect import Detect
from blurline.stages.frame import Frame, OnFailure, Options, Quality, Redaction
from blurline.stages.options import options_of, values_of
from blurline.storage import keys
from blurline.storage.objects import open_store
from blurline.storage.signet import Signet
from blurline.storage.store import Store
from blurline.storage.vault import ORIGINAL_FORMAT, Originals, OriginalsVault, open_vault
from blurline.treatment.outputs import Output, Role
from blurline.treatment.redacted import Redacted
from blurline.treatment.report import blur_metadata
from blurline.treatment.second_look import SecondLook
from blurline.treatment.writing import WriteMethod
from blurline.webhooks.outbox import Outbox
from blurline.worker.endings import Endings
from blurline.worker.runner import JobRunner
from tests.parts import NothingToBlur, files_below, job_spec, redacting, treating

LIMITS = Limits(50_000_000, 100_000_000)
ONLY_LOOKS = redacting(Detect("yolo11n"), name="only_looks")
FACES, VEHICLES = load_settings().face_model, load_settings().vehicle_model
TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.5))
BROKEN = JobError("corrupt_image", "the picture's data is damaged")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(load_settings(data_dir=tmp_path))


@pytest.fixture
def records(store: Store, tmp_path: Path) -> Records:
    return open_records(load_settings(data_dir=tmp_path), store)


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return load_detectors([FACES, VEHICLES], inference(load_settings()))


@pytest.fixture
def vault(store: Store, tmp_path: Path) -> OriginalsVault:
    return open_vault(load_settings(data_dir=tmp_path), store)


@pytest.fixture
def processor(
    store: Store, vault: OriginalsVault, detectors: Detectors, tmp_path: Path
) -> Processor:
    known = {**pipelines(load_settings()), ONLY_LOOKS.name: ONLY_LOOKS}
    treatment = treating(detectors, LIMITS)
    return Processor(store, vault, known, treatment, LIMITS, load_signing_key(None, tmp_path))


def done(job: JobSpec, now: float) -> JobRecord:
    """A record with something in every field."""
    key = keys.processed(job.job_id, job.kind.written)
    picture = Result(key, "picture.jpg", Role.PRIMARY, "image/jpeg", 320, 240, 99, "ab" * 32)
    mask = replace(picture, key=f"{key}/mask.png", name="mask.png", role=Role.MASK)
    return completed(
        job,
        now,
        outputs=(picture, mask),
        reports={"blur": {"counts": {"face": 1}}},
        tally={"redacted:face": 1.0},
        seconds=0.1,
        slot="5107",
    )


def written(folder: Path) -> list[Path]:
    """What a worker has left in the store."""
    places = (folder / "store" / place for place in ("processed", "certificate", "metadata"))
    return [file for place in places for file in files_below(place)]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("style", Style)
def test_a_job_comes_through_the_store_as_it_was(kind: Kind, style: Style) -> None:
    job = job_spec(kind=kind, style=style)
    assert JobSpec.from_order(job.to_order()) == job


@pytest.mark.parametrize("quality", Quality)
def test_every_option_comes_through_the_store_as_it_was(quality: Quality) -> None:
    zones = Zones(ignore=(TRIANGLE, TRIANGLE), redact=(TRIANGLE,))
    policies = MetadataPolicy.KEEP, OnFailure.OBSCURE
    options = Options(("face", "car"), Style.SOLID, quality, {"face": 0.25}, zones, *policies)
    job = job_spec(options=values_of(options))
    assert JobSpec.from_order(job.to_order()) == job


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": None},
        {"input": {"key": "planted-words"}},
        {"input": "planted-words"},
        {"submitted_at": "planted-words"},
        {"version": "planted-words"},
    ],
)
def test_an_order_that_is_no_job_is_refused_without_quoting_it(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no job") as caught:
        JobSpec.from_order(json.dumps({**json.loads(job_spec().to_order()), **wrong}).encode())
    assert "planted-words" not in "".join(traceback.format_exception(caught.value))


def test_options_that_are_none_are_refused_without_quoting_them(
    vault: OriginalsVault, processor: Processor, small_jpeg: bytes
) -> None:
    job = job_spec()
    job = replace(job, options={**job.options, "style": "planted-words"})
    vault.put(job.job_id, job.kind, small_jpeg)
    with pytest.raises(OptionError) as caught:
        processor.process(job)
    assert "planted-words" not in "".join(traceback.format_exception(caught.value))


def test_what_was_blurred_is_told_with_its_options_and_zones() -> None:
    zones = Zones(ignore=(TRIANGLE,), redact=(TRIANGLE,))
    options = Options(("face", "car"), Style.SOLID, Quality.FAST, {"face": 0.25}, zones)
    corners = ((0.0, 0.0), (320.0, 0.0), (160.04, 120.0))
    redactions = (
        Redaction("face", 0.91234, (4, 5, 6, 7)),
        Redaction("zone", 1.0, (0, 0, 320, 120), corners),
    )
    frame = Frame(np.zeros((240, 320, 3), np.uint8), redactions)
    header = Header(Kind.JPEG, 320, 240, 1)
    treated = Redacted(b"", header, frame, WriteMethod.LOSSLESS, SecondLook.PASSED, {})
    assert json.loads(json.dumps(blur_metadata(treated, options))) == {
        "targets": ["face", "car"],
        "style": "solid",
        "quality": "fast",
        "thresholds": {"face": 0.25},
        "zones": {
            "ignore": [[[0, 0], [1, 0], [0.5, 0.5]]],
            "redact": [[[0, 0], [1, 0], [0.5, 0.5]]],
        },
        "metadata": "minimal",
        "on_failure": "fail",
        "output_format": "same",
        "path": "lossless",
        "second_look": "passed",
        "counts": {"face": 1, "car": 0, "zone": 1},
        "regions": [
            {"target": "face", "confidence": 0.9123, "box": [4, 5, 6, 7]},
            {
                "target": "zone",
                "confidence": 1.0,
                "box": [0, 0, 320, 120],
                "polygon": [[0, 0], [320, 0], [160, 120]],
            },
        ],
    }


def test_that_a_picture_comes_back_upright_is_told_only_where_that_is_asked_for() -> None:
    options = Options(("face",), Style.SOLID)
    assert "upright" not in values_of(options)
    upright = replace(options, upright=True)
    assert options_of(json.loads(json.dumps(values_of(upright)))) == upright


@pytest.mark.parametrize("kind", Kind)
def test_a_record_is_read_as_it_was_written(kind: Kind) -> None:
    job = job_spec(kind=kind)
    for record in (done(job, 1_700_000_001.5), failed(job, BROKEN, 1_700_000_001.5)):
        assert JobRecord.from_json(record.to_json()) == record


OTHER = "0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11"


@pytest.mark.parametrize(
    "planted",
    [
        {"key": keys.processed(OTHER, Kind.JPEG)},
        {"key": keys.original(OTHER, Kind.JPEG)},
        {"key": "metadata/{id}"},
        {"key": "processed/{two}/{id}/../" + OTHER + ".jpg"},
        {"key": "processed/{two}/{id}/a/mask.png"},
        {"media_type": "text/html"},
        {"media_type": "image/svg+xml"},
        {"name": "a.b\r\nSet-Cookie: c"},
        {"name": "../picture.jpg"},
    ],
)
def test_a_record_that_names_what_no_worker_can_have_written_is_none(
    planted: dict[str, str],
) -> None:
    job = job_spec()
    known = {"id": job.job_id, "two": job.job_id[:2]}
    named = {name: text.format(**known) for name, text in planted.items()}
    record = done(job, 1.0)
    forged = replace(record, outputs=(replace(record.primary, **named),))
    with pytest.raises(ValueError, match="did not come of that job"):
        JobRecord.from_json(forged.to_json())


def test_a_completed_job_without_a_result_has_no_record() -> None:
    with pytest.raises(ValueError, match="names no result"):
        JobRecord.from_json(completed(job_spec(), 1.0).to_json())


@pytest.mark.parametrize("name", ["Mask.png", "a/b.png", "mask", "..", ""])
def test_a_file_that_could_not_be_asked_for_is_not_stored(name: str) -> None:
    output = Output(name, Role.MASK, "image/png", b"", 1, 1)
    with pytest.raises(ValueError, match="no name of a result"):
        key_of(OTHER, output, "")
    mask = key_of(OTHER, replace(output, name="mask.png"), "5107")
    assert mask == f"processed/0d/{OTHER}.5107/mask.png"
    assert keys.is_result_of(OTHER, mask)


def test_a_job_that_has_not_ended_has_no_record(records: Records) -> None:
    assert records.find(str(uuid4())) is None


@pytest.mark.parametrize("first", [JobStatus.COMPLETED, JobStatus.FAILED])
@pytest.mark.parametrize("second", [JobStatus.COMPLETED, JobStatus.FAILED])
def test_the_first_end_of_a_job_is_its_only_one(
    records: Records, first: JobStatus, second: JobStatus
) -> None:
    job = job_spec()
    ends = [
        done(job, now) if status is JobStatus.COMPLETED else failed(job, BROKEN, now)
        for status, now in ((first, 1.0), (second, 2.0))
    ]
    assert [records.commit(end) for end in ends] == [True, False]
    assert records.find(job.job_id) == ends[0]


def test_of_many_that_end_a_job_at_once_one_wins(records: Records) -> None:
    workers = 16
    for _ in range(10):
        job, barrier = job_spec(), Barrier(workers)
        ends = [
            done(job, now) if now % 2 else failed(job, BROKEN, now)
            for now in map(float, range(workers))
        ]

        def commit(record: JobRecord, barrier: Barrier = barrier) -> bool:
            barrier.wait()
            return records.commit(record)

        with ThreadPoolExecutor(workers) as pool:
            won = list(pool.map(commit, ends))
        assert won.count(True) == 1
        assert records.find(job.job_id) == ends[won.index(True)]


def test_a_batch_is_known_until_it_is_deleted(records: Records) -> None:
    batch_id, jobs = str(uuid4()), [str(uuid4()) for _ in range(3)]
    assert records.find_batch(batch_id) is None
    records.write_batch(batch_id, Batch(jobs, "key-camera"), 1.0)
    assert records.find_batch(batch_id) == Batch(jobs, "key-camera")
    records.delete_batch(batch_id)
    assert records.find_batch(batch_id) is None


def test_a_processed_picture_is_stored_before_its_record(
    store: Store, vault: OriginalsVault, processor: Processor, zidane: bytes, tmp_path: Path
) -> None:
    job = job_spec()
    vault.put(job.job_id, job.kind, zidane)
    record = processor.process(job).record
    assert record.status is JobStatus.COMPLETED
    key = keys.processed(job.job_id, job.kind)
    assert [output.key for output in record.outputs] == [key]
    assert record.input == job.input
    picture = store.get(key)
    assert picture is not None
    header = read_header(picture, LIMITS)
    assert (header.width, header.height) == (1280, 720)
    assert files_below(tmp_path / "store" / "metadata") == []


def test_the_original_stays_as_it_was_sent(
    vault: OriginalsVault, processor: Processor, zidane: bytes
) -> None:
    job = job_spec()
    vault.put(job.job_id, job.kind, zidane)
    processor.process(job)
    assert vault.get(job.job_id, job.kind) == zidane


@pytest.mark.parametrize(
    ("picture", "others", "code"),
    [
        ("none", {}, "original_missing"),
        ("torn", {}, "corrupt_image"),
        ("whole", {"pipeline": "only_looks", "targets": ()}, "not_redacted"),
        ("whole", {"pipeline": "of_tomorrow"}, "bad_option"),
        ("whole", {"targets": ("face", "of_tomorrow")}, "bad_option"),
        ("whole", {"targets": ("license_plate",)}, "model_missing"),
    ],
)
def test_a_job_that_can_not_be_done_stores_nothing(
    vault: OriginalsVault,
    processor: Processor,
    zidane: bytes,
    tmp_path: Path,
    picture: str,
    others: dict[str, object],
    code: str,
) -> None:
    job = job_spec(**others)
    if picture != "none":
        vault.put(job.job_id, job.kind, zidane if picture == "whole" else zidane[:5000])
    with pytest.raises(BlurlineError) as caught:
        processor.process(job)
    assert caught.value.code == code
    assert written(tmp_path) == []


@pytest.mark.parametrize("missing", [FACES, VEHICLES])
def test_a_target_is_never_left_out_because_its_network_is_missing(
    vault: OriginalsVault,
    processor: Processor,
    detectors: Detectors,
    zidane: bytes,
    tmp_path: Path,
    missing: str,
) -> None:
    job = job_spec(pipeline="blur")
    vault.put(job.job_id, job.kind, zidane)
    without = {name: detector for name, detector in detectors.items() if name != missing}
    with pytest.raises(BlurlineError) as caught:
        replace(processor, treatment=treating(without, LIMITS)).process(job)
    assert caught.value.code == "model_missing"
    assert written(tmp_path) == []


def test_a_store_that_goes_away_meanwhile_is_worth_another_try(
    vault: OriginalsVault, processor: Processor, small_jpeg: bytes, tmp_path: Path
) -> None:
    class Leaving(NothingToBlur):
        """The stage of a picture whose store goes away while it is treated."""

        def run(self, frame, options, detectors):  # type: ignore[no-untyped-def]
            (tmp_path / "store").rename(tmp_path / "elsewhere")
            return super().run(frame, options, detectors)

    job = job_spec(pipeline="leaving", targets=())
    vault.put(job.job_id, job.kind, small_jpeg)
    leaving = {"leaving": redacting(Leaving({}), name="leaving")}
    with pytest.raises(StoreUnavailableError):
        replace(processor, pipelines=leaving).process(job)


def test_the_certificate_proves_the_stored_picture_and_names_what_it_came_from(
    store: Store,
    vault: OriginalsVault,
    processor: Processor,
    detectors: Detectors,
    zidane: bytes,
    tmp_path: Path,
) -> None:
    job = job_spec()
    vault.put(job.job_id, job.kind, zidane)
    processor.process(job)
    picture = store.get(keys.processed(job.job_id, job.kind))
    file = store.get(keys.certificate(job.job_id))
    assert picture is not None
    assert file is not None
    public_key = load_signing_key(None, tmp_path).public
    verdict = verify(picture, file, public_key)
    assert verdict.finding is Finding.VALID
    assert verify(picture + b"\0", file, public_key).finding is Finding.ALTERED
    certificate = verdict.certificate
    assert certificate is not None
    assert certificate.job_id == job.job_id
    assert certificate.inputs == (sha256(zidane),)
    assert [output.sha256 for output in certificate.outputs] == [sha256(picture)]
    assert {model.name: model.sha256 for model in certificate.networks} == {
        name: detectors[name].sha256 for name in (FACES, VEHICLES)
    }
    assert all(len(model.sha256) == 64 for model in certificate.networks)
    assert sum(region.target == "face" for region in redacted(certificate).regions) >= 2


def test_the_certificate_of_an_obscured_picture_names_no_network_that_was_missing(
    store: Store, vault: OriginalsVault, processor: Processor, zidane: bytes, tmp_path: Path
) -> None:
    options = Options(("face", "license_plate"), Style.MOSAIC, on_failure=OnFailure.OBSCURE)
    job = job_spec(options=values_of(options))
    vault.put(job.job_id, job.kind, zidane)
    record = processor.process(job).record
    assert record.reports["blur"]["counts"] == {"face": 0, "license_plate": 0, "frame": 1}
    picture = store.get(keys.processed(job.job_id, job.kind))
    file = store.get(keys.certificate(job.job_id))
    assert picture is not None
    assert file is not None
    verdict = verify(picture, file, load_signing_key(None, tmp_path).public)
    assert verdict.certificate is not None
    assert [model.name for model in verdict.certificate.networks] == [FACES]
    assert [region.target for region in redacted(verdict.certificate).regions] == ["frame"]


def redacted(certificate: Certificate) -> RedactedPicture:
    """The claim of a certificate, which has to be that something was redacted."""
    assert isinstance(certificate.claim, RedactedPicture)
    return certificate.claim


def run(
    processor: Processor, records: Records, spec: JobSpec, redis_url: str, folder: Path
) -> None:
    """The first and only try of the job."""
    redis = connect(redis_url)
    jobs = JobRunner(
        processor,
        Endings(
            processor.store,
            processor.originals,
            records,
            Queues(redis, load_settings(data_dir=folder), {}),
            Outbox(redis, "test", Signet([bytes(32)])),
        ),
    )
    jobs.run(spec.job_id, retries_left=0, waited=0.0)


@pytest.mark.parametrize("good", [True, False], ids=["done", "failed"])
@pytest.mark.parametrize("policy", Originals)
def test_an_original_is_encrypted_and_vanishes_with_its_job_if_wanted(
    store: Store,
    records: Records,
    processor: Processor,
    redis_url: str,
    small_jpeg: bytes,
    tmp_path: Path,
    policy: Originals,
    good: bool,
) -> None:
    vault = replace(open_vault(load_settings(data_dir=tmp_path), store), policy=policy)
    job = job_spec(targets=())
    sent = small_jpeg if good else small_jpeg[:200]
    job = replace(job, pipeline="test", options=values_of(Options((), Style.MOSAIC)))
    vault.put(job.job_id, job.kind, sent, job.to_order())
    stored = store.get(job.input.key)
    assert stored is not None
    assert stored.startswith(sent if policy is Originals.KEEP else ORIGINAL_FORMAT)
    assert (sent[:100] in stored) == (policy is Originals.KEEP)

    known = {"test": redacting(NothingToBlur({}), name="test")}
    processor = replace(processor, originals=vault, pipelines=known)
    if good:
        run(processor, records, job, redis_url, tmp_path)
    else:
        with pytest.raises(BlurlineError):
            run(processor, records, job, redis_url, tmp_path)
    record = records.find(job.job_id)
    assert record is not None
    assert record.status is (JobStatus.COMPLETED if good else JobStatus.FAILED)
    if policy is Originals.DELETE:
        assert vault.get(job.job_id, job.kind) is None
        assert files_below(tmp_path / "store" / "original") == []
        assert files_below(tmp_path / "store" / "keys") == []
    else:
        assert vault.get(job.job_id, job.kind) == sent


def test_a_job_that_is_deleted_while_it_runs_leaves_no_picture_and_no_certificate(
    store: Store,
    vault: OriginalsVault,
    records: Records,
    processor: Processor,
    redis_url: str,
    small_jpeg: bytes,
    tmp_path: Path,
) -> None:
    class Deleting(NothingToBlur):
        """The stage of a picture whose job is deleted while it is treated."""

        def run(self, frame, options, detectors):  # type: ignore[no-untyped-def]
            records.delete(job.job_id)
            vault.forget(job.job_id, job.kind)
            return super().run(frame, options, detectors)

    job = job_spec(pipeline="deleting", options=values_of(Options((), Style.MOSAIC)))
    vault.put(job.job_id, job.kind, small_jpeg, job.to_order())
    known = {"deleting": redacting(Deleting({}), name="deleting")}
    run(replace(processor, pipelines=known), records, job, redis_url, tmp_path)
    assert records.is_deleted(job.job_id)
    assert records.find(job.job_id) is None
    left = [path.relative_to(tmp_path / "store") for path in files_below(tmp_path / "store")]
    assert list(map(str, left)) == [keys.record(job.job_id)]
