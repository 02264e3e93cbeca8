"""What the audit trail promises: one chain by all writers, and no line goes or changes unseen."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from blurline.audit import (
    BEGINNING,
    Action,
    AuditTrail,
    DeletionReceipt,
    Event,
    Inspection,
    Outcome,
    issue_receipt,
    read_receipt,
)
from blurline.certificate.canonical import canonical, utc_text
from blurline.certificate.certificate import verify
from blurline.certificate.signing import Finding, NotProvedError, SigningKey
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.objects import FolderStore, open_store
from blurline.storage.store import Store
from tests.parts import S3Server, files_below

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NONE = frozenset[str]()
KEY = SigningKey(Ed25519PrivateKey.generate())


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def trail(store: Store) -> AuditTrail:
    return AuditTrail(store, lambda: NOON)


def event(number: int = 0, action: Action = Action.ORIGINAL_DELETED) -> Event:
    return Event(action, f"{number:08x}-0000", "sweeper")


def object_of(store: Store, number: int) -> bytes:
    data = store.get(keys.audit(number))
    assert data is not None
    return data


def test_a_line_says_what_who_when_how_and_what_came_before(
    trail: AuditTrail, store: Store
) -> None:
    job_id = str(uuid4())
    first = trail.append([Event(Action.ORIGINAL_READ, job_id, "api", Outcome.REFUSED)])
    trail.append([event()])
    line, following = trail.lines()
    assert line == {
        "event": "original_read",
        "job_id": job_id,
        "actor": "api",
        "outcome": "refused",
        "time": "2026-03-01T12:00:00.000Z",
        "previous": BEGINNING,
    }
    assert following["previous"] == first
    assert sha256(object_of(store, 1).removesuffix(b"\n")).hexdigest() == first


def test_events_written_together_are_lines_of_one_object(
    trail: AuditTrail, store: Store, tmp_path: Path
) -> None:
    trail.append([event(number) for number in range(1000)])
    assert len(files_below(tmp_path)) == 1
    assert [line["job_id"] for line in trail.lines()] == [event(n).job_id for n in range(1000)]
    assert trail.inspect() == Inspection(1000, None, NONE)


def test_an_empty_trail_is_whole(trail: AuditTrail) -> None:
    assert trail.inspect() == Inspection(0, None, NONE)
    assert trail.inspect().whole


def test_nothing_is_no_event(trail: AuditTrail) -> None:
    with pytest.raises(ValueError, match="nothing"):
        trail.append([])


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 100])
def test_a_new_writer_goes_on_where_the_trail_ended(store: Store, length: int) -> None:
    before = AuditTrail(store)
    for number in range(length):
        before.append([event(number)])
    AuditTrail(store).append([event(length)])
    before.append([event(length + 1)])
    assert [line["job_id"] for line in before.lines()] == [
        event(number).job_id for number in range(length + 2)
    ]
    assert before.inspect() == Inspection(length + 2, None, NONE)


class Counter(FolderStore):
    """A folder that counts how often it is asked for an object."""

    asked = 0

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        return super().get(key)


def test_the_end_of_a_long_trail_is_found_soon(tmp_path: Path) -> None:
    before = AuditTrail(FolderStore(tmp_path))
    for number in range(1000):
        before.append([event(number)])
    counter = Counter(tmp_path)
    late = AuditTrail(counter)
    late.append([event()])
    assert counter.asked < 30
    counter.asked = 0
    late.append([event()])
    assert counter.asked == 0


@pytest.mark.process
@pytest.mark.parametrize(
    "kind",
    [
        "folder",
        pytest.param(
            "s3",
            marks=pytest.mark.skipif(
                not Path(sys.executable).with_name("weed").exists(),
                reason="the S3 server is not installed",
            ),
        ),
    ],
)
def test_many_writers_at_once_write_one_chain_and_lose_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = FolderStore(tmp_path / "store")
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = open_store(load_settings())
    writers, each = 6, 5
    barrier = Barrier(writers)

    def write(writer: int) -> None:
        own = AuditTrail(store)
        barrier.wait()
        for number in range(each):
            own.append([event(writer * each + number)])

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    trail = AuditTrail(store)
    assert sorted(line["job_id"] for line in trail.lines()) == [
        event(number).job_id for number in range(writers * each)
    ]
    assert trail.inspect() == Inspection(writers * each, None, NONE)


def filled(trail: AuditTrail, length: int = 5) -> list[str]:
    """The hashes of the lines that are written, one an object."""
    return [trail.append([event(number)]) for number in range(length)]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_line_that_is_taken_out_shows(trail: AuditTrail, store: Store, number: int) -> None:
    filled(trail)
    store.delete(keys.audit(number))
    assert trail.inspect() == Inspection(number - 1, number, NONE)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_gap_shows_also_when_a_late_writer_fills_it(store: Store, number: int) -> None:
    filled(AuditTrail(store))
    store.delete(keys.audit(number))
    late = AuditTrail(store)
    for _ in range(3):
        late.append([event()])
    assert late.inspect().broken_at is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"sweeper", b"nobody"),
        lambda data: data.replace(b"done", b"failed"),
        lambda data: data.replace(b"{", b"{ "),
        lambda data: data[:-1],
        lambda data: data + data,
        lambda data: b"",
        lambda data: b"[]\n",
    ],
    ids=["actor", "outcome", "spelling", "cut", "doubled", "empty", "nonsense"],
)
def test_a_line_that_is_changed_shows(
    trail: AuditTrail, store: Store, change: Callable[[bytes], bytes]
) -> None:
    filled(trail)
    changed = change(object_of(store, 3))
    assert changed != object_of(store, 3)
    store.put(keys.audit(3), changed, "text/plain")
    assert trail.inspect().broken_at in (3, 4)


def test_any_flipped_byte_shows(trail: AuditTrail, store: Store) -> None:
    filled(trail, 2)
    written = object_of(store, 1)
    for place in range(len(written)):
        flipped = written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]
        store.put(keys.audit(1), flipped, "text/plain")
        assert not trail.inspect().whole


LINE = {
    "event": "original_read",
    "job_id": "0d9f-0000",
    "actor": "api",
    "outcome": "done",
    "time": "2026-03-01T12:00:00.000Z",
}


def chained(previous: str, **changes: object) -> bytes:
    """A line that names the one before it rightly, whatever else is amiss in it."""
    content = {**LINE, "previous": previous, **changes}
    return canonical({name: value for name, value in content.items() if value != b""})


@pytest.mark.parametrize(
    "foreign",
    [
        lambda last: b"x",
        lambda last: b"\n",
        lambda last: b"\0",
        lambda last: b"   \n",
        lambda last: b"\r\n",
        lambda last: b"\xef\xbb\xbf",
        chained,
        lambda last: chained(last) + b"\r\n",
        lambda last: chained(last) + b" \n",
        lambda last: chained(last, note="of my own") + b"\n",
        lambda last: chained(last, actor=b"") + b"\n",
        lambda last: chained(last, actor="Anna Muster") + b"\n",
        lambda last: chained(last, event="nothing") + b"\n",
        lambda last: chained(last, time="yesterday") + b"\n",
        lambda last: chained(last, time=5) + b"\n",
        lambda last: chained(last).replace(b"{", b'{"actor":"api",', 1) + b"\n",
        lambda last: b"[" * 100_000 + b"\n",
    ],
    ids=[
        *("byte", "empty line", "zero", "spaces", "line end", "mark", "no line end"),
        *("windows", "space", "member", "lacking", "name", "word", "time", "number", "twice"),
        "deep",
    ],
)
@pytest.mark.parametrize("number", [1, 3])
def test_bytes_that_the_chain_does_not_cover_show(
    trail: AuditTrail, store: Store, number: int, foreign: Callable[[str], bytes]
) -> None:
    hashes = filled(trail, 3)
    written = object_of(store, number)
    store.put(keys.audit(number), written + foreign(hashes[number - 1]), "text/plain")
    assert trail.inspect().broken_at == number
    store.put(keys.audit(number), written, "text/plain")
    assert trail.inspect().whole


@pytest.mark.parametrize("content", [b"", b"x", b"\n"])
def test_an_object_without_lines_shows_at_the_end_too(
    trail: AuditTrail, store: Store, content: bytes
) -> None:
    filled(trail, 2)
    store.put(keys.audit(3), content, "text/plain")
    assert trail.inspect() == Inspection(2, 3, NONE)


@pytest.mark.parametrize(
    "name",
    [
        *("audit/3.jsonl", "audit/000000000/3.jsonl", "audit/other/000000000001.jsonl"),
        *("audit/000000000/000000000000.jsonl", "audit/notes.jsonl", "audit/000000000001.txt"),
    ],
)
def test_an_object_that_only_looks_like_the_trails_shows(
    trail: AuditTrail, store: Store, name: str
) -> None:
    filled(trail, 2)
    store.put(name, object_of(store, 2), "text/plain")
    assert trail.inspect() == Inspection(2, None, NONE, foreign=1)
    assert not trail.inspect().whole


def test_lines_that_change_places_show(trail: AuditTrail, store: Store) -> None:
    filled(trail)
    second, third = object_of(store, 2), object_of(store, 3)
    store.put(keys.audit(2), third, "text/plain")
    store.put(keys.audit(3), second, "text/plain")
    assert trail.inspect().broken_at == 2


def test_a_missing_end_shows_by_a_receipt_for_one_of_its_lines(
    trail: AuditTrail, store: Store
) -> None:
    hashes = filled(trail)
    assert trail.inspect(hashes).whole
    store.delete(keys.audit(5))
    assert trail.inspect() == Inspection(4, None, NONE)
    assert trail.inspect(hashes) == Inspection(4, None, frozenset(hashes[4:]))
    assert not trail.inspect(hashes).whole


def test_a_trail_that_is_written_anew_shows_by_a_receipt(trail: AuditTrail, store: Store) -> None:
    hashes = filled(trail)
    for number in range(1, 6):
        store.delete(keys.audit(number))
    anew = AuditTrail(store)
    filled(anew)
    assert anew.inspect().whole
    assert anew.inspect(hashes).unknown == frozenset(hashes)


def test_foreign_files_in_the_folder_do_no_harm(trail: AuditTrail, store: Store) -> None:
    filled(trail)
    store.put("audit/readme.txt", b"", "text/plain")
    assert trail.inspect().whole


@pytest.mark.parametrize(
    ("job_id", "actor"),
    [
        ("Straße 1.jpg", "api"),
        ("", "api"),
        ("0d9f9f0e", "Anna Muster"),
        ("0d9f9f0e", "anna@example.org"),
        ("0d9f9f0e", "192.0.2.7"),
        ("0d9f9f0e", "a" * 41),
        ("0d9f9f0e\n", "api"),
    ],
)
def test_nothing_personal_gets_into_the_trail(job_id: str, actor: str) -> None:
    with pytest.raises(ValueError, match="plain word") as error:
        Event(Action.ORIGINAL_READ, job_id, actor)
    assert not job_id or job_id not in str(error.value)
    assert actor == "api" or actor not in str(error.value)


# Receipts


def receipt(audit: str = BEGINNING) -> DeletionReceipt:
    return DeletionReceipt(
        job_id=str(uuid4()),
        time=utc_text(NOON),
        removed=("original", "result"),
        audit=audit,
        blurline="0.1.0",
        key_id=KEY.key_id,
    )


def test_a_receipt_comes_back_and_leads_to_its_line(trail: AuditTrail) -> None:
    hashes = filled(trail)
    issued = receipt(hashes[2])
    read = read_receipt(issue_receipt(issued, KEY), KEY.public)
    assert read == issued
    assert trail.inspect([read.audit]).whole


def test_any_flipped_byte_of_a_receipt_is_noticed() -> None:
    file = issue_receipt(receipt(), KEY)
    for place in range(len(file)):
        flipped = file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :]
        with pytest.raises(NotProvedError):
            read_receipt(flipped, KEY.public)


def test_a_receipt_by_another_key_is_told_apart() -> None:
    other = SigningKey(Ed25519PrivateKey.generate())
    with pytest.raises(NotProvedError) as error:
        read_receipt(issue_receipt(receipt(), KEY), other.public)
    assert (error.value.finding, error.value.code) == (Finding.WRONG_KEY, "wrong_key")


def test_a_receipt_is_no_certificate() -> None:
    file = issue_receipt(receipt(), KEY)
    content = json.loads(file)
    content["certificate"] = content.pop("receipt")
    for attempt in (file, canonical(content)):
        assert verify(b"", attempt, KEY.public).finding is Finding.MALFORMED
