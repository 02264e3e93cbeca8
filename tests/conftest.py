"""Fixtures: one service for all tests that only use it, own parts for those that break it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from blurline.access.jwks import UrlKeys
from blurline.access.tokens import Tokens
from blurline.cli import main as command_line
from blurline.cli.demo import SAMPLES
from blurline.imaging.encode import encode
from blurline.imaging.kind import Kind
from blurline.inference.detector import Detector
from blurline.models import load as loading
from blurline.models.catalogue import Model, catalogue
from blurline.models.export import Exported
from blurline.models.load import Inference
from blurline.settings import Settings, load_settings
from blurline.stack.stack import Stack, running_stack
from tests.callers import CALLERS, House, key_settings
from tests.commands import Cli, Ended
from tests.data_folder import DataFolder
from tests.issuer import ASYMMETRIC, AUDIENCE, ISSUER, Issuer, issuing
from tests.parts import (
    DATA,
    TLS,
    S3Server,
    Start,
    Taking,
    ValkeyServer,
    drawing,
    serving,
    settings_for,
)
from tests.plays import Play

SERVICE = Path(__file__).parent / "service"
KEPT = ("MODEL_DIR", "INFERENCE_PRECISION")
LONGEST = (
    "worker/test_processes",
    "test_faults",
    "cli/test_demo",
    "cli/test_evaluate",
    "cli/test_folders",
    "cli/test_redact",
    "cli/test_up",
    "test_leaks_in_logs",
    "test_hostile_files",
    "test_privacy",
    "test_quality",
    "test_stored",
)
"""Files that take longest. They go first, so that none of them runs alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest = [SERVICE / f"{name}.py" for name in LONGEST]
    items.sort(key=lambda item: item.path not in longest)


@pytest.fixture(scope="session", autouse=True)
def only_our_settings() -> Iterator[None]:
    """No test sees the settings or the cloud credentials of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            if name.upper() not in KEPT:
                patch.delenv(name.upper(), raising=False)
        for name in ("PIPELINE_CONFIG", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def networks() -> None:
    """Every network of the catalogue that needs no PyTorch, fetched once into the cache."""
    for model in catalogue().values():
        if not isinstance(model.source, Exported):
            model.source.pull(load_settings().model_dir)


@pytest.fixture(scope="session", autouse=True)
def each_network_is_loaded_once() -> Iterator[None]:
    """Tests share the networks that `load_detectors` gives them, as the threads of a worker do.

    Loading itself is tried by `tests/service/models`, by `load_detector`.
    """
    load, kept = loading.load_detector, dict[tuple[str, Inference], Detector]()

    def load_once(model: Model, inference: Inference) -> Detector:
        key = model.name, inference
        if key not in kept:
            kept[key] = load(model, inference)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_detector", load_once)
        yield


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    return load_settings().model_dir.parent / "samples"


@pytest.fixture(scope="session")
def bus(sample_folder: Path) -> bytes:
    """A street with a bus and people; portrait, 810 x 1080."""
    return SAMPLES[0].pull(sample_folder).read_bytes()


@pytest.fixture(scope="session")
def zidane(sample_folder: Path) -> bytes:
    """Two large faces; 1280 x 720."""
    return SAMPLES[1].pull(sample_folder).read_bytes()


@pytest.fixture(scope="session")
def small_jpeg() -> bytes:
    """A picture of 320 x 240 with nobody in it."""
    return encode(drawing(), Kind.JPEG, 90)


@pytest.fixture(scope="session")
def large_jpeg() -> bytes:
    """A picture that keeps a worker busy for long enough to be met at work."""
    return encode(drawing(4000, 3000), Kind.JPEG, 90)


@pytest.fixture(scope="session")
def data() -> Path:
    """The labelled photos beside the checkout."""
    if not DATA.is_dir():
        pytest.skip("the labelled photos are not beside this checkout (../shared/data)")
    return DATA


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """The data folder of the whole service."""
    return DataFolder(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def stack(data_folder: DataFolder) -> Iterator[Stack]:
    """The whole service, as `blurline up` runs it. Tests leave it as they found it."""
    settings = load_settings(port=0, data_dir=data_folder.path)
    with running_stack(settings, {"WORKER_THREADS": "2"}) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """An HTTP client of the whole service."""
    with httpx.Client(base_url=stack.url, timeout=60, verify=TLS) as client:
        yield client


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_valkey: ValkeyServer) -> str:
    """A queue server of this test's own contents; the test must not kill it."""
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey.url


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A queue server that the test may kill."""
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server that the test may stop."""
    server = S3Server(tmp_path / "s3")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def idle_client(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """Clients of APIs with settings of one's own, without a worker."""
    with ExitStack() as cleanup:

        def start(**settings: Any) -> httpx.Client:
            return cleanup.enter_context(serving(settings_for(redis_url, tmp_path, **settings)))

        yield start


@pytest.fixture
def idle_folder(tmp_path: Path) -> DataFolder:
    """The data folder of the services that `idle_client` starts."""
    return DataFolder(tmp_path)


@pytest.fixture
def house(redis_url: str, tmp_path: Path) -> Iterator[House]:
    granted, path = key_settings(tmp_path, CALLERS)
    settings = settings_for(redis_url, tmp_path, api_keys_file=path)
    with serving(settings) as client:
        yield House(client, settings, granted)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer with a key for each algorithm, under the algorithm's name."""
    with issuing() as issuer:
        for algorithm in ASYMMETRIC:
            issuer.add(algorithm, algorithm)
        yield issuer


@pytest.fixture
def tokens(issuer: Issuer) -> Tokens:
    return Tokens(UrlKeys(issuer.url), ISSUER, AUDIENCE)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One for all tests of a file, which find its credentials where boto3 looks for them.

    Who stops it starts it again.
    """
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, server.environment[name])
        yield server
    server.stop()


@pytest.fixture
def forget(stack: Stack) -> Iterator[Callable[[str], None]]:
    """Makes the service's Redis forget a job, as it does by itself after some time."""
    with Redis.from_url(stack.redis_url) as redis:

        def delete(job_id: str) -> None:
            keys = list(redis.scan_iter(f"*{job_id}*"))
            assert keys
            redis.delete(*keys)

        yield delete


@pytest.fixture(scope="session")
def taking(
    shared_valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Taking]:
    """One API without a worker for all tests that only knock at its door."""
    folder = tmp_path_factory.mktemp("taking")
    settings = settings_for(shared_valkey.url, folder, queue_name="taking", max_batch_files=3)
    with serving(settings) as client, shared_valkey.client() as redis:
        yield Taking(client, folder / "store", redis, "taking")


@pytest.fixture
def refusing(taking: Taking) -> Iterator[httpx.Client]:
    """A client whose requests must leave store and queue as they were."""
    before = taking.holds()
    yield taking.client
    assert taking.holds() == before


@pytest.fixture
def full_redis(shared_valkey: ValkeyServer) -> Iterator[Callable[[], None]]:
    """Makes the queue server refuse to write, which it does when its memory is full."""
    with shared_valkey.client() as redis:
        yield lambda: redis.config_set("maxmemory", 1)
        redis.config_set("maxmemory", 0)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command in this process; an exception that it lets out fails the test."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["blurline", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        said = capsys.readouterr()
        code = end.value.code
        assert code is None or isinstance(code, int)
        return Ended(code or 0, said.out, said.err)

    return run


@pytest.fixture
def playing(redis_url: str, tmp_path: Path) -> Callable[..., Play]:
    """Plays with the given stages and settings."""
    return lambda *stages, **settings: Play(settings_for(redis_url, tmp_path, **settings), *stages)
