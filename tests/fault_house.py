"""A whole service whose connections and processes can be broken, and the accounts at the end."""

import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import obstore
from PIL import Image
from rq.job import Job

from blurline.certificate.certificate import verify
from blurline.certificate.signing import Finding, load_signing_key
from blurline.jobs.job import JobRecord, JobStatus
from blurline.queue.jobqueue import JobQueue
from blurline.settings import Settings
from blurline.stack.supervisor import Child, Program, Supervisor
from blurline.storage import keys
from blurline.storage.masterkeys import load_master_keys
from blurline.storage.objects import ObstoreStore, open_store
from blurline.storage.vault import open_vault
from tests.fault_parts import SETTINGS
from tests.fault_proxy import Proxy
from tests.parts import (
    ROOT,
    S3Server,
    ValkeyServer,
    environment_of,
    eventually,
    files_below,
    fresh,
    settings_for,
)

REFUSALS = {
    (429, "queue_full"),
    (503, "queue_unavailable"),
    (503, "store_unavailable"),
    (503, "busy"),
}
"""What an upload may be answered while something is out of order."""

ENDS_WITHIN = 420.0
"""Seconds in which everything is over once nothing is broken any more; the longest wait is 300."""


@dataclass(frozen=True)
class Account:
    """What became of the jobs, and of the uploads that were not taken."""

    accepted: int
    completed: int
    failed: int
    refused: int
    unheard: int
    injected: dict[str, int]

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.injected.items()))
        return (
            f"{self.accepted} accepted = {self.completed} completed + {self.failed} failed; "
            f"{self.refused} refused, {self.unheard} unheard; faults: {faults or 'none'}"
        )


@dataclass
class House:
    """A running service. `valkey` and `s3` are the parts themselves, the proxies stand before."""

    settings: Settings
    direct: Settings
    valkey: ValkeyServer
    redis_proxy: Proxy
    s3_proxy: Proxy | None
    supervisor: Supervisor
    api: Child
    workers: list[Child]
    client: httpx.Client
    picture: bytes
    folder: Path
    store: ObstoreStore
    accepted: list[str] = field(default_factory=list)
    refused: int = 0
    unheard: int = 0
    injected: Counter[str] = field(default_factory=Counter)

    def send(self, count: int = 1) -> list[tuple[int, str]]:
        """Hand in the picture so many times; the answers' statuses and codes, 0 for none."""
        answers = []
        for _ in range(count):
            try:
                files = {"file": ("a.jpg", self.picture)}
                answer = self.client.post("/upload", files=files, headers=fresh())
            except httpx.HTTPError:
                self.unheard += 1
                answers.append((0, ""))
                continue
            if answer.status_code == 202:
                self.accepted.append(answer.json()["job_id"])
                answers.append((202, ""))
                continue
            found = answer.status_code, answer.json()["error"]["code"]
            assert found in REFUSALS, answer.text
            self.refused += 1
            answers.append(found)
        return answers

    def must_take(self, count: int = 1) -> None:
        """Hand in the picture until so many were taken."""
        end = len(self.accepted) + count
        eventually(lambda: self.send() and len(self.accepted) >= end, "uploads are taken", 120)

    def kill(self, child: Child, signum: signal.Signals = signal.SIGKILL) -> None:
        """Send the process a signal; the supervisor starts another one."""
        self.injected[f"{signum.name} of {child.program.name.split()[0]}"] += 1
        with suppress(ProcessLookupError):  # it may be on its way back
            os.kill(child.pid, signum)

    def healthy(self) -> bool:
        """Whether all parts say so, and as many workers as there should be."""
        try:
            health = self.client.get("/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        detail = health["dependencies"]["workers"]["detail"]
        return bool(health["status"] == "ok" and int(detail.split()[0]) >= len(self.workers))

    def at_rest(self) -> bool:
        """Whether all accepted jobs have their records, and nothing waits or runs."""
        with self.valkey.client() as redis:
            queue = JobQueue(redis, self.settings).rq
            lists = (queue.key, queue.intermediate_queue_key)
            sets = (queue.started_job_registry.key, queue.scheduled_job_registry.key)
            if any(map(redis.llen, lists)) or any(map(redis.zcard, sets)):
                return False
        return all(self.store.get(keys.record(job_id)) for job_id in self.accepted)

    def account(self, *, doubtful: int = 0, counted: bool = True) -> Account:
        """Wait until everything has ended, and check that it ended as is promised.

        Args:
            doubtful: uploads without a good answer that may have left an original or a job.
            counted: whether Redis has kept its contents, so that the totals have to agree.
        """
        eventually(self.at_rest, "everything ends", ENDS_WITHIN)
        records = self._records()
        assert set(self.accepted) <= set(records), "an accepted job has no record"
        assert len(set(self.accepted)) == len(self.accepted)
        extra = set(records) - set(self.accepted)
        assert len(extra) <= doubtful, f"jobs that nobody was told of: {extra}"
        self.store.tidy(datetime.now(UTC))
        named = {name for record in records.values() for name in self._check(record)}
        strays = {name for name in self._names() if name not in named}
        assert {name.split("/")[0] for name in strays} <= {"original", "keys"}, strays
        assert len({Path(name).stem for name in strays}) <= doubtful, strays
        tally = Counter(record.status for record in records.values())
        if counted:
            self._agrees(tally, records)
        injected = self.injected + self.redis_proxy.injected
        if self.s3_proxy is not None:
            injected += self.s3_proxy.injected
        account = Account(
            len(self.accepted),
            tally[JobStatus.COMPLETED],
            tally[JobStatus.FAILED],
            self.refused,
            self.unheard,
            dict(injected),
        )
        print(f"\n{account}")  # noqa: T201 - the figures of a run
        return account

    def _records(self) -> dict[str, JobRecord]:
        found = {}
        for name in self._names():
            if name.startswith("metadata/"):
                record = JobRecord.from_json(self.store.get(name) or b"")
                found[record.job_id] = record
        return found

    def _names(self) -> list[str]:
        """All that is in the store; of a folder also what no store would list."""
        if self.s3_proxy is None:
            folder = self.folder
            return [str(path.relative_to(folder)) for path in files_below(folder)]
        return [found["path"] for page in obstore.list(self.store._store) for found in page]

    def _check(self, record: JobRecord) -> list[str]:
        """Names of the job's objects, all of which have to be there and whole."""
        job_id, kind = record.job_id, record.kind
        inputs = [keys.original(job_id, kind), keys.data_key(job_id)]
        if record.status is JobStatus.FAILED:
            return [keys.record(job_id), *inputs]
        original = open_vault(self.direct, self.store).get(job_id, kind)
        assert original == self.picture
        picture = self.store.get(keys.processed(job_id, kind, record.slot))
        certificate = self.store.get(keys.certificate(job_id, record.slot))
        assert picture is not None, f"{job_id} has no picture"
        assert certificate is not None, f"{job_id} has no certificate"
        with Image.open(BytesIO(picture)) as image:
            image.load()
            assert image.size == (320, 240)
        public = load_signing_key(None, self.direct.data_dir).public
        assert verify(picture, certificate, public).finding is Finding.VALID
        made = keys.processed(job_id, kind, record.slot), keys.certificate(job_id, record.slot)
        return [*made, keys.record(job_id), *inputs]

    def _agrees(self, tally: "Counter[JobStatus]", records: dict[str, JobRecord]) -> None:
        """Whether the totals and each job's status are those of the records."""
        totals = self.client.get("/stats").json()["totals"]
        assert totals == {name: tally[JobStatus(name)] for name in ("completed", "failed")}
        with self.valkey.client() as redis:
            for job_id in self.accepted:
                status = redis.hget(Job.key_for(job_id), "status")
                assert status in (b"finished", b"failed"), (job_id, status)
        for job_id in self.accepted[:: max(1, len(self.accepted) // 20)]:
            answer = self.client.get(f"/status/{job_id}").json()
            assert answer["status"] == records[job_id].status


@contextmanager
def house(
    valkey: ValkeyServer,
    folder: Path,
    picture: bytes,
    s3: S3Server | None = None,
    *,
    workers: int = 2,
    environment: dict[str, str] | None = None,
    store: Path | None = None,
    pace: float = 0.1,
    **settings: Any,
) -> Iterator[House]:
    """The service, whole and healthy, with proxies before its Redis and its S3.

    Args:
        environment: of its API and its workers.
        store: the folder of its store, where that is no bucket.
        pace: seconds that each picture takes, so that faults meet it on its way.
    """
    with ExitStack() as cleanup:
        redis_proxy = Proxy(str(valkey.path))
        cleanup.callback(redis_proxy.close)
        s3_proxy: Proxy | None = None
        place: dict[str, Any] = {} if store is None else {"store_url": store.as_uri()}
        places = {"through": place, "direct": place}
        load_master_keys(None, folder)
        load_signing_key(None, folder)
        if s3 is not None:
            s3_proxy = Proxy(("127.0.0.1", s3.port), http=True)
            cleanup.callback(s3_proxy.close)
            common = {
                "s3_bucket": f"{s3.BUCKET}/{folder.name}",
                "aws_region": "us-east-1",
                "master_key_file": folder / "keys" / "master.key",
            }
            through = f"http://127.0.0.1:{s3_proxy.port}"
            places = {
                "through": {**common, "aws_endpoint_url": through},
                "direct": {**common, "aws_endpoint_url": s3.url},
            }
        chosen = {"abandoned_after": 4, "job_timeout": 10, **SETTINGS, **settings}
        url = f"redis://127.0.0.1:{redis_proxy.port}/0"
        own = settings_for(url, folder, **chosen, **places["through"])
        direct = settings_for(valkey.url, folder, **chosen, **places["direct"])

        supervisor = Supervisor()
        cleanup.callback(supervisor.stop)
        listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
        shared = {**environment_of(own), "PYTHONPATH": str(ROOT), "PACE": str(pace)}
        shared |= environment or {}
        api = supervisor.start(_api(listener, shared))
        command = [sys.executable, "-m", "tests.fault_parts", "worker"]
        crews = [
            supervisor.start(Program(f"worker {n}", command, shared, stop_seconds=30))
            for n in range(workers)
        ]
        over = threading.Event()
        watching = threading.Thread(target=supervisor.watch, args=(over.is_set, 0.05))
        watching.start()
        cleanup.callback(watching.join)
        cleanup.callback(over.set)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = cleanup.enter_context(httpx.Client(base_url=address, timeout=60))
        built = House(
            own,
            direct,
            valkey,
            redis_proxy,
            s3_proxy,
            supervisor,
            api,
            crews,
            client,
            picture,
            store or folder / "store",
            open_store(direct),
        )
        eventually(built.healthy, "the house is healthy")
        yield built


def _api(listener: socket.socket, environment: dict[str, str]) -> Program:
    descriptor = listener.fileno()
    command = [sys.executable, "-m", "uvicorn", "tests.fault_parts:api", "--factory"]
    command += ["--fd", str(descriptor), "--http", "blurline.api.protocol:GuardedProtocol"]
    command += ["--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5"]
    return Program("api", command, environment, (descriptor,), stop_seconds=10)
