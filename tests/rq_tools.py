"""A service whose users look at it, and reach into it, by rq's own tools."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from redis import Redis

from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from blurline.worker.reconciler import Reconciled, open_reconciler
from tests.callers import CALLERS, bearer, key_settings
from tests.fault_parts import pipelines as light_pipelines
from tests.light import light_service, light_settings, light_worker
from tests.parts import PATIENCE, eventually, fresh

QUEUE = "image_processing_queue"


@dataclass(frozen=True)
class Operated:
    """A service that asks who calls, its Redis, and the keys of its callers."""

    client: httpx.Client
    redis: Redis
    settings: Settings
    keys: dict[str, str]

    def batch(self, picture: bytes, count: int, who: str = "alice") -> list[str]:
        """Hand the picture in so many times; the ids of the jobs."""
        files = [("files", ("a.jpg", picture))] * count
        headers = bearer(self.keys[who]) | fresh()
        answer = self.client.post("/batch-upload", files=files, headers=headers)
        assert answer.status_code == 202, answer.text
        return [str(job["job_id"]) for job in answer.json()["jobs"]]

    def status(self, job_id: str, who: str = "alice") -> str:
        """What the service says of the job; the code of the error if it says none."""
        answer = self.client.get(f"/status/{job_id}", headers=bearer(self.keys[who])).json()
        return str(answer["status"] if "status" in answer else answer["error"]["code"])

    def ended(self, job_ids: list[str], status: str = "completed") -> None:
        """Wait until all jobs have ended, which has to be so."""
        over = ("completed", "failed")
        for job_id in job_ids:
            eventually(lambda one=job_id: self.status(one) in over, f"job {job_id} ends")
        assert {self.status(job_id) for job_id in job_ids} == {status}

    def quiet(self) -> None:
        """Wait until no job waits or runs."""
        names = (f"rq:queue:{QUEUE}", f"rq:queue:{QUEUE}:intermediate", f"rq:wip:{QUEUE}")
        eventually(lambda: not self.redis.exists(*names), "no job waits or runs")

    def totals(self) -> dict[str, int]:
        answer = self.client.get("/stats", headers=bearer(self.keys["admin"]))
        totals: dict[str, int] = answer.json()["totals"]
        return totals

    def results(self) -> list[str]:
        """Names of the stored results."""
        folder = self.settings.data_dir / "store/processed"
        return sorted(path.name for path in folder.rglob("*.jpg"))

    def reconcile(self) -> Reconciled:
        """What `blurline reconcile` does, of jobs of any age."""
        store = open_store(self.settings)
        queues = Queues(self.redis, self.settings, light_pipelines(self.settings))
        originals = open_vault(self.settings, store)
        reconciler = open_reconciler(self.settings, queues, store, originals)
        return reconciler.reconcile(older_than=timedelta(0))

    @contextmanager
    def worker(self, pace: float = 0.0) -> "Iterator[subprocess.Popen[bytes]]":
        with light_worker(self.settings, pace) as process:
            yield process

    def rq(self, command: str, *words: str) -> str:
        """What rq's command says."""
        program = shutil.which("rq", path=str(Path(sys.executable).parent))
        assert program
        done = subprocess.run(
            [program, command, "--url", self.settings.redis_url or "", *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def operated(redis_url: str, folder: Path) -> Iterator[Operated]:
    """The service, without a worker."""
    keys, key_file = key_settings(folder, CALLERS)
    settings = light_settings(redis_url, folder, api_keys_file=key_file)
    with light_service(settings) as client, Redis.from_url(redis_url) as redis:
        yield Operated(client, redis, settings, keys)
