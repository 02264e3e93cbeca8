"""`make check` on the pinned packages: what fails it, and what is only said."""

import json
import os
from typing import Any

import pytest

from tools.audit_dependencies import Run, Verdict, audit

HARMLESS = {"name": "rq", "version": "2.12.0", "vulns": []}
UNKNOWN = {"name": "blurline", "skip_reason": "not found"}
HOLED = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}],
}
NO_CONNECTION = Run(
    1, "", "requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded"
)
NO_SERVICE = Run(1, "", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed")


def run(*dependencies: dict[str, Any], status: int = 0) -> Run:
    return Run(status, json.dumps({"dependencies": dependencies, "fixes": []}), "")


def test_packages_without_a_known_vulnerability_pass() -> None:
    report = audit(lambda service: run(HARMLESS, UNKNOWN))
    assert (report.verdict, report.status) == (Verdict.CLEAN, 0)
    assert report.lines == ("1 of 2 pinned packages audited by osv: no known vulnerability",)


def test_a_vulnerability_fails_and_is_named_with_its_remedy() -> None:
    report = audit(lambda service: run(HARMLESS, HOLED, status=1))
    assert (report.verdict, report.status) == (Verdict.VULNERABLE, 1)
    assert report.lines[0] == "old 1.0: PYSEC-1, fixed in 1.1"


def test_where_no_list_can_be_reached_one_line_says_that_nothing_was_audited() -> None:
    answers = {"osv": NO_CONNECTION, "pypi": NO_SERVICE}
    report = audit(answers.__getitem__)
    assert (report.verdict, report.status) == (Verdict.NOT_AUDITED, os.EX_UNAVAILABLE)
    (line,) = report.lines
    assert "no list of vulnerabilities answered" in line
    assert "osv" in line
    assert "pypi" in line


def test_a_list_that_can_not_be_reached_hides_no_vulnerability_that_the_next_one_knows() -> None:
    answers = {"osv": NO_CONNECTION, "pypi": run(HOLED, status=1)}
    assert audit(answers.__getitem__).verdict is Verdict.VULNERABLE


def test_a_list_that_knows_no_package_at_all_is_no_audit() -> None:
    assert audit(lambda service: run(UNKNOWN)).verdict is Verdict.NOT_AUDITED


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Run(2, "", "error: unrecognized arguments: --no-such"), id="arguments"),
        pytest.param(Run(1, "", "No module named pip_audit"), id="not installed"),
        pytest.param(run(HARMLESS, status=1), id="status without a reason"),
    ],
)
def test_an_audit_that_fails_for_another_reason_is_not_taken_for_one_out_of_reach(
    broken: Run,
) -> None:
    report = audit(lambda service: broken)
    assert (report.verdict, report.status) == (Verdict.BROKEN, 1)
