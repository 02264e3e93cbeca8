"""What nobody will ask for goes out of the store, and nothing else does."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from blurline.audit import AuditTrail
from blurline.imaging.kind import Kind, OutputFormat
from blurline.jobs.job import GIVEN_UP, JobError, JobSpec, failed
from blurline.jobs.leftovers import MONTH, Leftovers
from blurline.jobs.records import Batch, Records
from blurline.queue.connection import connect
from blurline.queue.jobqueue import Submission
from blurline.queue.queues import Queues
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.marks import MOST_BYTES
from blurline.storage.objects import open_store
from blurline.storage.signet import Signet
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault, open_vault
from blurline.treatment.outputs import Role
from blurline.worker.cleaning import REST_KEY, SHARD_KEY, Cleaning, open_leftovers, open_sweeper
from blurline.worker.reconciler import SHARDS
from tests.parts import S3Server, done, files_below, job_spec, needs_s3, settings_for

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEXT = "text/plain"


@dataclass
class House:
    """A store, and what looks for leftovers in it at a moment that the test chooses."""

    store: Store
    vault: OriginalsVault
    later: timedelta = 2 * HOUR
    queued: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    @property
    def records(self) -> Records:
        return Records(self.store, Signet([bytes(32)]))

    def free(self, job_ids: Sequence[str]) -> Collection[str]:
        return [job_id for job_id in job_ids if job_id not in self.queued]

    def accept(self, spec: JobSpec) -> None:
        """What an upload leaves."""
        self.vault.put(spec.job_id, spec.kind, b"picture", spec.to_order())

    def treat(self, spec: JobSpec) -> None:
        """What a worker leaves before it commits the job's end."""
        self.store.put(keys.processed(spec.job_id, spec.kind), b"redacted", TEXT)
        self.store.put(keys.certificate(spec.job_id), b"signed", TEXT)

    def look(self, **others: object) -> int:
        leftovers = Leftovers(
            self.store,
            self.records,
            self.free,
            self.told.extend,
            clock=lambda: datetime.now(UTC) + self.later,
            **others,  # type: ignore[arg-type]
        )
        return sum(map(leftovers.remove, SHARDS))

    def names(self) -> set[str]:
        """All objects but records and marks."""
        folders = ("original", "keys", "processed", "certificate", "audit")
        ever = datetime.max.replace(tzinfo=UTC)
        return {name for folder in folders for name in self.store.older(folder, ever)}


@pytest.fixture(params=["folder", pytest.param("s3", marks=needs_s3)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    settings = load_settings(data_dir=tmp_path)
    store = open_store(settings)
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        place = f"s3://{S3Server.BUCKET}/{uuid4()}"
        store = open_store(load_settings(store_url=place, aws_endpoint_url=server.url))
    return House(store, open_vault(settings, store))


@pytest.fixture
def folder(tmp_path: Path) -> House:
    settings = load_settings(data_dir=tmp_path)
    return House(open_store(settings), open_vault(settings, open_store(settings)))


def test_what_a_worker_that_was_killed_left_of_a_deleted_job_goes(house: House) -> None:
    dead, other = job_spec(), job_spec()
    for spec in (dead, other):
        house.accept(spec)
        house.treat(spec)
    kept = {name for name in house.names() if other.job_id in name}
    house.records.commit(done(other, time.time()))
    house.records.delete(dead.job_id, "key-alice")
    assert house.look() == 4
    assert house.names() == kept
    assert house.records.is_deleted(dead.job_id)
    assert house.told == [dead.job_id]
    assert house.look() == 0


def test_what_has_neither_order_nor_record_goes(house: House) -> None:
    for kind in (Kind.JPEG, Kind.GIF, Kind.TIFF):
        spec = job_spec(kind=kind)
        house.store.put(keys.original(spec.job_id, kind), b"picture", TEXT)
        house.treat(job_spec(kind=kind))
    assert len(house.names()) == 9
    assert house.look() == 9
    assert house.names() == set()


def test_what_was_kept_for_a_caller_who_waited_goes_whatever_became_of_the_job(
    house: House,
) -> None:
    accepted, treated, ended, lost = (job_spec(job_id=keys.new_id(fleeting=True)) for _ in range(4))
    for spec in (accepted, treated, ended, lost):
        house.accept(spec)
    for spec in (treated, ended):
        house.treat(spec)
    house.records.commit(done(ended, time.time()))
    house.store.delete(keys.original(lost.job_id, lost.kind))
    assert house.look() == 11
    assert house.names() == set()
    assert house.records.find(ended.job_id) is not None, "the record stays, as of any such job"


def test_what_others_may_be_at_work_with_stays(folder: House) -> None:
    waiting, running, ended, failing, queued = (job_spec() for _ in range(5))
    for spec in (waiting, running, ended, failing):
        folder.accept(spec)
    for spec in (running, ended, queued):
        folder.treat(spec)
    folder.records.commit(done(ended, time.time()))
    folder.records.commit(failed(failing, GIVEN_UP, time.time()))
    folder.records.write_batch(str(uuid4()), Batch([ended.job_id]), 1.0)
    folder.queued.add(queued.job_id)
    before = folder.names()
    assert folder.look() == 0
    assert folder.names() == before


@pytest.mark.parametrize("later", [timedelta(0), HOUR - timedelta(minutes=1)])
def test_what_is_young_stays_whosever_it_is(folder: House, later: timedelta) -> None:
    deleted, fleeting = job_spec(), job_spec(job_id=keys.new_id(fleeting=True))
    for spec in (job_spec(), deleted, fleeting):
        folder.treat(spec)
    folder.records.delete(deleted.job_id)
    folder.later = later
    before = folder.names()
    assert folder.look() == 0
    assert folder.names() == before


@pytest.mark.parametrize(
    ("later", "records_for"), [(MONTH + DAY, None), (DAY, DAY), (9 * DAY, 10 * DAY)]
)
def test_what_may_have_had_a_record_once_stays(
    folder: House, later: timedelta, records_for: timedelta | None
) -> None:
    folder.treat(job_spec())
    folder.later = later
    assert folder.look(records_for=records_for) == 0
    assert len(folder.names()) == 2


def test_what_is_none_of_ours_stays(folder: House) -> None:
    for name in ("original/0d/notes.txt", "processed/README", "certificate/0d/0d9f.json"):
        folder.store.put(name, b"of somebody", TEXT)
    folder.store.put(f"processed/elsewhere/{uuid4()}.jpg", b"of somebody", TEXT)
    assert folder.look() == 0


def test_a_key_that_is_kept_elsewhere_goes_before_its_original(tmp_path: Path) -> None:
    settings, elsewhere = load_settings(data_dir=tmp_path), load_settings(data_dir=tmp_path / "k")
    store, key_store, spec = open_store(settings), open_store(elsewhere), job_spec()
    vault = OriginalsVault(store, open_vault(settings, store).wrapper, key_store=key_store)
    house = House(store, vault)
    house.accept(spec)
    house.records.delete(spec.job_id)
    assert house.look(key_store=key_store) == 2
    assert vault.get(spec.job_id, spec.kind) is None
    assert key_store.get(keys.data_key(spec.job_id)) is None


def test_a_mark_is_always_shorter_than_a_record(folder: House) -> None:
    ended, deleted = job_spec(filename="", pipeline="x", owner=None), job_spec()
    folder.records.commit(failed(ended, JobError("x", "x"), 1.0))
    folder.records.delete(deleted.job_id, "k" * 40, "a" * 64)
    sizes = [len(folder.store.get(keys.record(one.job_id)) or b"") for one in (deleted, ended)]
    assert sizes[0] < MOST_BYTES <= sizes[1]


def test_results_of_tries_that_others_were_faster_than_go(house: House) -> None:
    spec, slotless, failing = job_spec(), job_spec(), job_spec()
    house.store.put(keys.processed(failing.job_id, failing.kind, "5107"), b"redacted", TEXT)
    house.records.commit(failed(failing, GIVEN_UP, time.time()))
    for one in (spec, slotless):
        house.accept(one)
        house.treat(one)
        house.store.put(keys.processed(one.job_id, one.kind, "5107"), b"redacted", TEXT)
        house.store.put(keys.certificate(one.job_id, "5107"), b"signed", TEXT)
    house.records.commit(done(spec, time.time(), slot="5107"))
    house.records.commit(done(slotless, time.time()))
    assert house.look() == 5
    results = {name for name in house.names() if name.startswith(("processed", "certificate"))}
    assert results == {
        keys.processed(spec.job_id, spec.kind, "5107"),
        keys.certificate(spec.job_id, "5107"),
        keys.processed(slotless.job_id, slotless.kind),
        keys.certificate(slotless.job_id),
    }


@pytest.mark.parametrize("output", OutputFormat)
@pytest.mark.parametrize("kind", [Kind.HEIC, Kind.GIF, Kind.PNG])
def test_a_result_stays_whatever_kind_it_has(
    folder: House, kind: Kind, output: OutputFormat
) -> None:
    spec, written = job_spec(kind=kind), output.of(kind)
    folder.accept(spec)
    own = keys.processed(spec.job_id, written, "5107")
    mask = f"{keys.beside(spec.job_id, '5107')}/mask.png"
    for name in (own, mask):
        folder.store.put(name, b"made", TEXT)
    folder.store.put(keys.processed(spec.job_id, written, "1234"), b"redacted", TEXT)
    folder.store.put(f"{keys.beside(spec.job_id, '1234')}/mask.png", b"made", TEXT)
    record = done(spec, time.time(), slot="5107")
    picture = replace(record.primary, key=own)
    outputs = (picture, replace(picture, key=mask, name="mask.png", role=Role.MASK))
    folder.records.commit(replace(record, outputs=outputs))
    assert folder.look() == 2
    assert {own, mask} <= folder.names()


# By the workers


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def age(folder: Path) -> None:
    for path in files_below(folder):
        os.utime(path, (time.time() - 90_000,) * 2)


@pytest.fixture
def upkeep(redis: Redis, redis_url: str, tmp_path: Path) -> Callable[[], None]:
    settings = settings_for(redis_url, tmp_path)
    store = open_store(settings)
    leftovers = open_leftovers(settings, Queues(redis, settings, {}), store)
    return Cleaning(redis, open_sweeper(settings, store), leftovers).sweep


def test_the_sweeper_removes_leftovers_without_any_time_to_keep_and_writes_originals_down(
    redis: Redis, redis_url: str, tmp_path: Path, upkeep: Callable[[], None]
) -> None:
    settings = settings_for(redis_url, tmp_path)
    store, spec, queued = open_store(settings), job_spec(), job_spec()
    for one in (spec, queued):
        store.put(keys.original(one.job_id, one.kind), b"picture", TEXT)
    queue = Queues(connect(redis_url), settings, {})
    queue.submit([queued])
    age(tmp_path / "store")
    upkeep()
    assert store.get(spec.input.key) is None
    assert store.get(queued.input.key) == b"picture", "the queue knows it"
    (line,) = AuditTrail(store).lines()
    assert (line["job_id"], line["event"], line["actor"]) == (
        spec.job_id,
        "original_deleted",
        "sweeper",
    )
    assert queue.submit([spec]) == [Submission.GONE], (
        "nobody can queue what was taken away meanwhile"
    )


def test_a_look_that_was_cut_off_goes_on_where_it_was_and_the_next_one_rests(
    redis: Redis, redis_url: str, tmp_path: Path, upkeep: Callable[[], None]
) -> None:
    store = open_store(settings_for(redis_url, tmp_path))
    first, last = (f"{shard}{str(uuid4())[2:]}" for shard in ("00", "ff"))
    for job_id in (first, last):
        store.put(keys.processed(job_id, Kind.JPEG), b"redacted", TEXT)
    age(tmp_path / "store")
    redis.set(SHARD_KEY, 255)
    upkeep()
    assert store.get(keys.processed(first, Kind.JPEG)) is not None
    assert store.get(keys.processed(last, Kind.JPEG)) is None
    assert redis.pttl(REST_KEY) > 0
    upkeep()
    assert store.get(keys.processed(first, Kind.JPEG)) is not None
    redis.delete(REST_KEY)
    upkeep()
    assert store.get(keys.processed(first, Kind.JPEG)) is None
