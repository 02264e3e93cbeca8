"""The service that the fault tests break: real API and workers, with one small network.

`python -m tests.fault_parts worker` is a worker, `uvicorn tests.fault_parts:api --factory` the API.
Tests of whole processes to which networks do not matter have it by `tests.light`.
`FAULT` in a worker's environment, `step:act` or `step:act:number`, lets it meet with its end, or
hang, right after that step of its so-manyth picture. `FAULT_ONCE` names a file that says that it
has happened; of several workers one makes it. `PACE` are seconds that a picture takes longer.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurline.errors import BlurlineError
from blurline.inference.scan import Scan
from blurline.jobs.records import Records
from blurline.log import configure_logging
from blurline.queue.stats import Stats
from blurline.settings import Settings, load_settings
from blurline.stages.blur import Blur
from blurline.stages.frame import Quality
from blurline.stages.pipeline import Family, Level, Pipeline, Target
from blurline.storage.objects import ObstoreStore
from blurline.storage.vault import OriginalsVault
from blurline.treatment.redaction import RedactionTreatment
from blurline.worker.loop import ImageWorker
from blurline.worker.service import run_worker

if TYPE_CHECKING:
    from fastapi import FastAPI

NETWORK = "yunet"
LEVELS = {quality: Level(Scan((320,)), threshold=0.3, margin=0.1) for quality in Quality}
STAGE = Blur({"face": Target(NETWORK, frozenset({"face"}), LEVELS)})
SETTINGS = {"default_targets": "face", "default_pipeline": "blur"}
"""What the service here needs beside the settings of a test."""

FOREVER = 10**6


def pipelines(settings: Settings) -> dict[str, Pipeline]:
    """The one pipeline."""
    waiting = settings.queue_name, settings.job_timeout
    return {"blur": Pipeline("blur", "A test", Family.REDACTION, (STAGE,), *waiting)}


def puts(folder: str) -> Callable[..., bool]:
    """Whether an object is written into that folder of the store."""
    return lambda store, key, *others: key.startswith(folder)


def always(*arguments: Any) -> bool:
    return True


STEPS: dict[str, tuple[type, str, Callable[..., bool]]] = {
    "taken": (ImageWorker, "dequeue_job_and_maintain_ttl", always),
    "begun": (ImageWorker, "prepare_job_execution", always),
    "fetched": (OriginalsVault, "get", always),
    "blurred": (RedactionTreatment, "redact", always),
    "picture stored": (ObstoreStore, "put", puts("processed/")),
    "certificate stored": (ObstoreStore, "put", puts("certificate/")),
    "record stored": (Records, "commit", always),
    "counted": (Stats, "record", always),
    "acknowledged": (ImageWorker, "handle_job_success", always),
}
"""Steps of a job in their order, and what a worker calls for each."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """As a library does that others can run beside, but that nobody can interrupt."""
    ctypes.CDLL(None).sleep(FOREVER)


def freeze() -> None:
    """As a library does that never lets Python run again."""
    ctypes.PyDLL(None).sleep(FOREVER)


ACTS = {"die": die, "hang": hang, "freeze": freeze}


def set_trap(step: str, act: str, number: str = "1") -> None:
    """Have the act follow on the step, for the so-manyth picture that comes there."""
    owner, name, applies = STEPS[step]
    original, countdown = getattr(owner, name), [int(number)]

    def trapped(*arguments: Any, **others: Any) -> Any:
        answer = original(*arguments, **others)
        # A worker that takes nothing has not come to this step.
        if applies(*arguments) and not (step == "taken" and answer is None):
            countdown[0] -= 1
            if countdown[0] == 0 and first_of_all():
                ACTS[act]()
        return answer

    setattr(owner, name, trapped)


def slow_down(seconds: float) -> None:
    """Let every picture take so much longer."""
    redact = RedactionTreatment.redact

    def redact_slowly(*arguments: Any, **others: Any) -> Any:
        time.sleep(seconds)
        return redact(*arguments, **others)

    setattr(RedactionTreatment, "redact", redact_slowly)  # noqa: B010 - mypy knows no other way


def first_of_all() -> bool:
    """Whether nobody was here before."""
    try:
        Path(os.environ["FAULT_ONCE"]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def api() -> "FastAPI":
    """The API for the settings of the environment."""
    from blurline.api.app import create_app

    settings = load_settings()
    configure_logging(settings)
    return create_app(settings, pipelines(settings))


def main() -> None:
    """Run one worker process."""
    slow_down(float(os.environ.pop("PACE", "0")))
    if fault := os.environ.pop("FAULT", ""):
        set_trap(*fault.split(":"))
    try:
        settings = load_settings()
        configure_logging(settings)
        run_worker(settings, pipelines(settings))
    except BlurlineError as error:
        raise SystemExit(f"blurline: {error}") from error


if __name__ == "__main__":
    assert sys.argv[1:] == ["worker"]
    main()
