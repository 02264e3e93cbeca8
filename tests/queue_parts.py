"""A service of three queues whose pipelines need no network, and its processes.

`python -m tests.queue_parts worker` runs a worker, `upkeep` what looks after queues and store.
`FAULT` as in `tests.fault_parts`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from blurline.jobs.job import JobSpec, JobStatus
from blurline.jobs.records import Records, open_records
from blurline.log import configure_logging
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.settings import Settings, load_settings
from blurline.stages.pipeline import Family, Pipeline
from blurline.storage.objects import open_store
from blurline.storage.vault import OriginalsVault, open_vault
from blurline.worker.service import run_worker
from blurline.worker.upkeep import run_upkeep
from tests.fault_parts import set_trap
from tests.parts import PATIENCE, ROOT, NothingToBlur, environment_of, job_spec, settings_for

SECOND, THIRD = "second_queue", "third_queue"


def pipelines(settings: Settings) -> dict[str, Pipeline]:
    """One for each queue: `one`, `two` and `three`."""
    stages, first = (NothingToBlur({}),), settings.queue_name
    known = (
        Pipeline("one", "Looks for nothing", Family.REDACTION, stages, first, settings.job_timeout),
        Pipeline("two", "Looks for nothing", Family.REDACTION, stages, SECOND, 120),
        Pipeline("three", "Looks for nothing", Family.REDACTION, stages, THIRD, 900.5),
    )
    return {pipeline.name: pipeline for pipeline in known}


@dataclass(frozen=True)
class Town:
    """The service as its API knows it."""

    settings: Settings
    redis: Redis
    queues: Queues
    originals: OriginalsVault
    records: Records

    def keep(self, pipeline: str, picture: bytes) -> JobSpec:
        """A job that is stored, and not queued yet."""
        spec = job_spec(pipeline=pipeline, targets=())
        self.originals.put(spec.job_id, spec.kind, picture, spec.to_order())
        return spec

    def submit(self, pipeline: str, picture: bytes) -> JobSpec:
        spec = self.keep(pipeline, picture)
        self.queues.submit([spec])
        return spec

    def waiting(self) -> dict[str, list[str]]:
        """Ids of the jobs that wait, by queue."""
        lists = {name: self.redis.lrange(queue.key, 0, -1) for name, queue in self.queues.items()}
        return {name: [one.decode() for one in ids] for name, ids in lists.items() if ids}

    def completed(self, spec: JobSpec) -> bool:
        record = self.records.find(spec.job_id)
        return record is not None and record.status is JobStatus.COMPLETED

    @contextmanager
    def process(self, what: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
        """A worker or an upkeep, told to stop in the end."""
        command = [sys.executable, "-m", "tests.queue_parts", what]
        own: Mapping[str, str] = {**os.environ, **environment_of(self.settings), **environment}
        process = subprocess.Popen(command, env=own, cwd=ROOT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()


def town(redis_url: str, folder: Path, **settings: object) -> Town:
    own = settings_for(redis_url, folder, abandoned_after=4, **settings)
    redis, store = connect(redis_url), open_store(own)
    queues = Queues(redis, own, pipelines(own))
    return Town(own, redis, queues, open_vault(own, store), open_records(own, store))


def main() -> None:
    """Run one process."""
    if fault := os.environ.pop("FAULT", ""):
        set_trap(*fault.split(":"))
    settings = load_settings()
    configure_logging(settings)
    run = {"worker": run_worker, "upkeep": run_upkeep}[sys.argv[1]]
    run(settings, pipelines(settings))


if __name__ == "__main__":
    main()
