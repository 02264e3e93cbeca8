"""The service of `tests.fault_parts`, for tests of whole processes to which networks do not matter.

Its worker starts in half the time of a real one, and pictures may take long without any work.
"""

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from blurline.settings import Settings
from tests.fault_parts import SETTINGS, pipelines
from tests.parts import environment_of, serving, settings_for, worker

WORKER = ("-m", "tests.fault_parts", "worker")


def light_settings(redis_url: str, folder: Path, **others: Any) -> Settings:
    """Settings of the service for one test."""
    return settings_for(redis_url, folder, **SETTINGS, **others)


def light_service(settings: Settings) -> AbstractContextManager[httpx.Client]:
    """Its API, and a client of that."""
    return serving(settings, pipelines(settings))


def light_worker(
    settings: Settings, pace: float = 0.0
) -> "AbstractContextManager[subprocess.Popen[bytes]]":
    """A worker of it; a picture takes at least `pace` seconds."""
    return worker({**environment_of(settings), "PACE": str(pace)}, WORKER)
