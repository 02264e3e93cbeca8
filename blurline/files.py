"""Files that are written whole, and folders and files that are for their owner alone."""

import stat
from pathlib import Path
from secrets import token_hex

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077
"""What group and everybody may do with a file (`man 2 chmod`)."""


def write_whole(path: Path, content: bytes, *, prefix: str = ".") -> None:
    """Write the file, and its folder if need be; nobody ever sees half of it.

    A process that is killed meanwhile leaves a file beside it whose name begins with `prefix`. Who
    may read the file is what the umask of the process says, as of any file that a user makes.
    """
    _make_folders(path.parent)
    half = path.with_name(f"{prefix}{token_hex(8)}")
    try:
        # The kernel applies the umask. To ask for it is to change it, for all threads.
        with half.open("xb") as file:
            file.write(content)
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def _make_folders(folder: Path) -> None:
    """Make the folder and those above it, of which there may be more than Python may recurse."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)


def private_folder(path: Path) -> None:
    """Make the folder, and those above it, if they are missing; new ones are for us alone."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def shut(path: Path) -> bool:
    """Leave file or folder to its owner alone; whether others had rights. Links are left as is.

    Raises:
        OSError: it is gone, or somebody else's.
    """
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode) or not mode & OTHERS:
        return False
    path.chmod(FOLDER_MODE if stat.S_ISDIR(mode) else FILE_MODE)
    return True
