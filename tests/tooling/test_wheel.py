"""The wheel as others install it: what it brings, and that it works away from the checkout."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.parts import ROOT, eventually, free_port

SOURCES = ("blurline", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the sources alone: a folder `build` may hold modules of long ago."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, source / name)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    [made] = folder.glob("*.whl")
    return made


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder far from the checkout to work in."""

    environment: Path
    folder: Path

    @property
    def command(self) -> Path:
        return self.environment / "bin/blurline"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel alone in an environment that takes its dependencies from that of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    home = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin/python"
    run(*PIP, "--python", python, "install", "--no-deps", wheel)
    # As a plain folder of modules: what makes the checkout importable is not read in there.
    place = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars=place))
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Installed(home, folder)


def run(*command: str | Path, folder: Path | None = None) -> str:
    """What a program says that has to end well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def redacts(installed: Installed, picture: bytes) -> None:
    """`blurline redact` makes a picture of a photo."""
    (installed.folder / "in.jpg").write_bytes(picture)
    said = run(installed.command, "redact", "in.jpg", "out.jpg", folder=installed.folder)
    assert '"face"' in said
    with Image.open(installed.folder / "out.jpg") as image:
        assert image.size == (810, 1080)


@contextmanager
def up(installed: Installed) -> Iterator[str]:
    """`blurline up`; its address, once it is healthy."""
    port = free_port()
    environment = {"PORT": str(port), "DATA_DIR": str(installed.folder / "data")}
    process = subprocess.Popen(
        [installed.command, "up"], cwd=installed.folder, env={**os.environ, **environment}
    )
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        try:
            return bool(httpx.get(f"{url}/health").json()["status"] == "ok")
        except httpx.HTTPError:
            assert process.poll() is None
            return False

    try:
        eventually(healthy, "the service is healthy")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_the_wheel_brings_the_package_and_no_other_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    about = {name for name in names if name.endswith(".dist-info")}
    assert names - about == {"blurline"}
    assert len(about) == 1


def test_the_wheel_holds_every_module_and_what_they_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("blurline/")}
    files = {path.relative_to(ROOT) for path in (ROOT / "blurline").rglob("*") if path.is_file()}
    assert held == {str(path) for path in files if "__pycache__" not in path.parts}


def test_an_installed_blurline_is_not_that_of_the_checkout(installed: Installed) -> None:
    code = "import blurline, blurline.entry.api; print(blurline.__file__)"
    said = run(installed.environment / "bin/python", "-c", code, folder=installed.folder)
    assert Path(said.strip()).is_relative_to(installed.environment)
    for name in ("worker", "api_server", "pipeline_architecture"):
        code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
        said = run(installed.environment / "bin/python", "-c", code, folder=installed.folder)
        assert said.strip() == "None", name


def test_an_installed_blurline_redacts_a_photo(installed: Installed, bus: bytes) -> None:
    redacts(installed, bus)


def test_an_installed_blurline_serves(installed: Installed, small_jpeg: bytes) -> None:
    with up(installed) as url:
        answer = httpx.post(f"{url}/upload", files={"file": ("a.jpg", small_jpeg)}, timeout=60)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["job_id"]
        eventually(
            lambda: httpx.get(f"{url}/status/{job_id}").json()["status"] == "completed",
            "the job ends",
        )


@pytest.mark.long
def test_the_wheel_and_its_dependencies_work_in_an_environment_of_their_own(
    wheel: Path, tmp_path: Path, bus: bytes
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    pins = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", pins, wheel)
    redacts(Installed(tmp_path / "venv", tmp_path), bus)
    with up(Installed(tmp_path / "venv", tmp_path)) as url:
        assert httpx.get(f"{url}/health").status_code == 200
