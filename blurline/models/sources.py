"""Where a network's file can come from, besides wheels."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

from blurline.errors import ModelError
from blurline.models.wheels import sha256


class Source(Protocol):
    """A file that may have to be fetched into a cache folder first."""

    def path_in(self, folder: Path) -> Path:
        """Where the file lies once it is here."""

    def is_here(self, folder: Path) -> bool:
        """Whether the file is here and is what it should be."""

    def pull(self, folder: Path) -> Path:
        """The file, fetched if need be.

        Raises:
            ModelError: it can't be had, or is not what it should be.
        """


@dataclass(frozen=True, slots=True)
class PackageFile:
    """Weights of the project's own that lie in the package: their name, and their sha256 in hex."""

    name: str
    sha256: str

    def path_in(self, folder: Path) -> Path:
        """Its place in the installed package; the cache folder does not matter."""
        return Path(str(resources.files("blurline.models"))) / "weights" / self.name

    def is_here(self, folder: Path) -> bool:
        """Whether the installed file is whole and unchanged."""
        path = self.path_in(folder)
        return path.is_file() and sha256(path.read_bytes()) == self.sha256

    def pull(self, folder: Path) -> Path:
        """The installed file.

        Raises:
            ModelError: the installation is damaged.
        """
        if not self.is_here(folder):
            raise ModelError(f"{self.name} is missing or changed: install blurline again")
        return self.path_in(folder)


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file that a user named by its path."""

    path: Path

    def path_in(self, folder: Path) -> Path:
        """The path itself."""
        return self.path

    def is_here(self, folder: Path) -> bool:
        """Whether there is such a file."""
        return self.path.is_file()

    def pull(self, folder: Path) -> Path:
        """The path itself.

        Raises:
            ModelError: there is no such file.
        """
        if not self.is_here(folder):
            raise ModelError(f"there is no file {self.path.name}")
        return self.path
