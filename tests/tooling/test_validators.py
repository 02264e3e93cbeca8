"""`make check` tells of every validator whether it ran; `make validators` brings what it can."""

import ast
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT
from tools import install_validators
from tools.validators import Command, Outcome, Validator, check, result, validators

PYTHON = sys.executable
MARK = re.compile(r"validator\(name=(['\"])([\w-]+)\1\)")


def validator(*commands: Command, program: str = PYTHON, name: str = "one") -> Validator:
    return Validator(name, (program, "--version"), commands, "bring it")


def python(code: str) -> Command:
    return (PYTHON, "-c", code)


FINE, WRONG = python("print('all is well')"), python("print('line 3 is wrong'); exit(1)")


def test_a_validator_that_ends_well_has_passed_and_tells_its_version() -> None:
    found = result(validator(FINE, FINE))
    version = ".".join(map(str, sys.version_info[:3]))
    assert found.row == ("one", version, "passed")
    assert found.output == "all is well\n" * 2


def test_what_one_validator_finds_fails_the_whole_and_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check([validator(FINE, name="a"), validator(FINE, WRONG, FINE, name="b")]) == 1
    shown = capsys.readouterr().out
    assert "line 3 is wrong" in shown
    assert re.search(r"^a +\S+ +passed\nb +\S+ +FAILED$", shown, re.MULTILINE)


def test_a_program_that_is_not_there_fails_nothing_but_is_told_with_what_brings_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check([validator(WRONG, program="no-such-program")]) == 0
    assert re.search(r"^one +- +NOT RUN: bring it$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(
            python(f"print('no list\\nanswered'); exit({os.EX_UNAVAILABLE})"),
            "answered",
            id="its own word",
        ),
        pytest.param(("no-such-program",), "no-such-program is not on PATH", id="a part of it"),
    ],
)
def test_what_could_not_run_has_not_passed(command: Command, reason: str) -> None:
    found = result(validator(command))
    assert (found.outcome, found.reason) == (Outcome.NOT_RUN, reason)
    assert result(validator(FINE, command)).reason == f"{reason}; what came before it passed"
    assert result(validator(WRONG, command)).outcome is Outcome.FAILED


def test_a_test_that_is_skipped_has_not_passed(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text("import pytest\ndef test_it(): pytest.skip('no such tool')\n")
    command = (PYTHON, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(path))
    found = result(validator(command))
    assert (found.outcome, found.reason) == (Outcome.NOT_RUN, "no such tool")


def test_every_marked_test_belongs_to_a_validator_and_every_program_is_asked() -> None:
    asked = " ".join(word for one in validators() for c in one.commands for word in c)
    marked = " ".join(
        ast.unparse(one)
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.name != Path(__file__).name
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Call)
    )
    names = {name for _, name in MARK.findall(asked)}
    assert names
    assert names == {name for _, name in MARK.findall(marked)}
    assert len({one.name for one in validators()}) == len(validators())


# What `make validators` brings


def test_where_nothing_can_be_had_each_part_says_so_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install_validators, "PROGRAMS", tmp_path / "bin")
    steps = (install_validators.models, install_validators.debian_programs)
    for step in steps:
        line = install_validators.outcome(install_validators.Step("x", step))
        assert line.startswith("NOT installed: ")
        assert "needs" in line


def test_every_package_of_checkov_is_pinned() -> None:
    lines = install_validators.PINNED.read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+", line) for line in lines)
    assert "checkov" in {line.split("==")[0] for line in lines}


def test_the_models_are_locked_by_content_and_no_registry_is_named() -> None:
    folder = install_validators.K8S
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
