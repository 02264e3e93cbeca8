"""A run of the tests comes to its end, whatever one of them does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import PATIENCE, ROOT

DYING = "import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)\n"
HANGING = "import ctypes\ndef test_it(): ctypes.PyDLL(None).sleep(1000)\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [(DYING, "worker 'gw"), (HANGING, "Timeout (0:00:01)!")],
    ids=["dies", "hangs"],
)
def test_a_test_that_dies_or_hangs_ends_the_run_as_a_failure(
    code: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text(code)
    (tmp_path / "test_other.py").write_text("def test_it(): pass\n")
    options = ["-n2", "--dist=loadfile", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *options, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1, done.stdout
    assert said in done.stdout + done.stderr
    assert "crashed while running" in done.stdout


def test_every_test_lies_in_a_room() -> None:
    assert not list((ROOT / "tests").glob("test_*.py"))
    rooms = {
        path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/test_*.py")
    }
    assert rooms == {"unit", "service", "deployment", "tooling"}
