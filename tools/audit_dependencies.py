"""Looks up the pinned versions in public lists of vulnerabilities, by pip-audit.

`make check` has to pass on machines that reach no such list, so three things are kept apart: a
vulnerability fails it, a list that can't be reached is said in one line, and anything else that
goes wrong fails it too.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

PINNED = Path(__file__).parents[1] / "constraints.txt"
SERVICES = ("osv", "pypi")
"""pip-audit's names of the lists, in the order in which they are asked."""

ANSWER_SECONDS = 10
RUN_SECONDS = 300
UNREACHABLE = re.compile(
    r"could not connect|connection ?error|max retries|timed? ?out|proxyerror|sslerror"
    r"|not redirecting properly|serviceerror|httperror|(?:client|server) error for url",
    re.IGNORECASE,
)
"""What pip-audit or its HTTP client say where there is no list, or no answer of one."""


class Verdict(StrEnum):
    """What came out."""

    CLEAN = "clean"
    VULNERABLE = "vulnerable"
    NOT_AUDITED = "not audited"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Report:
    """A verdict, and the lines that say it."""

    verdict: Verdict
    lines: tuple[str, ...]

    @property
    def status(self) -> int:
        """The exit status: 1 for what somebody has to do something about."""
        if self.verdict is Verdict.NOT_AUDITED:
            return os.EX_UNAVAILABLE
        return int(self.verdict is not Verdict.CLEAN)


@dataclass(frozen=True, slots=True)
class Run:
    """What pip-audit has written, and its exit status."""

    status: int
    output: str
    complaints: str


def audit(ask: Callable[[str], Run], services: Iterable[str] = SERVICES) -> Report:
    """The report of the first list that answers.

    Args:
        ask: runs pip-audit with that list.
    """
    tried: list[str] = []
    for service in services:
        report = judged(service, ask(service))
        if report.verdict is not Verdict.NOT_AUDITED:
            return report
        tried += report.lines
    reasons = "; ".join(tried)
    return Report(Verdict.NOT_AUDITED, (f"no list of vulnerabilities answered: {reasons}",))


def judged(service: str, run: Run) -> Report:
    """What one run of pip-audit means."""
    try:
        dependencies = json.loads(run.output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (run.complaints.strip().splitlines() or ["no reason given"])[-1]
        if UNREACHABLE.search(run.complaints):
            return Report(Verdict.NOT_AUDITED, (f"{service} can't be reached",))
        return Report(Verdict.BROKEN, (f"pip-audit failed ({service}): {last}",))
    known = [one for one in dependencies if "skip_reason" not in one]
    if not known:
        return Report(Verdict.NOT_AUDITED, (f"{service} has a page of none of them",))
    found = [line for one in known for line in _vulnerabilities(one)]
    count = f"{len(known)} of {len(dependencies)} pinned packages audited by {service}"
    if found:
        return Report(Verdict.VULNERABLE, (*found, f"{count}: {len(found)} vulnerabilities"))
    if run.status:
        return Report(Verdict.BROKEN, (f"pip-audit failed ({service}): status {run.status}",))
    return Report(Verdict.CLEAN, (f"{count}: no known vulnerability",))


def _vulnerabilities(dependency: dict[str, Any]) -> Iterable[str]:
    """A line for each vulnerability of a package."""
    for one in dependency["vulns"]:
        fixed = ", ".join(one["fix_versions"]) or "no version"
        yield f"{dependency['name']} {dependency['version']}: {one['id']}, fixed in {fixed}"


def pip_audit(service: str) -> Run:
    """Run pip-audit on the pinned versions; nothing is installed or resolved for that."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINNED), "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command += ["--vulnerability-service", service, "--timeout", str(ANSWER_SECONDS)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Run(1, "", f"timed out after {RUN_SECONDS} s")
    return Run(done.returncode, done.stdout, done.stderr)


def main() -> None:
    """Print the report; the exit status is 1 for a vulnerability or a broken audit.

    Where no list can be reached it is `os.EX_UNAVAILABLE`.
    """
    report = audit(pip_audit)
    print("\n".join(report.lines))
    raise SystemExit(report.status)


if __name__ == "__main__":
    main()
