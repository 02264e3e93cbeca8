"""A folder looked through for pictures: what they are by their content, and what is left out."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from blurline.errors import PictureError
from blurline.imaging.header import sniff
from blurline.imaging.kind import Kind

KIND_OF_ENDING = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo"), Kind.JPEG),
    **dict.fromkeys((".png", ".apng"), Kind.PNG),
    ".webp": Kind.WEBP,
    **dict.fromkeys((".bmp", ".dib"), Kind.BMP),
    **dict.fromkeys((".tif", ".tiff"), Kind.TIFF),
    ".gif": Kind.GIF,
    **dict.fromkeys((".avif", ".avifs"), Kind.AVIF),
    **dict.fromkeys((".heic", ".heif", ".hif"), Kind.HEIC),
}
"""What an ending, in lower case, says of a file; its content may say otherwise."""

HEAD_BYTES = 4096
"""Of a file, by which it is told whether it is a picture."""

OWN_PREFIX = ".blurline"
"""How the names of files begin that we write beside results."""

JOURNAL = f"{OWN_PREFIX}.jsonl"
"""The file that makes a folder one of results; see `Journal`."""

COMPANION_FOLDERS = frozenset(
    (
        "__macosx",
        ".appledouble",
        ".appledb",
        ".appledesktop",
        ".documentrevisions-v100",
        ".fseventsd",
        ".spotlight-v100",
        ".temporaryitems",
        ".trashes",
        ".thumbnails",
        ".@__thumb",
        "@eadir",
        "@recycle",
        "#recycle",
        "$recycle.bin",
        "lost+found",
        "network trash folder",
        "system volume information",
    )
)
"""Folders in which systems and NAS keep what they made of pictures or were told to throw away."""

COMPANION_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r"))
APPLE_DOUBLE = (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")
"""How the files begin in which macOS keeps what other file systems have no place for (RFC 1740)."""

APPLE_PREFIX = "._"


class LeftOut(StrEnum):
    """Why something in the folder is not treated, in the words of the summary."""

    NO_PICTURE = "no pictures"
    OTHER_KIND = "kinds that are not read"
    COMPANION = "companions of other files"
    RESULTS = "folders of results"
    REPEATED = "linked folders that are looked through anyway"
    NOWHERE = "links that lead nowhere"
    NO_FILE = "pipes, sockets or devices"
    GONE = "gone meanwhile"


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to be treated, and its kind by its first bytes.

    The kind is None where only the ending says that it is a picture, which then fails and is told.
    """

    path: Path
    kind: Kind | None


@dataclass(slots=True)
class Walk:
    """What lies in a folder and below it.

    Attributes:
        pictures: by name.
        left_out: what is not treated, by reason.
        unreadable: what might hold pictures and can't be read, with what the system says.
    """

    pictures: list[Picture] = field(default_factory=list)
    left_out: dict[LeftOut, list[Path]] = field(default_factory=dict)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def leave_out(self, reason: LeftOut, path: str | Path) -> None:
        """Count the path under the reason."""
        self.left_out.setdefault(reason, []).append(Path(path))


def walk(source: Path, results: Path | None = None) -> Walk:
    """Look through the folder.

    Every file counts by its content, whatever its name. Links are followed; a folder that several
    ways lead to is looked through once, under its own name if it has one here. Only files are
    opened: no pipe, socket or device.

    Args:
        results: a folder that is left out, as is every one that holds a journal.
    """
    found, root = Walk(), os.fspath(source)
    left_out = _identity(results) if results and results.is_dir() else None
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            identity, entries = _identity(folder), _entries(folder)
        except OSError as error:
            found.unreadable.append((Path(folder), error.strerror or "not readable"))
            continue
        has_journal = any(entry.name == JOURNAL for entry in entries)
        if folder != root and (identity == left_out or has_journal):
            found.leave_out(LeftOut.RESULTS, folder)
        elif identity in seen:
            found.leave_out(LeftOut.REPEATED, folder)
        else:
            seen.add(identity)
            below = list(_folders_in(entries, found))
            folders += (entry.path for entry in reversed(below) if not entry.is_symlink())
            links += (entry.path for entry in below if entry.is_symlink())
    found.pictures.sort(key=lambda picture: picture.path.parts)
    return found


def pictures_in(source: Path) -> list[Path]:
    """The file itself, or the pictures in the folder and below it, by name.

    Raises:
        PictureError: there is no such file, or no picture in the folder.
    """
    if source.is_dir():
        found = walk(source)
        check_found(found, source)
        return [picture.path for picture in found.pictures]
    check_file(source)
    return [source]


def check_file(source: Path) -> None:
    """Return if it is a file.

    Raises:
        PictureError: it is none.
    """
    if not source.exists():
        raise PictureError(f"there is no file or folder {source}", code="no_file")
    if not source.is_file():
        raise PictureError(f"{source} is neither a file nor a folder", code="no_file")


def check_found(found: Walk, source: Path) -> None:
    """Return if there is anything to treat in the folder.

    Raises:
        PictureError: there is not; what lies there is said.
    """
    if not found.pictures:
        kinds = ", ".join(sorted(KIND_OF_ENDING))
        left_out = f"; left out: {counted(found.left_out)}" if found.left_out else ""
        unreadable = "".join(f"; {path}: {said}" for path, said in found.unreadable[:1])
        raise PictureError(
            f"there are no pictures in {source}, by their content or ending ({kinds})"
            f"{left_out}{unreadable}",
            code="no_file",
        )


def counted(left_out: dict[LeftOut, list[Path]]) -> str:
    """How many are left out for which reason.

    >>> counted({LeftOut.NO_PICTURE: [Path("a.txt"), Path("b.txt")]})
    '2 (no pictures)'
    """
    return ", ".join(f"{len(paths)} ({reason})" for reason, paths in sorted(left_out.items()))


def _folders_in(entries: list[os.DirEntry[str]], found: Walk) -> Iterator[os.DirEntry[str]]:
    """The folders among the entries that are to be looked through; files are judged at once."""
    for entry in entries:
        if entry.name.startswith(OWN_PREFIX):
            found.leave_out(LeftOut.COMPANION, entry.path)
            continue
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                found.unreadable.append((Path(entry.path), error.strerror or "not readable"))
                continue
            found.leave_out(LeftOut.NOWHERE if entry.is_symlink() else LeftOut.GONE, entry.path)
            continue
        if stat.S_ISDIR(mode):
            if entry.name.casefold() in COMPANION_FOLDERS:
                found.leave_out(LeftOut.COMPANION, entry.path)
            else:
                yield entry
        elif stat.S_ISREG(mode):
            _judge(entry, found)
        else:
            found.leave_out(LeftOut.NO_FILE, entry.path)


def _judge(entry: os.DirEntry[str], found: Walk) -> None:
    """A picture by its content, or else by its ending."""
    path = Path(entry.path)
    try:
        head = head_of(path)
    except FileNotFoundError:
        found.leave_out(LeftOut.GONE, path)
        return
    except OSError as error:
        found.unreadable.append((path, error.strerror or "not readable"))
        return
    try:
        found.pictures.append(Picture(path, sniff(head)))
    except PictureError as error:
        if _is_companion(entry.name, head):
            found.leave_out(LeftOut.COMPANION, path)
        elif path.suffix.lower() in KIND_OF_ENDING:
            found.pictures.append(Picture(path, None))
        else:
            other = error.code == "unsupported_kind"
            found.leave_out(LeftOut.OTHER_KIND if other else LeftOut.NO_PICTURE, path)


def head_of(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: it can't be read.
    """
    # A pipe in its place, put there a moment ago, must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)


def _is_companion(name: str, head: bytes) -> bool:
    by_name = name.startswith(APPLE_PREFIX) or name.casefold() in COMPANION_FILES
    return by_name or head.startswith(APPLE_DOUBLE)


def _identity(folder: str | Path) -> tuple[int, int]:
    found = Path(folder).stat()
    return found.st_dev, found.st_ino


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
