"""Callers with API keys, and a service that asks who calls."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from blurline.access.apikeys import new_key
from blurline.access.caller import Scope
from blurline.audit import AuditTrail
from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage.objects import open_store
from tests.originals import vault_in
from tests.parts import fresh, image_worker, job_spec, runner

CALLERS = {
    "alice": "submit,read,delete",
    "bob": "submit,read,delete",
    "eve": "submit,read,delete,read:original",
    "auditor": "read:original",
    "admin": "admin",
    **{f"only-{scope.replace(':', '-')}": scope.value for scope in Scope},
}


@dataclass(frozen=True)
class House:
    """A service without a worker that asks who calls, and keys of several callers."""

    client: httpx.Client
    settings: Settings
    keys: dict[str, str]

    def get(self, path: str, who: str) -> httpx.Response:
        return self.request("GET", path, who)

    def request(self, method: str, path: str, who: str, **others: Any) -> httpx.Response:
        return self.client.request(method, path, headers=bearer(self.keys[who]), **others)

    def upload(self, picture: bytes, who: str) -> str:
        """Hand in a picture, as a job of its own; the job's id."""
        headers = {**bearer(self.keys[who]), **fresh()}
        answer = self.client.post("/upload", files={"file": ("a.jpg", picture)}, headers=headers)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    def treated(self, picture: bytes, who: str | None) -> str:
        """A job of the caller that a worker has completed; its id."""
        owner = None if who is None else f"key-{who}"
        spec = job_spec(pipeline="test", targets=(), owner=owner)
        vault_in(self.settings.data_dir).put(spec.job_id, spec.kind, picture, spec.to_order())
        settings = self.settings.model_copy(update={"queue_name": f"of-{spec.job_id}"})
        Queues(connect(settings.redis_url or ""), settings, {}).submit([spec])
        with image_worker(settings, runner(settings)) as worker:
            worker.work(max_jobs=1)
        assert self.get(f"/status/{spec.job_id}", "admin").json()["status"] == "completed"
        return spec.job_id

    def trail(self, job_id: str) -> list[tuple[str, str, str]]:
        """What the audit trail says of the job: event, actor and outcome."""
        lines = AuditTrail(open_store(self.settings)).lines()
        return [(x["event"], x["actor"], x["outcome"]) for x in lines if x["job_id"] == job_id]


def key_file(folder: Path, *lines: str) -> Path:
    """A file of API keys."""
    path = folder / "api.keys"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def bearer(credential: str) -> dict[str, str]:
    """The header that brings a key or a token."""
    return {"Authorization": f"Bearer {credential}"}


def key_settings(folder: Path, callers: dict[str, str]) -> tuple[dict[str, str], Path]:
    """Keys of the callers, and their file."""
    made = {name: new_key(name, scopes.split(",")) for name, scopes in callers.items()}
    return {name: key for name, (key, _) in made.items()}, key_file(
        folder, *(line for _, line in made.values())
    )
