"""Files of keys, which may be changed while the service runs."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from blurline.errors import AccessUnavailableError, SettingsError

Content = TypeVar("Content")
Stamp = tuple[int, int, int, int]

log = logging.getLogger(__name__)


class WatchedFile(Generic[Content]):
    """What a file holds, read again as soon as it has changed. Threads may share one.

    A key that is taken out of its file is refused from the next request on. A file that can't be
    used any more lets nobody in: an older state of it might hold keys that were withdrawn.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], Content]) -> None:
        """Read the file.

        Args:
            parse: raises `SettingsError` with a message that quotes nothing of the content.

        Raises:
            SettingsError: the file can't be read or parsed.
        """
        self._path = path
        self._parse = parse
        self._seen = self._read()
        self._usable = True

    def value(self) -> Content:
        """What the file holds now.

        Raises:
            AccessUnavailableError: it can't be read or parsed; the log says why.
        """
        try:
            stamp, value = self._seen
            if _stamp(self._path.stat()) != stamp:
                self._seen = stamp, value = self._read()
        except (OSError, SettingsError) as error:
            if self._usable:
                log.error("nobody is let in by %s until it is in order: %s", self._path, error)
            self._usable = False
            raise AccessUnavailableError("who may come in can't be told at the moment") from error
        self._usable = True
        return value

    def _read(self) -> tuple[Stamp, Content]:
        try:
            with self._path.open("rb") as file:
                stamp, content = _stamp(os.fstat(file.fileno())), file.read()
        except OSError as error:
            raise SettingsError(f"{self._path}: {error.strerror or 'not readable'}") from error
        try:
            return stamp, self._parse(content)
        except SettingsError as error:
            raise SettingsError(f"{self._path}: {error.message}") from error


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
