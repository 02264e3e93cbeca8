"""`python -m bench redis-memory`: bytes of Redis that a job takes while it waits and afterwards."""

import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from redis import Redis
from rq.job import Job

from bench.bare import kernel_of
from bench.handling import job_spec, submit, take
from bench.kernel import Kernel
from bench.ledger import Ledger
from bench.report import RECIPE, console, progress, publish
from blurline.queue.connection import connect
from blurline.settings import Settings, load_settings
from blurline.stack import valkey
from blurline.stack.supervisor import Program, Supervisor

START_SECONDS = 60
PHOTO_BYTES = 171_000
"""Any size: only its digits are in the message."""

AT_A_TIME = 100
DONE = 1_000
"""Jobs that are done, to see what is left of them."""


def redis_memory(
    jobs: Annotated[
        list[int] | None, typer.Option(min=1, help="Waiting jobs; may be given several times.")
    ] = None,
) -> None:
    """Bytes of Redis for each waiting job, with the message as the API writes it.

    What the server uses for connections and for its log's buffer is left out. `finished` is what it
    remembers of a job until RESULT_TTL is over; at 50 images a second and an hour that is 180,000
    jobs.
    """
    settings = load_settings()
    depths = sorted(jobs or [1_000, 10_000])
    own = settings.model_copy(update={"max_queue_size": depths[-1] + 1})
    with console.status("networks"):
        kernel = kernel_of(settings)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blurline-bench-")))
        socket, supervisor = valkey.socket_path(folder), Supervisor()
        stack.callback(supervisor.stop)
        supervisor.start(Program("valkey", valkey.command(folder, socket)))
        valkey.wait_until_ready(f"unix://{socket}", START_SECONDS)
        redis = connect(f"unix://{socket}")
        stack.callback(redis.close)
        finished = _finished(redis, own, kernel)
        specs = [job_spec(kernel, PHOTO_BYTES) for _ in range(depths[-1])]
        before, waiting = _used(redis), {}
        with progress("queued", len(specs)) as done:
            for queued, depth in pairwise([0, *depths]):
                for first in range(queued, depth, AT_A_TIME):
                    submit(Ledger(), own, redis, specs[first : min(depth, first + AT_A_TIME)])
                    done(first)
                waiting[f"{depth}"] = round((_used(redis) - before) / depth)
            done(len(specs))
        of_one = _bytes_of(redis, Job.key_for(specs[0].job_id))
    publish(
        "redis-memory",
        {
            "bytes_per_waiting_job": waiting,
            "bytes_of_its_hash_alone": of_one,
            "bytes_per_finished_job": finished,
            "finished_job_is_remembered_for_seconds": own.result_ttl,
            RECIPE: {"targets": list(kernel.options.targets), "pipeline": kernel.pipeline.name},
        },
    )


def _finished(redis: Redis, settings: Settings, kernel: Kernel) -> int:
    """Bytes of a job that is done."""
    before = _used(redis)
    submit(Ledger(), settings, redis, [job_spec(kernel, PHOTO_BYTES) for _ in range(DONE)], DONE)
    take(Ledger(), settings, redis, DONE)
    return round((_used(redis) - before) / DONE)


def _bytes_of(redis: Redis, key: str) -> int:
    return int(redis.memory_usage(key, samples=0) or 0)


def _used(redis: Redis) -> int:
    """Bytes of the data: without the log's buffer and what connections need."""
    memory: dict[str, Any] = redis.info("memory")
    return int(memory["used_memory"] - memory["mem_aof_buffer"] - memory["mem_clients_normal"])
