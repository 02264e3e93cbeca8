"""`python -m bench install-size`: what a fresh install puts on the disk."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench.meter import MEGABYTE
from bench.report import RECIPE, console, publish
from blurline.errors import BlurlineError

ROOT = Path(__file__).parent.parent
SOURCES = ("blurline", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
LISTED = 12


def install_size(
    extra: Annotated[str, typer.Option(help="An extra to install as well, such as evaluate.")] = "",
) -> None:
    """Megabytes of site-packages after `pip install` into a fresh environment, and its largest.

    Needs what pip needs: a package index. The versions are those of constraints.txt. pip and
    setuptools, which the environment brings, are not counted.
    """
    with tempfile.TemporaryDirectory(prefix="blurline-bench-") as name:
        folder = Path(name)
        source, python = folder / "source", folder / "venv" / "bin" / "python"
        source.mkdir()
        for part in SOURCES:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, source / part)
        with console.status("pip install into a fresh environment"):
            _run([sys.executable, "-m", "venv", str(folder / "venv")])
            place = _site_packages(python)
            before = set(place.iterdir())
            wanted = f"{source}[{extra}]" if extra else str(source)
            constraints = str(source / "constraints.txt")
            _run([str(python), "-m", "pip", "install", "--quiet", "-c", constraints, wanted])
        sizes = {path.name: size_of(path) for path in place.iterdir() if path not in before}
        largest = sorted(sizes, key=lambda name: -sizes[name])
    publish(
        "install-size",
        {
            "site_packages_mb": round(sum(sizes.values()) / MEGABYTE, 1),
            "largest_mb": {name: round(sizes[name] / MEGABYTE, 1) for name in largest[:LISTED]},
            RECIPE: {"extra": extra, "python": sys.version.split()[0]},
        },
    )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as nothing."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _site_packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(_run([str(python), "-c", code]).strip())


def _run(command: list[str]) -> str:
    """What the command prints.

    Raises:
        BlurlineError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BlurlineError(f"`{' '.join(command[1:5])} ...` failed: {done.stderr.strip()[-500:]}")
    return done.stdout
