"""Results go out in pieces, whole or in part, to those who read, under names that harm nobody."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from blurline.api import download, originals, wire
from blurline.api.download import PIECE_BYTES, called
from blurline.imaging.kind import Kind
from blurline.jobs.job import JobSpec
from blurline.jobs.records import open_records
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.objects import open_store
from tests.callers import House, bearer
from tests.originals import vault_in
from tests.parts import (
    PATIENCE,
    Taking,
    done,
    eventually,
    job_spec,
    needs_s3,
    refusal,
    serving,
    settings_for,
)
from tests.service.test_faults import on_s3
from tests.sockets import connection, head, heard, statuses

LARGE = 20_000_000


def planted(settings: Settings, picture: bytes, **others: Any) -> JobSpec:
    """A job that has ended with this result."""
    store, spec = open_store(settings), job_spec(**others)
    store.put(keys.processed(spec.job_id, spec.kind), picture, spec.kind.written.content_type)
    store.put(keys.certificate(spec.job_id), b'{"a": 1}', "application/json")
    assert open_records(settings, store).commit(done(spec, time.time()))
    return spec


@pytest.fixture(scope="module", params=["folder", pytest.param("s3", marks=needs_s3)])
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_valkey: Any
) -> Iterator[tuple[httpx.Client, Settings]]:
    """A service without a worker, on each kind of store, and its settings."""
    folder = tmp_path_factory.mktemp("kept")
    others = {}
    if request.param == "s3":
        others = on_s3(request.getfixturevalue("s3_server"), folder / "shared")
    settings = settings_for(shared_valkey.url, folder, queue_name="kept", **others)
    with serving(settings) as client:
        yield client, settings


PICTURE = os.urandom(2 * PIECE_BYTES + 1000)
SIZE = len(PICTURE)


@pytest.fixture(scope="module")
def path(kept: tuple[httpx.Client, Settings]) -> str:
    _, settings = kept
    return f"/result/{planted(settings, PICTURE).job_id}"


def test_a_result_is_handed_out_whole_with_what_lets_it_be_kept_and_gone_on_with(
    kept: tuple[httpx.Client, Settings], path: str
) -> None:
    answer = kept[0].get(path)
    assert answer.status_code == 200
    assert answer.content == PICTURE
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["ETag"].startswith('"')
    assert answer.headers["Accept-Ranges"] == "bytes"
    # A deleted result must not live on in a cache that others share, nor unasked in one's own.
    assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("Bytes=100-199", 100, 199),
        ("bytes=100-", 100, SIZE - 1),
        ("bytes=-100", SIZE - 100, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
        (f"bytes={PIECE_BYTES - 5}-{PIECE_BYTES + 5}", PIECE_BYTES - 5, PIECE_BYTES + 5),
        (f"bytes={SIZE - 1}-{'9' * 40}", SIZE - 1, SIZE - 1),
        ("bytes=0-", 0, SIZE - 1),
    ],
)
def test_a_part_is_handed_out_alone(
    kept: tuple[httpx.Client, Settings], path: str, asked: str, first: int, last: int
) -> None:
    answer = kept[0].get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == PICTURE[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"


@pytest.mark.parametrize(
    "asked", [f"bytes={SIZE}-", "bytes=-0", f"bytes={'9' * 40}-", "bytes=9999999-9999999"]
)
def test_bytes_that_there_are_not_are_answered_416(
    kept: tuple[httpx.Client, Settings], path: str, asked: str
) -> None:
    answer = kept[0].get(path, headers={"Range": asked})
    assert refusal(answer) == (416, "bad_range")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=5-1",
        "bytes=a-b",
        "bytes=-",
        "lines=0-1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=²-",
    ],
)
def test_what_is_no_single_range_is_answered_whole(
    kept: tuple[httpx.Client, Settings], path: str, asked: str
) -> None:
    answer = kept[0].get(path, headers={"Range": asked.encode()})
    assert (answer.status_code, answer.content) == (200, PICTURE)


def test_who_has_it_is_told_so(kept: tuple[httpx.Client, Settings], path: str) -> None:
    client = kept[0]
    tag = client.get(path).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(path, headers={"If-None-Match": known, "Range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == tag
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert client.head(path, headers={"If-None-Match": known}).status_code == 304
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_of_a_deleted_result_nobody_is_told_that_it_is_still_the_same(
    kept: tuple[httpx.Client, Settings],
) -> None:
    client, settings = kept
    path = f"/result/{(spec := planted(settings, b'x')).job_id}"
    known = {"If-None-Match": client.get(path).headers["ETag"]}
    assert client.get(path, headers=known).status_code == 304
    assert client.delete(f"/jobs/{spec.job_id}").status_code == 200
    assert refusal(client.get(path, headers=known)) == (404, "not_found")


def test_a_part_of_another_one_is_not_handed_out(
    kept: tuple[httpx.Client, Settings], path: str
) -> None:
    client = kept[0]
    tag, part = client.get(path).headers["ETag"], {"Range": "bytes=5-9"}
    assert client.get(path, headers={**part, "If-Range": tag}).content == PICTURE[5:10]
    for other in ('"other"', f"W/{tag}", "Mon, 30 Nov 2026 00:00:00 GMT"):
        assert client.get(path, headers={**part, "If-Range": other}).content == PICTURE
    assert client.get(path, headers={**part, "If-Match": tag}).status_code == 206
    for other in ('"other"', f"W/{tag}"):
        answer = client.get(path, headers={**part, "If-Match": other})
        assert refusal(answer) == (412, "precondition_failed")


def test_head_says_what_there_is_and_fetches_nothing(
    kept: tuple[httpx.Client, Settings], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = kept[0]
    whole = client.get(path)
    monkeypatch.setattr(type(open_store(kept[1])), "part", None)
    told = client.head(path, headers={"Range": "bytes=0-1"})
    assert (told.status_code, told.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Content-Disposition", "Accept-Ranges"):
        assert told.headers[name] == whole.headers[name]


def test_a_download_that_broke_off_goes_on(kept: tuple[httpx.Client, Settings], path: str) -> None:
    client = kept[0]
    with client.stream("GET", path) as answer:
        tag, begun = answer.headers["ETag"], next(answer.iter_raw(100_000))
    rest = client.get(path, headers={"Range": f"bytes={len(begun)}-", "If-Range": tag})
    assert rest.status_code == 206
    assert begun + rest.content == PICTURE


def test_a_certificate_is_handed_out_as_results_are(
    kept: tuple[httpx.Client, Settings], path: str
) -> None:
    client, certificate = kept[0], path.replace("result", "certificate")
    answer = client.get(certificate)
    assert answer.content == b'{"a": 1}'
    assert (
        "filename*=UTF-8''Stra%C3%9Fe%201.certificate.json" in answer.headers["Content-Disposition"]
    )
    known = {"If-None-Match": answer.headers["ETag"]}
    assert client.get(certificate, headers=known).status_code == 304


@pytest.mark.parametrize("change", ["delete", "put"])
def test_pieces_of_two_results_are_never_mixed(
    kept: tuple[httpx.Client, Settings], change: str
) -> None:
    client, settings = kept
    spec = planted(settings, os.urandom(LARGE))
    store, key = open_store(settings), keys.processed(spec.job_id, spec.kind)
    with connection(client) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        caller.sendall(head(f"GET /result/{spec.job_id}", "Connection: close"))
        begun = caller.recv(1000)
        assert statuses(begun) == [200]
        store.delete(key)
        if change == "put":
            store.put(key, bytes(LARGE), "image/jpeg")
        said = begun + heard(caller)
    assert len(said) < LARGE
    assert bytes(PIECE_BYTES) not in said


NAMES = {
    "photo.jpg": 'inline; filename="photo.jpg"',
    "photo.JPEG": 'inline; filename="photo.jpg"',
    "a.b.png": 'inline; filename="a.b.jpg"',
    "Straße 1.jpg": "inline; filename=\"Strae 1.jpg\"; filename*=UTF-8''Stra%C3%9Fe%201.jpg",
    "写真.heic": "inline; filename=\"picture.jpg\"; filename*=UTF-8''%E5%86%99%E7%9C%9F.jpg",
    'a"b;c\\d.jpg': 'inline; filename="d.jpg"',
    'a";x="y.jpg': 'inline; filename="a__x=_y.jpg"',
    "a\r\nSet-Cookie: x.jpg": 'inline; filename="aSet-Cookie_ x.jpg"',
    "../../etc/passwd": 'inline; filename="passwd.jpg"',
    "..": 'inline; filename="picture.jpg"',
    ".jpg": 'inline; filename="jpg.jpg"',
    "": 'inline; filename="picture.jpg"',
    "invoice\u202egpj.exe": 'inline; filename="invoicegpj.jpg"',
    "100%.png": 'inline; filename="100_.jpg"',
    "%2e%2e%2fa.jpg": 'inline; filename="_2e_2e_2fa.jpg"',
}


@pytest.mark.parametrize("name", NAMES)
def test_a_result_has_a_name_that_is_safe_where_it_is_kept(
    kept: tuple[httpx.Client, Settings], name: str
) -> None:
    spec = planted(kept[1], b"x", filename=name)
    answer = kept[0].head(f"/result/{spec.job_id}")
    assert answer.headers["Content-Disposition"] == NAMES[name]


def test_a_name_ends_as_its_kind_does_and_is_not_too_long() -> None:
    assert called("a.gif", Kind.GIF.written.extension) == "a.png"
    assert len(called("ß" * 5000 + ".jpg", "jpg").encode()) <= 255


def test_who_knows_the_tag_of_anothers_result_is_told_nothing(house: House) -> None:
    spec = planted(house.settings, b"x", owner="key-alice")
    path = f"/result/{spec.job_id}"
    tag = house.get(path, "alice").headers["ETag"]
    for headers in ({"If-None-Match": tag}, {"Range": "bytes=0-0"}, {"If-Match": '"x"'}):
        answer = house.client.get(path, headers={**headers, **bearer(house.keys["bob"])})
        assert refusal(answer) == (404, "not_found")
        assert house.client.head(path, headers=bearer(house.keys["bob"])).status_code == 404


def reader(client: httpx.Client) -> socket.socket:
    """A connection whose other side soon has to keep what it writes."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    caller.settimeout(PATIENCE)
    caller.connect((client.base_url.host, client.base_url.port))
    return caller


def asking(client: httpx.Client, path: str, *headers: str) -> socket.socket:
    """A reader that has asked and reads nothing yet."""
    caller = reader(client)
    caller.sendall(head(f"GET {path}", "Connection: close", *headers))
    return caller


def test_readers_that_do_not_read_hold_pieces_and_not_results(
    kept: tuple[httpx.Client, Settings],
) -> None:
    client, settings = kept
    path = f"/result/{planted(settings, os.urandom(LARGE)).job_id}"
    client.get(path)
    before = psutil.Process().memory_info().rss
    callers = [asking(client, path) for _ in range(20)]
    try:
        for caller in callers:
            assert statuses(caller.recv(2000)) == [200]
        time.sleep(0.3)  # so that what would be fetched is
        grown = psutil.Process().memory_info().rss - before
    finally:
        for caller in callers:
            caller.close()
    assert grown < 100_000_000


def test_a_reader_that_does_not_read_is_left(
    kept: tuple[httpx.Client, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "READ_SECONDS", 0.3)
    client, settings = kept
    path = f"/result/{planted(settings, os.urandom(LARGE)).job_id}"
    with asking(client, path) as caller:
        time.sleep(1.5)
        assert len(heard(caller)) < LARGE


def test_a_reader_that_is_slow_but_reads_gets_all(
    kept: tuple[httpx.Client, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "READ_SECONDS", 0.5)
    client, settings = kept
    path = f"/result/{planted(settings, os.urandom(LARGE // 4)).job_id}"
    got = 0
    with asking(client, path) as caller:
        while piece := caller.recv(100_000):
            got += len(piece)
            time.sleep(0.02)
    assert got > LARGE // 4


def test_an_original_is_handed_out_in_part_and_kept_by_nobody(
    house: House, small_jpeg: bytes
) -> None:
    job_id = house.treated(small_jpeg, "eve")
    path, headers = f"/original/{job_id}", bearer(house.keys["eve"])
    part = house.client.get(path, headers={**headers, "Range": "bytes=2-9"})
    assert (part.status_code, part.content) == (206, small_jpeg[2:10])
    assert part.headers["Cache-Control"] == "no-store"
    told = house.client.head(path, headers=headers)
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["Content-Length"] == str(len(small_jpeg))
    assert len(house.trail(job_id)) == 2, "each is noted"


def test_originals_are_in_memory_a_few_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PLACE_SECONDS", 0.2)
    spec = planted(house.settings, b"x", owner="key-eve")
    vault_in(house.settings.data_dir).put(spec.job_id, spec.kind, os.urandom(LARGE))
    path, key = f"/original/{spec.job_id}", f"Authorization: Bearer {house.keys['eve']}"
    held = []
    for _ in range(originals.IN_MEMORY):
        held.append(asking(house.client, path, key))
        assert statuses(held[-1].recv(2000)) == [200]
    answer = house.get(path, "eve")
    assert refusal(answer) == (503, "busy")
    assert int(answer.headers["Retry-After"]) > 0
    for caller in held:
        caller.close()
    monkeypatch.setattr(download, "PLACE_SECONDS", PATIENCE)
    with ThreadPoolExecutor(4) as pool:
        assert {a.status_code for a in pool.map(lambda _: house.get(path, "eve"), range(4))} == {
            200
        }


@pytest.mark.parametrize("reads", [True, False])
def test_a_direct_answer_goes_out_in_pieces_and_leaves_nothing_whoever_breaks_it_off(
    taking: Taking, small_jpeg: bytes, reads: bool
) -> None:
    """The worker's part is played here, so that the result is large."""
    form = b'--a\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
    body, before = form + small_jpeg + b"\r\n--a--\r\n", set(taking.holds()[1])
    headers = ("Content-Type: multipart/form-data; boundary=a", f"Content-Length: {len(body)}")
    settings = settings_for("", taking.store.parent)
    store, records = open_store(settings), open_records(settings, open_store(settings))
    with reader(taking.client) as caller:
        caller.sendall(head("POST /blur/", *headers, "Connection: close") + body)
        (job_id,) = eventually(lambda: set(taking.holds()[1]) - before, "it is queued")
        spec = job_spec(job_id=job_id)
        key, picture = keys.processed(job_id, spec.kind), os.urandom(LARGE)
        store.put(key, picture, "image/jpeg")
        assert records.commit(done(spec, 0.0, reports={"blur": {"regions": []}}))
        begun = caller.recv(1000)
        assert statuses(begun) == [200]
        assert store.look(key), "it is fetched while it is read"
        if reads:
            assert (begun + heard(caller)).partition(b"\r\n\r\n")[2] == picture
    eventually(lambda: store.look(key) is None, "it is removed")
