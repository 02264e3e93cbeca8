"""What this service uses of rq beyond its documented names, and so has to be looked at anew with
every minor version: whoever raises the one in pyproject.toml reads rq's changes at these names."""

import ast
import inspect
import textwrap
import tomllib
from typing import Any

import pytest
import rq
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.registry import (
    BaseRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.utils import now

from blurline.queue.queuedjob import PictureQueue, QueuedJob, StartedJobs
from blurline.worker.loop import ImageJob, ImageWorker
from tests.parts import ROOT

MINOR = "2.12"

OVERRIDDEN: dict[type, dict[str, tuple[str, ...]]] = {
    SimpleWorker: {
        "_install_signal_handlers": (),
        "_set_ip_address": ("connection",),
        "check_for_suspension": ("burst",),
        "dequeue_job_and_maintain_ttl": ("timeout", "max_idle_time"),
        "execute_job": ("job", "queue"),
        "get_heartbeat_ttl": ("job",),
        "handle_exception": ("job", "exc_info"),
        "handle_execution_ended": ("job", "queue", "heartbeat_ttl"),
        "handle_job_failure": ("job", "queue", "started_job_registry", "exc_string"),
        "handle_job_success": ("job", "queue", "started_job_registry"),
        "heartbeat": ("timeout", "pipeline"),
        "prepare_job_execution": ("job", "remove_from_intermediate_queue"),
        "subscribe": (),
    },
    Job: {"perform": (), "refresh": (), "restore": ("raw_data",)},
    Queue: {"enqueue_dependents": ("job", "pipeline", "exclude_job_id", "refresh_job_status")},
    StartedJobRegistry: {"get_queue": ()},
}
"""Methods of rq that are replaced, and what they are called with beside `self`."""

ATTRIBUTES: dict[type, set[str]] = {
    SimpleWorker: {
        "death_penalty_class",
        "job_class",
        "log_result_lifespan",
        "should_run_maintenance_tasks",
    },
    Job: set(),
    Queue: {"job_class", "started_job_registry"},
    StartedJobRegistry: set(),
}
"""Attributes and properties of rq that are replaced."""

PRIVATE: dict[type, set[str]] = {
    SimpleWorker: {"_stop_requested"},
    Job: {"_args", "_func_name", "_instance", "_kwargs", "_status"},
    Queue: set(),
    StartedJobRegistry: set(),
}
"""Private attributes of rq that are read or set."""

CALLED: dict[type, set[str]] = {
    SimpleWorker: {
        "cleanup_execution",
        "increment_successful_job_count",
        "perform_job",
        "set_current_job_id",
        "set_state",
    },
    Job: {"prepare_for_execution", "to_dict"},
    Execution: {"create", "heartbeat"},
    BaseRegistry: {"cleanup"},
}
"""Other names that stand in no page of rq's documentation."""

OURS: dict[type, tuple[type, ...]] = {
    SimpleWorker: (ImageWorker,),
    Job: (QueuedJob, ImageJob),
    Queue: (PictureQueue,),
    StartedJobRegistry: (StartedJobs,),
}


def test_rq_is_of_the_minor_version_that_was_looked_at() -> None:
    about = f"this is rq {rq.VERSION}: look at each name in this file before MINOR is raised"
    assert rq.VERSION.split(".")[:2] == MINOR.split("."), about
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    major, minor = map(int, MINOR.split("."))
    assert f"rq>={MINOR},<{major}.{minor + 1}" in project["dependencies"]


@pytest.mark.parametrize("theirs", OVERRIDDEN, ids=lambda one: one.__name__)
def test_each_method_that_is_replaced_is_called_by_rq_as_it_was(theirs: type) -> None:
    for name, expected in OVERRIDDEN[theirs].items():
        method = getattr(theirs, name, None)
        assert method is not None, f"rq {rq.VERSION} has no {theirs.__name__}.{name}"
        given = tuple(inspect.signature(method).parameters)[1:]
        assert given == expected, f"rq {rq.VERSION}: {theirs.__name__}.{name}{given}"


@pytest.mark.parametrize("theirs", OURS, ids=lambda one: one.__name__)
def test_nothing_else_of_rq_is_replaced(theirs: type) -> None:
    own = {name for one in OURS[theirs] for name in vars(one) if not name.startswith("__")}
    replaced = {name for name in own if hasattr(theirs, name)}
    assert replaced == {*OVERRIDDEN[theirs], *ATTRIBUTES[theirs]}


@pytest.mark.parametrize("theirs", OURS, ids=lambda one: one.__name__)
def test_nothing_else_that_is_private_to_rq_is_used(theirs: type) -> None:
    used = {name for one in OURS[theirs] for name in touched(one) if private(name)}
    rqs = {name for one in theirs.__mro__[:-1] for name in touched(one)}
    assert used & rqs - {*OVERRIDDEN[theirs]} == PRIVATE[theirs]


def touched(one: type) -> set[str]:
    """Names of the attributes of `self` in the source of a class."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_all_else_that_is_called_is_there() -> None:
    for theirs, names in CALLED.items():
        for name in names:
            assert hasattr(theirs, name), f"rq {rq.VERSION} has no {theirs.__name__}.{name}"


class Unasked:
    """Stands where a connection to Redis would; nobody asks it anything."""

    connection_pool: Any = None


def test_names_in_redis_are_those_that_scripts_rights_and_tools_know() -> None:
    queue = Queue("q", connection=Unasked())  # type: ignore[arg-type]
    assert (queue.key, Queue.redis_queues_keys) == ("rq:queue:q", "rq:queues")
    assert queue.intermediate_queue_key == "rq:queue:q:intermediate"
    assert IntermediateQueue.get_intermediate_queue_key("rq:queue:q").endswith(":intermediate")
    assert (Job.key_for("x"), Job.redis_job_namespace_prefix) == ("rq:job:x", "rq:job:")
    registries = {
        StartedJobRegistry: "rq:wip:q",
        FinishedJobRegistry: "rq:finished:q",
        FailedJobRegistry: "rq:failed:q",
        ScheduledJobRegistry: "rq:scheduled:q",
    }
    for registry, key in registries.items():
        assert registry("q", connection=Unasked()).key == key  # type: ignore[arg-type]


def test_the_fields_of_a_job_that_are_read_are_those_that_rq_writes() -> None:
    job = Job.create("f", connection=Unasked(), id="x", status=JobStatus.QUEUED)  # type: ignore[arg-type]
    job.retries_left, job.enqueued_at, job.meta = 5, now(), {"owner": "x"}
    written = set(job.to_dict())
    assert {"data", "status", "created_at", "enqueued_at", "started_at", "ended_at"} <= written
    assert {"retries_left", "meta"} <= written
