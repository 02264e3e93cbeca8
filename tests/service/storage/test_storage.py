"""What a store promises, kept by a folder and by a real S3 server alike."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest

from blurline.errors import SettingsError, StoreUnavailableError
from blurline.imaging.kind import Kind, OutputFormat
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.objects import open_store
from blurline.storage.store import Store
from tests.parts import S3Server, free_port

TEXT = "text/plain"
JOB = "0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11"

CALLS = {
    "get": lambda store: store.get("a/b"),
    "put": lambda store: store.put("a/b", b"new", TEXT),
    "create": lambda store: store.create("a/b", b"new", TEXT),
    "delete": lambda store: store.delete("a/b"),
    "check": lambda store: store.check(),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests here; none of them stops it."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3Server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3Server.SECRET)


def bucket(server: S3Server, **others: Any) -> Store:
    return open_store(load_settings(aws_endpoint_url=server.url, **others))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store(load_settings(data_dir=tmp_path))
    request.getfixturevalue("credentials")
    return bucket(request.getfixturevalue("server"), store_url=f"s3://photos/{uuid4()}")


def at_once(call: Callable[[int], Any], callers: int = 16) -> list[Any]:
    """The answers of many callers that all start at the same time."""
    barrier = Barrier(callers)

    def wait_and_call(number: int) -> Any:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(wait_and_call, range(callers)))


def test_what_a_cut_off_write_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store, folder = open_store(load_settings(data_dir=tmp_path)), tmp_path / "store"
    store.put("processed/ab/one.jpg", b"whole", "image/jpeg")
    cut_off, at_work = folder / "processed/ab/one.jpg#1", folder / "processed/ab/two.jpg#2"
    for path in (cut_off, at_work):
        path.write_bytes(b"half")
    before = datetime.now(UTC) - timedelta(hours=1)
    os.utime(cut_off, (0, 0))
    assert list(store.older("processed", datetime.now(UTC))) == ["processed/ab/one.jpg"]
    assert (store.tidy(before), store.tidy(before)) == (1, 0)
    assert not cut_off.exists()
    assert at_work.exists()
    assert store.get("processed/ab/one.jpg") == b"whole"


def test_what_was_put_comes_back(store: Store) -> None:
    data = bytes(range(256)) * 1000
    store.put("a/b", data, TEXT)
    assert store.get("a/b") == data


def test_a_missing_object_is_none(store: Store) -> None:
    assert store.get("a/b") is None


def test_a_put_replaces_what_was_there(store: Store) -> None:
    store.put("a/b", b"old", TEXT)
    store.put("a/b", b"new", TEXT)
    assert store.get("a/b") == b"new"


def test_a_create_keeps_what_was_there(store: Store) -> None:
    assert store.create("a/b", b"old", TEXT) is True
    assert store.create("a/b", b"new", TEXT) is False
    assert store.get("a/b") == b"old"


def test_a_deleted_object_is_gone(store: Store) -> None:
    store.put("a/b", b"old", TEXT)
    store.delete("a/b")
    assert store.get("a/b") is None


def test_what_is_not_there_can_be_deleted(store: Store) -> None:
    store.delete("a/b")


def test_a_store_that_answers_passes_its_check(store: Store) -> None:
    store.check()


def test_of_sixteen_creators_exactly_one_wins_and_its_bytes_stay(store: Store) -> None:
    won = at_once(lambda number: store.create("a/b", str(number).encode(), TEXT))
    assert won.count(True) == 1
    assert store.get("a/b") == str(won.index(True)).encode()


def test_a_half_written_object_is_never_seen(store: Store) -> None:
    size, done = 4_000_000, Event()
    versions = [bytes([digit]) * size for digit in range(2)]

    def look() -> int:
        looks = 0
        while not done.is_set():
            assert store.get("a/b") in (None, *versions)
            looks += 1
        return looks

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(look)
        try:
            for round_ in range(20):
                store.put("a/b", versions[round_ % 2], TEXT)
        finally:
            done.set()
        assert looking.result() > 0


@pytest.mark.parametrize(
    ("place", "root"),
    [
        ({"s3_bucket": "photos"}, "s3://photos"),
        ({"store_url": "s3://photos"}, "s3://photos"),
        ({"store_url": "s3://photos/street/2026/"}, "s3://photos/street/2026"),
    ],
    ids=["bucket", "url", "prefix"],
)
@pytest.mark.usefixtures("credentials")
def test_a_name_leads_to_the_object_in_the_bucket(
    server: S3Server, place: dict[str, str], root: str
) -> None:
    store, key = bucket(server, **place), f"original/{uuid4()}.jpg"
    store.put(key, b"picture", "image/jpeg")
    url = urlsplit(f"{root}/{key}")
    found = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1").get_object(
        Bucket=url.netloc, Key=url.path.lstrip("/")
    )
    assert (found["Body"].read(), found["ContentType"]) == (b"picture", "image/jpeg")


def test_a_folder_can_be_named_by_a_url(tmp_path: Path) -> None:
    folder = tmp_path / "my pictures"
    store = open_store(load_settings(store_url=folder.as_uri()))
    store.put("a/b", b"picture", TEXT)
    assert (folder / "a" / "b").read_bytes() == b"picture"


@every_call
def test_a_folder_that_is_gone_is_a_store_that_is_away(
    tmp_path: Path, call: Callable[[Store], Any]
) -> None:
    store = open_store(load_settings(data_dir=tmp_path))
    store.put("a/b", b"old", TEXT)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailableError):
        call(store)
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert store.get("a/b") == b"old"


@every_call
@pytest.mark.usefixtures("credentials")
def test_a_server_that_is_gone_is_a_store_that_is_away(call: Callable[[Store], Any]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    store = open_store(load_settings(s3_bucket="photos", aws_endpoint_url=nobody))
    with pytest.raises(StoreUnavailableError):
        call(store)


class NoBucket(BaseHTTPRequestHandler):
    """Amazon's answer for a bucket that is not there; the server used here makes one instead."""

    body = b"<Error><Code>NoSuchBucket</Code><BucketName>photos</BucketName></Error>"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_PUT = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("call", ["get", "put", "create", "check"])
@pytest.mark.usefixtures("credentials")
def test_a_missing_bucket_is_a_store_that_is_away(call: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), NoBucket) as amazon:
        thread = Thread(target=amazon.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{amazon.server_port}"
            store = open_store(load_settings(s3_bucket="photos", aws_endpoint_url=url))
            with pytest.raises(StoreUnavailableError):
                CALLS[call](store)
        finally:
            amazon.shutdown()
            thread.join()


@every_call
@pytest.mark.usefixtures("credentials")
def test_a_wrong_key_is_refused(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, call: Callable[[Store], Any]
) -> None:
    place = f"s3://photos/{uuid4()}"
    bucket(server, store_url=place).put("a/b", b"old", TEXT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(StoreUnavailableError):
        call(bucket(server, store_url=place))


def test_missing_credentials_are_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsError, match="set AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        open_store(load_settings(s3_bucket="photos"))


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/folder"])
def test_a_url_of_no_store_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="STORE_URL"):
        open_store(load_settings(store_url=url))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (keys.original(JOB, Kind.JPEG), f"original/0d/{JOB}.jpg"),
        (keys.original(JOB, Kind.GIF), f"original/0d/{JOB}.gif"),
        (keys.processed(JOB, Kind.TIFF), f"processed/0d/{JOB}.tif"),
        (keys.original(JOB, Kind.HEIC), f"original/0d/{JOB}.heic"),
        (keys.processed(JOB, Kind.GIF.written), f"processed/0d/{JOB}.png"),
        (keys.processed(JOB, OutputFormat.SAME.of(Kind.HEIC)), f"processed/0d/{JOB}.jpg"),
        (keys.processed(JOB, OutputFormat.WEBP.of(Kind.HEIC)), f"processed/0d/{JOB}.webp"),
        (keys.record(JOB), f"metadata/0d/{JOB}.json"),
        (keys.batch(JOB), f"metadata/batches/0d/{JOB}.json"),
    ],
)
def test_keys_are_as_documented(key: str, expected: str) -> None:
    assert key == expected
