"""Where a process runs: its cores, and what disks and memory it has left, as metrics."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from blurline.metrics import MACHINE

CGROUP = Path("/sys/fs/cgroup")
"""Where a process in a container finds its own limits (cgroup v2, `man 7 cgroups`)."""


class MachineCollector(Collector):
    """The metrics of `MACHINE`, for the folders of a process by the names of their places."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    def collect(self) -> Iterator[Metric]:
        """The disks of the folders that exist, and the memory."""
        size, free = (
            GaugeMetricFamily(name, MACHINE[name], labels=["place"])
            for name in ("blurline_disk_size_bytes", "blurline_disk_free_bytes")
        )
        for place, folder in self._folders.items():
            if folder.is_dir():
                usage = shutil.disk_usage(folder)
                size.add_metric([place], usage.total)
                free.add_metric([place], usage.free)
        yield size
        yield free
        limit, available = memory(CGROUP)
        for name, value in (
            ("blurline_memory_limit_bytes", limit),
            ("blurline_memory_available_bytes", available),
        ):
            yield GaugeMetricFamily(name, MACHINE[name], value=value)


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Processors that this process can keep busy, at least 1.

    They are those that it may run on, but no more than the share of time that its container has
    comes to: with more threads it would use the share up early and stand still for the rest.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, math.ceil(_share(cgroup) or allowed)))


def _share(cgroup: Path) -> float | None:
    """Processors' worth of time that the container may use; None: as much as there is."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # cgroup v1
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # "max"
    return share if share > 0 else None


def folders_of(data_dir: Path) -> dict[str, Path]:
    """The places on disk that a process of the service may write to."""
    return {"data": data_dir, "tmp": Path(tempfile.gettempdir())}


def memory(cgroup: Path) -> tuple[int, int]:
    """Bytes that there are and bytes that can be had, of the container or the machine.

    What the kernel only keeps in case it is read again (`inactive_file`) can be had.
    """
    machine = psutil.virtual_memory()
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        cached = int(dict(line.split() for line in lines)["inactive_file"])
    except (OSError, ValueError, KeyError):
        return machine.total, machine.available  # no container, or one without a limit ("max")
    if limit >= machine.total:
        return machine.total, machine.available
    return limit, min(machine.available, max(0, limit - (used - cached)))
