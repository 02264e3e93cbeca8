"""The journal in a folder of results: of which picture and how each one was made."""

import errno
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blurline.cli.walk import JOURNAL, OWN_PREFIX
from blurline.errors import BlurlineError

FORMAT = 1
"""Version of the journal's lines."""

PART_PREFIX = f"{OWN_PREFIX}-part-"
"""How the names of files begin that are not results yet."""


class FolderError(BlurlineError):
    """The folder of results can't be used, or not any longer; what is in it stays."""

    code = "folder_error"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a result.

    Attributes:
        source: digest of the picture's path, which itself may tell of people.
        made_from: digest of the picture's content and of all that decides what becomes of it.
        sha256: of the result, in hex.
    """

    source: str
    made_from: str
    sha256: str


class Journal:
    """Lines of JSON in `.blurline.jsonl`, one for each result that was about to be written.

    The line comes before the file: whenever a process is killed, a file of ours without a line
    can't be, and a line without its file only means that the work is to be done. The last line of a
    result counts, and one that was cut off does not. While it is open the folder is ours alone.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder's journal, or make folder and journal.

        Raises:
            FolderError: the folder can't be written to, another process writes results there, or
                the journal is of a later version.
        """
        self.folder = folder
        self._lock = threading.Lock()
        path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            raise FolderError(f"{folder}: {error.strerror or 'not to be written to'}") from error
        try:
            self._lock_folder()
            content = path.read_bytes()
            self._entries = dict(_lines(content, path))
        except BaseException:
            os.close(self._descriptor)
            raise
        self._is_torn = not content.endswith(b"\n") and bool(content)

    def _lock_folder(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderError(f"another blurline is writing results into {self.folder}") from error
        except OSError:
            pass  # a file system without locks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def entry(self, result: Path) -> Entry | None:
        """What is known of a result in the folder; None if we have not written one there."""
        with self._lock:
            return self._entries.get(self._name(result))

    def add(self, result: Path, entry: Entry) -> None:
        """Note a result that is about to be written.

        Raises:
            OSError: the line can't be written.
        """
        name = self._name(result)
        line = json.dumps({"format": FORMAT, "result": name, **asdict(entry)}).encode() + b"\n"
        with self._lock:
            line = b"\n" + line if self._is_torn else line
            self._is_torn = True
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._is_torn = False
            self._entries[name] = entry

    def sweep(self, results: Iterable[Path]) -> None:
        """Remove what killed processes have left half-written beside these results."""
        for folder in {result.parent for result in results}:
            with suppress(OSError):
                for name in os.listdir(folder):  # noqa: PTH208 - a name in a hundred is looked at
                    if name.startswith(PART_PREFIX):
                        (folder / name).unlink()

    def _name(self, result: Path) -> str:
        return result.relative_to(self.folder).as_posix()


def digest(*parts: bytes) -> str:
    """One digest of several texts, in hex; where they are cut counts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


def _lines(content: bytes, path: Path) -> Iterable[tuple[str, Entry]]:
    for line in content.split(b"\n"):
        try:
            found: Any = json.loads(line)
            known = found["format"]
        except (ValueError, TypeError, KeyError):
            continue  # cut off by whoever killed us
        if known != FORMAT:
            raise FolderError(f"{path} was written by a later version of blurline")
        with suppress(TypeError, KeyError):
            yield found["result"], Entry(found["source"], found["made_from"], found["sha256"])
