"""Builds the images and tries what they promise on a real container engine: `make container-check`.

The service starts as docker-compose.yml has it. A picture goes in and comes out blurred; a worker
that is killed loses nothing, nor does a Redis that loses all it has; a worker that is told to stop
finishes first; nobody in a container is root or can write to it; Prometheus sees everybody.
"""

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image

from blurline.errors import BlurlineError
from deploy.engine import ROOT, Docker, EngineError, find_docker
from deploy.image import NOT_IN_API
from deploy.rig import Rig, image, prepared, started

MOST_BYTES = {"api": 250_000_000, "worker": 900_000_000}
"""The largest size of an image, unpacked, its base included."""

USER = 10001
LOCAL_BASE = "blurline-base:local"
PICTURES = 16
SIDES = (3000, 2000)
"""Of the pictures that a worker is killed over: large enough that they take a while."""

ZONE = "[[[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]]"
ENDED = ("result", "certificate")
"""What a job that has ended has published."""

JOB_SECONDS = 300.0
SCRAPE_SECONDS = 60.0

_CHANCE = np.random.default_rng(7)
_PROBE = """
import os
print(os.getuid())
for folder in ("/", "/app", "/opt/blurline"):
    try:
        open(os.path.join(folder, "probe"), "w")
        print(folder)
    except OSError as error:
        pass
"""
_DISTRIBUTIONS = """
from importlib.metadata import distributions
print(*sorted(d.name.lower() for d in distributions()), sep="\\n")
"""
_WITHDRAW = "cd /setup/keys && cp -p api.keys new && : > new && mv new api.keys"
"""Leaves no key in the file, as an editor would: by another file in its place."""


def main() -> None:
    """The command line; the exit status is 1 where a promise is broken."""
    chosen = _arguments()
    try:
        docker = find_docker()
        if chosen.stand_ins and not _is_here(docker, LOCAL_BASE):
            _say(f"makes {LOCAL_BASE} from Debian's packages")
            _make_base()
        with prepared(docker, standins=chosen.stand_ins) as rig:
            if not chosen.no_build:
                _build(rig, chosen.build_arg)
            for target in MOST_BYTES:
                _check_image(docker, target)
            _check_service(rig)
    except BlurlineError as error:
        raise SystemExit(f"broken: {error.message}") from error
    _say("all promises are kept")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stand-ins",
        action="store_true",
        help="take programs from Debian's packages and wheels in place of the images that compose "
        "would fetch, but for Grafana; makes their base by debootstrap, as root, if there is none",
    )
    parser.add_argument("--no-build", action="store_true", help="check the images that are there")
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="may be given again"
    )
    return parser.parse_args()


def _is_here(docker: Docker, name: str) -> bool:
    return bool(docker.run("images", "--quiet", name))


def _make_base() -> None:
    script = ROOT / "deploy/base-image.sh"
    done = subprocess.run([str(script), LOCAL_BASE], capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineError(f"{script.name}: {done.stderr[-2000:]}")


def _build(rig: Rig, arguments: Sequence[str]) -> None:
    index = ["PIP_INDEX_URL"] if "PIP_INDEX_URL" in os.environ else []
    started_at = time.monotonic()
    rig.build([*arguments, *index])
    _say(f"built all images in {time.monotonic() - started_at:.0f} s")


def _check_image(docker: Docker, target: str) -> None:
    """Size, user, labels, and what is in it."""
    name = image(target)
    found = docker.inspect(name)
    size, most = int(found["Size"]), MOST_BYTES[target]
    _expect(size < most, f"{name} has {size / 1e6:.0f} MB of at most {most / 1e6:.0f}")
    labels = found["Config"]["Labels"]
    version = labels["org.opencontainers.image.version"]
    _expect(name.endswith(f":{version}"), f"{name} is labelled with its version")
    user, *written = docker.python(name, _PROBE).splitlines()
    _expect(int(user) == USER, f"{name} runs as user {user}")
    _expect(not written, f"{name}: that user can't change the image's files")
    installed = set(docker.python(name, _DISTRIBUTIONS).splitlines())
    if target == "api":
        _expect(not installed & set(NOT_IN_API), f"{name} goes without {', '.join(NOT_IN_API)}")
    _expect("pip" not in installed, f"{name} goes without pip")


def _check_service(rig: Rig) -> None:
    began = time.monotonic()
    with started(rig) as running:
        _say(f"all services are healthy after {time.monotonic() - began:.0f} s")
        workers = running.containers("worker")
        for container in (*running.containers("api"), *workers):
            user, *written = running.docker.python_inside(container, _PROBE).splitlines()
            _expect(int(user) == USER and not written, f"{container[:12]}: not root, read-only")
        headers = {"Authorization": f"Bearer {running.api_key}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:
            _check_erasure(client, _check_picture(client))
            _check_monitoring(running, len(workers))
            _check_killed_worker(running, workers[0], client)
            _check_emptied_queue(running, client)
            _check_stopped_worker(running.docker, workers[1])
            _check_withdrawn_key(running, client)


def _check_picture(client: httpx.Client) -> str:
    """A picture with a zone to redact goes in; it comes out with that zone black. Its job's id."""
    started = time.monotonic()
    (job_id,) = _upload(client, 1, (1280, 720), "fast")
    _wait_for(client, [job_id])
    _check_result(client, job_id, (1280, 720))
    _say(f"ok: a picture came out redacted, {time.monotonic() - started:.1f} s after it went in")
    return job_id


def _check_monitoring(rig: Rig, workers: int) -> None:
    """Prometheus reads the API and each worker, its rules make sense, and alerts have a way out."""
    with httpx.Client(base_url=f"{rig.prometheus_url}/api/v1", timeout=10) as client:

        def ask(path: str) -> Any:
            return client.get(path).json()["data"]

        def seen() -> int:
            return sum(target["health"] == "up" for target in ask("targets")["activeTargets"])

        # One more looks after the queues.
        _until(lambda: seen() == workers + 2, SCRAPE_SECONDS)
        _expect(True, f"Prometheus reads the API, {workers} workers and the upkeep")
        _until(lambda: bool(ask("alertmanagers")["activeAlertmanagers"]), SCRAPE_SECONDS)

        def health() -> list[str]:
            groups = ask("rules")["groups"]
            return [str(rule["health"]) for group in groups for rule in group["rules"]]

        # It is unknown until a rule was evaluated.
        _until(lambda: "unknown" not in health(), SCRAPE_SECONDS)
        good = health().count("ok")
        _expect(0 < good == len(health()), f"{good} of {len(health())} rules make sense")


def _check_killed_worker(rig: Rig, worker: str, client: httpx.Client) -> None:
    """`kill -9` while both workers work: every job still ends, and is counted once."""
    before = _completed(client)
    jobs = _upload(client, PICTURES, SIDES, "thorough")
    # Each worker runs two jobs at a time, so of three one at least is the victim's.
    _until(lambda: client.get("/queue-status").json()["processing"] >= 3, JOB_SECONDS)
    rig.docker.run("kill", "--signal", "KILL", worker)
    killed = time.monotonic()
    code = rig.docker.inspect(worker)["State"]["ExitCode"]
    _expect(code == 128 + signal.SIGKILL, f"a worker was killed at work (exit status {code})")
    left = client.get("/queue-status").json()
    _say(f"then {left['processing']} jobs were being worked on and {left['depth']} waited")
    _wait_for(client, jobs)
    for job_id in jobs:
        _check_result(client, job_id, SIDES)
    counted = _completed(client) - before
    _expect(counted == len(jobs), f"{counted} of {len(jobs)} jobs completed, each counted once")
    _say(f"the last one {time.monotonic() - killed:.0f} s after the kill")


def _check_emptied_queue(rig: Rig, client: httpx.Client) -> None:
    """Redis goes, and all that it kept; the workers queue again what the store has orders for."""
    jobs = _upload(client, PICTURES // 2, SIDES, "thorough")
    rig.compose("stop", "redis")
    rig.compose("run", "--rm", "--no-deps", "redis", "sh", "-c", "rm -rf /data/*")
    rig.compose("up", "--detach", "--no-build", "--no-deps", "--wait", "redis")
    emptied = time.monotonic()
    states = [client.get(f"/status/{job_id}").json()["status"] for job_id in jobs]
    left = len(jobs) - states.count("completed")
    _expect(left > 0, f"Redis is empty, and {left} jobs have not ended")
    _wait_for(client, jobs)
    for job_id in jobs:
        _check_result(client, job_id, SIDES)
    _say(f"ok: all {len(jobs)} jobs completed, the last {time.monotonic() - emptied:.0f} s later")


def _check_stopped_worker(docker: Docker, worker: str) -> None:
    started = time.monotonic()
    docker.run("stop", "--time", "90", worker)
    code = docker.inspect(worker)["State"]["ExitCode"]
    seconds = time.monotonic() - started
    _expect(code == 0, f"a worker that is told to stop leaves by itself, after {seconds:.1f} s")


def _check_erasure(client: httpx.Client, job_id: str) -> None:
    """A job that has ended is deleted; nothing of it is left, and the receipt says what went."""
    removed = client.delete(f"/jobs/{job_id}").json()["receipt"]["removed"]
    codes = {client.get(f"/{kind}/{job_id}").status_code for kind in ("status", *ENDED)}
    _expect(
        codes == {404} and {"original", *ENDED} <= set(removed),
        f"a deleted job is gone: {', '.join(removed)}",
    )


def _check_withdrawn_key(rig: Rig, client: httpx.Client) -> None:
    rig.keys("sh", "-c", _WITHDRAW)
    answer = client.get("/stats")
    _expect(answer.status_code == 401, f"a key without its line is answered {answer.status_code}")


def _upload(client: httpx.Client, count: int, size: tuple[int, int], quality: str) -> list[str]:
    """The ids of that many jobs, each for a made-up picture that is like no other."""
    data = {"redact_zones": ZONE, "style": "solid", "quality": quality}
    files = [("files", (f"{n}.jpg", _picture(size), "image/jpeg")) for n in range(count)]
    answer = client.post("/batch-upload", data=data, files=files)
    if answer.status_code != 202:
        raise EngineError(f"the upload was answered {answer.status_code}: {answer.text}")
    entries = answer.json()["jobs"]
    jobs = {str(entry["job_id"]) for entry in entries}
    if len(jobs) != count:
        raise EngineError(f"{count} pictures became {len(jobs)} jobs")
    return sorted(jobs)


def _picture(size: tuple[int, int]) -> bytes:
    """A JPEG of soft patches, bright everywhere."""
    patches = _CHANCE.integers(64, 256, (9, 16, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).save(content, "JPEG")
    return content.getvalue()


def _wait_for(client: httpx.Client, jobs: Sequence[str]) -> None:
    left = set(jobs)

    def all_ended() -> bool:
        for job_id in sorted(left):
            state = client.get(f"/status/{job_id}").json()
            if state["status"] == "failed":
                raise EngineError(f"a job failed: {state['error']}")
            if state["status"] == "completed":
                left.discard(job_id)
        return not left

    _until(all_ended, JOB_SECONDS)


def _check_result(client: httpx.Client, job_id: str, size: tuple[int, int]) -> None:
    with Image.open(BytesIO(client.get(f"/result/{job_id}").content)) as result:
        width, height = result.size
        middle = np.asarray(result.crop((width // 3, height // 3, width // 2, height // 2)))
        corner = np.asarray(result.crop((0, 0, width // 8, height // 8)))
    if (width, height) != size or middle.max() > 8 or corner.mean() < 64:
        raise EngineError("a result is not the picture with its zone made black")


def _completed(client: httpx.Client) -> int:
    return int(client.get("/stats").json()["totals"]["completed"])


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise EngineError(f"what was waited for did not happen within {seconds:.0f} s")
        time.sleep(0.2)


def _expect(kept: bool, promise: str) -> None:
    if not kept:
        raise EngineError(promise)
    _say(f"ok: {promise}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
