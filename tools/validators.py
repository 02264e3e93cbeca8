"""`make check`: runs everything that checks this project, and tells of each whether it ran.

A validator that finds something fails the whole. One whose program is not there is said not to have
run, with what brings it, and fails nothing: `make validators` brings most, and a machine without a
network still has the others.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tools.install_validators import FOLDER, PROGRAMS, ROOT, called, last_line

RENDERED = "build/overlays"
OVERLAYS = ("eks-istio", "gke", "local")
"""Those beside `eks`, which is `kubernetes_deployment.yaml`."""

DOCKERFILES = ("Dockerfile", "deploy/standins/Dockerfile")

VERSION = re.compile(r"\d+\.\d+[\w.+-]*")
SKIPPED = re.compile(r"^SKIPPED \[\d+\] \S+: (.+)$", re.MULTILINE)
RUN_SECONDS = 500
BRING = "make validators"

Command = tuple[str, ...]

TESTS_OF_TOOLS = ("python", "-m", "pytest", "-q", "-rs", "-n2", "--dist=loadfile", "tests/tooling")
"""Of the benches, the load test, the fuzzer and this module: the service does without them."""


class Outcome(StrEnum):
    """What came of a validator."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_RUN = "NOT RUN"


@dataclass(frozen=True, slots=True)
class Validator:
    """A validator, and how to run it.

    Attributes:
        version: prints the version; where its program is not there, the validator can't run.
        commands: end with 0 if all is well. One that ends with `os.EX_UNAVAILABLE`, or skips a
            test, could not run; its last line, or what the test says, is the reason.
        remedy: what brings the program.
    """

    name: str
    version: Command
    commands: tuple[Command, ...]
    remedy: str = "make install"


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table, and what the validator wrote."""

    validator: Validator
    outcome: Outcome
    version: str = "-"
    reason: str = ""
    output: str = ""

    @property
    def row(self) -> tuple[str, str, str]:
        """Name, version and outcome."""
        told = f"{self.outcome}: {self.reason}" if self.reason else str(self.outcome)
        return self.validator.name, self.version, told


def tests(name: str, *files: str) -> Command:
    """The command that runs the tests marked by a validator's name."""
    mark = f"validator(name={name!r})"
    return ("python", "-m", "pytest", "-q", "-rs", "-m", mark, *files)


def validators() -> tuple[Validator, ...]:
    """All of them, those that take longest first."""
    return (*slow(), *manifests(), *quick())


def panoramax() -> Validator:
    """Panoramax's own server code and tag reader against `/blur/`."""
    python = str(FOLDER / "panoramax/bin/python")
    version = (python, "-m", "pip", "show", "geovisio")
    return Validator(
        "panoramax", version, (tests("panoramax", "tests/service/test_panoramax.py"),), BRING
    )


def rq_dashboard() -> Validator:
    """rq's dashboard beside a live service."""
    python = str(FOLDER / "rqdashboard/bin/python")
    version = (python, "-m", "pip", "show", "rq-dashboard")
    files = "tests/service/queue/test_rq_dashboard.py"
    return Validator("rq-dashboard", version, (tests("rq-dashboard", files),), BRING)


def slow() -> tuple[Validator, ...]:
    """Those that take longest."""
    checkov = ("checkov", "--config-file", "deploy/checkov.yaml")
    rules = "tests/deployment/test_monitoring.py"
    rendered = (
        ("kubectl", "kustomize", f"deploy/k8s/overlays/{name}", "-o", f"{RENDERED}/{name}.yaml")
        for name in OVERLAYS
    )
    return (
        Validator("tests of tools", ("pytest", "--version"), (TESTS_OF_TOOLS,)),
        Validator("mypy", ("mypy", "--version"), (("mypy",),)),
        panoramax(),
        rq_dashboard(),
        Validator(
            "checkov",
            ("checkov", "--version"),
            (
                (*checkov, "-d", "deploy/terraform"),
                (*checkov, "-f", "kubernetes_deployment.yaml"),
                ("mkdir", "-p", RENDERED),
                *rendered,
                (*checkov, "-d", RENDERED),
            ),
            BRING,
        ),
        Validator(
            "promtool",
            ("promtool", "--version"),
            (
                ("promtool", "check", "config", "--lint-fatal", "monitoring/prometheus.yml"),
                tests("promtool", rules),
            ),
            BRING,
        ),
        Validator("amtool", ("amtool", "--version"), (tests("amtool", rules),), BRING),
    )


def manifests() -> tuple[Validator, ...]:
    """Those of Kubernetes and Terraform."""
    kubernetes = "tests/deployment/test_kubernetes.py"
    terraform = "tofu" if shutil.which("tofu") and not shutil.which("terraform") else "terraform"
    return (
        Validator(
            "kubectl",
            ("kubectl", "version", "--client"),
            (tests("kubectl", kubernetes),),
            "put kubectl 1.30 or newer on PATH",
        ),
        Validator(
            "kubernetes-validate",
            ("kubernetes-validate", "--version"),
            (tests("kubernetes-validate", kubernetes),),
        ),
        Validator(
            "models by node",
            ("node", "--version"),
            (tests("models", kubernetes),),
            f"put Node.js 20 or newer with npm on PATH, then {BRING}",
        ),
        Validator(
            "terraform",
            (terraform, "version"),
            (tests("terraform", "tests/deployment/test_terraform.py"),),
            "put terraform or tofu on PATH",
        ),
    )


def quick() -> tuple[Validator, ...]:
    """Those that are over at once."""
    audit = ("python", "-m", "tools.audit_dependencies")
    style = (("ruff", "check", "."), ("ruff", "format", "--check", "."))
    return (
        Validator("pip-audit", ("pip-audit", "--version"), (audit,)),
        Validator("ruff", ("ruff", "--version"), style),
        Validator("hadolint", ("hadolint", "--version"), (("hadolint", *DOCKERFILES),)),
        Validator(
            "docker compose",
            ("docker", "compose", "version"),
            (tests("docker compose", "tests/deployment/test_containers.py"),),
            "install Docker's compose plugin",
        ),
    )


def result(validator: Validator) -> Result:
    """Run a validator to its first complaint."""
    if shutil.which(validator.version[0]) is None:
        return Result(validator, Outcome.NOT_RUN, reason=validator.remedy)
    found = VERSION.search(called(validator.version, ROOT, RUN_SECONDS)[1])
    version = found[0] if found else "-"
    output = ""
    for command in validator.commands:
        before, (status, said) = output, called(command, ROOT, RUN_SECONDS)
        output += said
        if status not in (0, os.EX_UNAVAILABLE):
            return Result(validator, Outcome.FAILED, version, output=output)
        if reason := why_not(status, said):
            part = "; what came before it passed" if before else ""
            return Result(validator, Outcome.NOT_RUN, version, reason + part, output)
    return Result(validator, Outcome.PASSED, version, output=output)


def why_not(status: int, said: str) -> str | None:
    """Why a command that found nothing could not look, by its status and what it wrote."""
    if status == os.EX_UNAVAILABLE:
        return last_line(said)
    skipped = SKIPPED.search(said)
    return skipped[1] if skipped else None


def results(chosen: Sequence[Validator]) -> Iterable[Result]:
    """What came of each, as they end; as many run at once as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        running = [threads.submit(result, validator) for validator in chosen]
        for ended in as_completed(running):
            yield ended.result()


def table(rows: Iterable[tuple[str, str, str]]) -> str:
    """The rows below each other, in columns, by name."""
    return "\n".join(f"{name:<20} {version:<18} {told}" for name, version, told in sorted(rows))


def check(chosen: Sequence[Validator]) -> int:
    """Run validators and print what they say, then the table; the exit status."""
    found = []
    for one in results(chosen):
        print(f"== {one.validator.name}: {one.outcome}\n{one.output}", flush=True)
        found.append(one)
    print(table(one.row for one in found))
    return int(any(one.outcome is Outcome.FAILED for one in found))


def main() -> None:
    """Check by what is in this environment, on PATH, and brought by us, in this order."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), str(PROGRAMS)]
    os.environ["PATH"] = os.pathsep.join(places)
    raise SystemExit(check(validators()))


if __name__ == "__main__":
    main()
