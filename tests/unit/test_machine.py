"""Where a process runs."""

import os
from pathlib import Path

import pytest

from blurline.machine import usable_cores

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", ALLOWED),
        ("100000 100000\n", 1),
        ("20000 100000\n", 1),
        (f"{ALLOWED * 100000 - 1} 100000\n", ALLOWED),
        ("6400000 100000\n", min(ALLOWED, 64)),
        ("nonsense\n", ALLOWED),
    ],
)
def test_cores_are_the_containers_share_of_time(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", ALLOWED), ("100000", 1), ("50000", 1)])
def test_the_older_form_of_control_groups_is_understood(
    tmp_path: Path, quota: str, cores: int
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path) == cores


def test_without_a_container_cores_are_those_that_the_process_may_run_on(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALLOWED
