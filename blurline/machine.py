"""Where a process runs: what disks and memory it has left, as metrics that are read when asked."""

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
