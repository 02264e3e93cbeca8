"""Brings what `make check` needs beside Python's packages, into this folder and not the system.

Programs of Debian are unpacked, not installed: no service starts, and nobody has to be root. What
can't be had is said; that is no error, since `make check` says of each validator whether it ran.
Needs nothing but Python, so that it can run while blurline itself is installed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build/validators"
PROGRAMS = FOLDER / "bin"
"""What is brought; the Makefile appends it to PATH, so that programs of the system come first."""

K8S = ROOT / "deploy/k8s"
MODELS = K8S / "node_modules"
PINNED = Path(__file__).with_name("checkov.txt")
PANORAMAX = Path(__file__).with_name("panoramax.txt")
RQ_DASHBOARD = Path(__file__).with_name("rqdashboard.txt")
PIP = Path(__file__).with_name("pip.txt")
WANTED = ("prometheus", "promtool", "prometheus-alertmanager", "amtool", "kubectl")
PACKAGES = ("prometheus", "promtool", "prometheus-alertmanager", "kubectl")
"""Debian's packages with these programs; older releases lack some, or have them in another."""

STEP_SECONDS = 240


class NotInstalledError(Exception):
    """Something can't be had here; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the installation, and what it brings in words."""

    brings: str
    install: Callable[[], None]


def main() -> None:
    """Install what is missing, all at once; print a line for each part."""
    steps = [
        Step("checkov", checkov),
        Step("Panoramax's server and tag reader", panoramax),
        Step("rq-dashboard", rq_dashboard),
        Step("models of KEDA, Istio and the Prometheus Operator", models),
        Step(", ".join(WANTED), debian_programs),
    ]
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as threads:
        for line in threads.map(outcome, steps):
            print(line)


def outcome(step: Step) -> str:
    """Take a step; the line that says how it went."""
    try:
        step.install()
    except NotInstalledError as error:
        return f"NOT installed: {error}"
    return f"installed: {step.brings}"


def checkov() -> None:
    """Bring checkov.

    Raises:
        NotInstalledError: what `environment` raises.
    """
    home = FOLDER / "checkov"
    environment(home, PINNED)
    link(home / "bin/checkov")


def panoramax() -> None:
    """Bring what asks `/blur/` in Panoramax's servers, and what reads their pictures' tags.

    Raises:
        NotInstalledError: what `environment` raises.
    """
    environment(FOLDER / "panoramax", PANORAMAX)


def rq_dashboard() -> None:
    """Bring rq's dashboard, which a live service is looked at by.

    Raises:
        NotInstalledError: what `environment` raises.
    """
    environment(FOLDER / "rqdashboard", RQ_DASHBOARD)


def environment(home: Path, pins: Path) -> None:
    """Give a program an environment of its own, since its pins contradict those of blurline.

    Raises:
        NotInstalledError: pip can't reach the packages, or this Python is none of theirs.
    """
    if unchanged(home, pins):
        return
    shutil.rmtree(home, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(home)], home.name)
    pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-compile"]
    run([*pip, "--requirement", str(PIP)], home.name)
    # All of its packages are pinned, so there is nothing to resolve; most are never imported.
    run([*pip, "--no-deps", "--requirement", str(pins)], home.name)
    note(home, pins)


def models() -> None:
    """Bring the models that `deploy/k8s/validate.mjs` checks by, as `package-lock.json` pins them.

    Raises:
        NotInstalledError: there is no npm, or it can't reach its registry.
    """
    what = "models of custom resources"
    if missing(["node", "npm"]):
        raise NotInstalledError(f"{what}: needs Node.js 20 or newer with npm on PATH")
    lock = K8S / "package-lock.json"
    if not unchanged(MODELS, lock):
        run(["npm", "ci", "--fetch-retries=1"], what, cwd=K8S)
        note(MODELS, lock)


def debian_programs() -> None:
    """Unpack those programs that are not on PATH yet.

    Raises:
        NotInstalledError: not all of them could be had.
    """
    wanted = missing(WANTED)
    if not wanted:
        return
    if missing(["apt-get", "dpkg"]):
        raise NotInstalledError(f"{', '.join(wanted)}: needs apt, or put them on PATH yourself")
    home = FOLDER / "debian"
    with TemporaryDirectory() as folder:
        complaints = download([name for name in PACKAGES if missing([name])], Path(folder))
        for archive in Path(folder).glob("*.deb"):
            run(["dpkg", "--extract", str(archive), str(home)], archive.name)
    for program in wanted:
        if (home / "usr/bin" / program).exists():
            link(home / "usr/bin" / program)
    if still := missing(WANTED):
        why = next((complaints[name] for name in still if name in complaints), "in no package")
        raise NotInstalledError(f"{', '.join(still)}: {why}")


def download(packages: Sequence[str], folder: Path) -> dict[str, str]:
    """Fetch packages of Debian into a folder; what apt says of those that it has not, by name."""
    # Lists of our own, so that those of the system need be neither there nor writable.
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    apt = ["apt-get", "-q", "-o", f"Dir::State::Lists={folder / 'lists'}"]
    apt += ["-o", f"Dir::Cache={folder / 'cache'}", "-o", "Debug::NoLocking=1"]
    if os.getuid() == 0:
        apt += ["-o", "APT::Sandbox::User=root"]
    attempt([*apt, "update"], folder)
    answers = {name: attempt([*apt, "download", name], folder) for name in packages}
    return {name: complaint for name, complaint in answers.items() if complaint is not None}


def run(command: Sequence[str], what: str, cwd: Path = ROOT) -> None:
    """Run a command that has to succeed.

    Raises:
        NotInstalledError: it did not; the text has the last line of what it said.
    """
    complaint = attempt(command, cwd)
    if complaint is not None:
        raise NotInstalledError(f"{what}: {complaint}")


def attempt(command: Sequence[str], cwd: Path) -> str | None:
    """Run a command; the last line that it wrote if it failed."""
    status, said = called(command, cwd, STEP_SECONDS)
    return None if status == 0 else last_line(said)


def called(command: Sequence[str], cwd: Path, seconds: float) -> tuple[int, str]:
    """The exit status of a command, and all that it wrote.

    The status is `os.EX_UNAVAILABLE` if there is no such program, and 1 after a time-out.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
    except FileNotFoundError:
        return os.EX_UNAVAILABLE, f"{command[0]} is not on PATH\n"
    except subprocess.TimeoutExpired:
        return 1, f"{command[0]} took more than {seconds} s\n"
    return done.returncode, done.stdout


def last_line(said: str) -> str:
    """The reason in what a failed command wrote."""
    return (said.strip().splitlines() or ["no reason given"])[-1]


def missing(programs: Sequence[str]) -> list[str]:
    """Those of the programs that are neither on PATH nor among what was brought."""
    path = os.pathsep.join([os.environ.get("PATH", ""), str(PROGRAMS)])
    return [name for name in programs if shutil.which(name, path=path) is None]


def link(program: Path) -> None:
    """Show a program in `PROGRAMS`."""
    place = PROGRAMS / program.name
    place.unlink(missing_ok=True)
    place.symlink_to(program)


def unchanged(home: Path, pins: Path) -> bool:
    """Whether a folder holds what these pins say."""
    stamp = home / ".pins"
    return stamp.is_file() and stamp.read_bytes() == pins.read_bytes()


def note(home: Path, pins: Path) -> None:
    """Write down which pins a folder was filled by."""
    (home / ".pins").write_bytes(pins.read_bytes())


if __name__ == "__main__":
    main()
