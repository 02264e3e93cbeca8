"""Files of secret keys, made once by whoever comes first."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blurline.errors import SettingsError

FOLDER = "keys"
"""Folder below `DATA_DIR` for keys that nobody brought; the store has no business there."""


def read_key(path: Path) -> bytes:
    """The content of a key file that somebody named.

    Raises:
        SettingsError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; if there is no file, what `make` gives is written to it first.

    The file is for its owner alone (mode 0600). Of several processes that start at the same time
    one writes and all get what it wrote, whole: the file gets its name by a hard link, once it is
    on the disk.

    Raises:
        SettingsError: the file can't be read or written.
    """
    try:
        if not path.exists():
            _make(path, make())
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error


def _make(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(file.name)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Without it a power cut could leave pictures behind whose key was never on the disk.
        os.fsync(folder)
    finally:
        os.close(folder)


def _unusable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"the key file {path}: {error.strerror or 'not usable'}")
