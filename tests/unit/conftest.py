"""Unit tests start no process and open no connection, but those that say so by their mark."""

import sys
import threading
from collections.abc import Iterator

import pytest

from blurline.imaging import turbojpeg

BARRED = {
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
}
"""Audit events of Python."""

done: list[str] = []
"""What the test that runs has done of it."""

others: set[int | None] | None = None
"""Threads of services that earlier tests left running; None where anybody may do anything."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event not in BARRED or others is None or threading.get_ident() in others:
        return
    if event == "socket.bind" and not isinstance(arguments[1], tuple):
        return  # a file in a folder, which nobody calls
    done.append(event)
    raise PermissionError(f"{event}: a unit test that must do this is marked `process`")


sys.addaudithook(_watch)


@pytest.fixture(scope="session")
def found_library(networks: None) -> None:
    """The system's TurboJPEG, which `ld` is asked for once in a process."""
    turbojpeg.library()


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, found_library: None) -> Iterator[None]:
    """Fails a test that starts a process or opens a connection, also if it bears the refusal."""
    global others
    if request.node.get_closest_marker("process"):
        yield
        return
    main = threading.main_thread().ident
    done.clear()
    others = {thread.ident for thread in threading.enumerate()} - {main}
    yield
    others = None
    assert not done, f"a unit test that must do this is marked `process`: {done}"
