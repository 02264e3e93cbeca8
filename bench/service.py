"""The whole service for one measurement, on a folder or on a real S3 server."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from bench.client import Client
from bench.meter import Meter
from bench.s3server import S3Server
from blurline.certificate import keyfile
from blurline.certificate.signing import load_signing_key
from blurline.errors import BlurlineError
from blurline.settings import Settings, load_settings
from blurline.stack.stack import Stack, running_stack
from blurline.storage.masterkeys import load_master_keys

GENERATOR = "load generator"
"""What the process that measures is called; its CPU is never counted as the service's."""


class StoreKind(StrEnum):
    """Where pictures are kept."""

    FOLDER = "folder"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: how to reach it, its settings, its processes."""

    stack: Stack
    settings: Settings
    environment: Mapping[str, str]
    meter: Meter

    def client(self) -> Client:
        """A new client of its API."""
        return Client(self.stack.url)


@contextmanager
def running_service(
    store: StoreKind = StoreKind.FOLDER, parent: Path | None = None, **overrides: Any
) -> Iterator[Service]:
    """Start the service in a temporary folder, as `blurline up` would; stop and remove it.

    Args:
        store: the kind of store.
        parent: where the temporary folder is made; the system's place without it.
        overrides: settings by field name.

    Raises:
        BlurlineError: a part did not start, or died meanwhile.
    """
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="blurline-bench-", dir=parent))
        )
        environment = {name.upper(): str(value) for name, value in overrides.items()}
        environment["LOG_LEVEL"] = "warning"
        server = None
        if store is StoreKind.S3:
            server = S3Server(folder / "s3")
            stack.callback(server.stop)
            server.start()
            environment |= server.environment | _shared_keys(folder)
        stack.enter_context(_environment(environment))
        settings = load_settings(port=0, data_dir=folder / "data")
        running = stack.enter_context(running_stack(settings, environment))
        meter = Meter(_processes(running, server))
        try:
            yield Service(running, settings, environment, meter)
        except BlurlineError as error:
            if dead := meter.dead():
                raise BlurlineError(f"{', '.join(dead)} died meanwhile; {error.message}") from error
            raise


def _shared_keys(folder: Path) -> dict[str, str]:
    """Keys for processes that may have no folder in common, as a shared store asks for."""
    load_master_keys(None, folder)
    load_signing_key(None, folder)
    keys = folder / keyfile.FOLDER
    return {
        "MASTER_KEY_FILE": str(keys / "master.key"),
        "SIGNING_KEY": str(keys / "signing.pem"),
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have this process see what its children see: it uses the same store and queue."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _processes(stack: Stack, server: S3Server | None) -> dict[str, psutil.Process]:
    ids = {"api": stack.api.pid}
    for number, worker in enumerate(stack.workers):
        ids["worker" if not number else f"worker {number + 1}"] = worker.pid
    if stack.queue is not None:
        ids["valkey"] = stack.queue.pid
    if server is not None and server.process is not None:
        ids["s3 server"] = server.process.pid
    ids[GENERATOR] = os.getpid()
    return {name: psutil.Process(pid) for name, pid in ids.items()}
