"""Builds the images and tries what they promise on a real container engine: `make container-check`.

A picture goes in and comes out blurred; a worker that is killed loses nothing; one that is told to
stop finishes first; nobody in a container is root or can write to it.
"""

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from io import BytesIO

import httpx
import numpy as np
from PIL import Image

from blurline.errors import BlurlineError
from deploy.engine import ROOT, Docker, EngineError, find_docker
from deploy.image import NOT_IN_API
from deploy.rigs import Rig, compose_rig, engine_rig, image

MOST_BYTES = {"api": 250_000_000, "worker": 900_000_000}
"""The largest size of an image, unpacked, its base included."""

USER = 10001
LOCAL_BASE = "blurline-base:local"
PICTURES = 16
SIDES = (3000, 2000)
"""Of the pictures that a worker is killed over: large enough that they take a while."""

ZONE = "[[[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]]"
JOB_SECONDS = 300.0

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


def main() -> None:
    """The command line; the exit status is 1 where a promise is broken."""
    chosen = _arguments()
    try:
        docker = find_docker()
        if chosen.make_base:
            _say(f"makes {LOCAL_BASE} from Debian's packages")
            _make_base()
        if not chosen.no_build:
            _build_all(docker, chosen)
        for target in MOST_BYTES:
            _check_image(docker, target)
        _check_service(docker, _rig(docker, chosen.mode))
    except BlurlineError as error:
        raise SystemExit(f"broken: {error.message}") from error
    _say("all promises are kept")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mode",
        choices=("auto", "compose", "engine"),
        default="auto",
        help="compose: the service of docker-compose.yml. engine: containers of the two images in "
        "the host's network beside a Valkey and an S3 server on the host; needs no registry. "
        "Default: compose where it is installed.",
    )
    parser.add_argument("--no-build", action="store_true", help="check the images that are there")
    parser.add_argument("--network", help="network of the build's commands, such as host")
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="may be given again"
    )
    parser.add_argument(
        "--make-base",
        action="store_true",
        help="make the base image by debootstrap, as root, in place of fetching one",
    )
    return parser.parse_args()


def _make_base() -> None:
    script = ROOT / "deploy/base-image.sh"
    done = subprocess.run([str(script), LOCAL_BASE], capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineError(f"{script.name}: {done.stderr[-2000:]}")


def _build_all(docker: Docker, chosen: argparse.Namespace) -> None:
    arguments = list(chosen.build_arg)
    if chosen.make_base:
        arguments.append(f"PYTHON_IMAGE={LOCAL_BASE}")
    if "PIP_INDEX_URL" in os.environ:
        arguments.append("PIP_INDEX_URL")
    for target in MOST_BYTES:
        seconds = docker.build(target, image(target), arguments, chosen.network)
        _say(f"built {image(target)} in {seconds:.0f} s")


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


def _rig(docker: Docker, mode: str) -> Callable[[Docker], AbstractContextManager[Rig]]:
    if mode == "auto":
        mode = "compose" if docker.has_compose() else "engine"
    _say(f"starts the service, mode {mode}")
    return compose_rig if mode == "compose" else engine_rig


def _check_service(docker: Docker, rig: Callable[[Docker], AbstractContextManager[Rig]]) -> None:
    started = time.monotonic()
    with rig(docker) as running:
        _say(f"API and two workers are healthy after {time.monotonic() - started:.0f} s")
        for container in (running.api, *running.workers):
            user, *written = docker.python_inside(container, _PROBE).splitlines()
            _expect(int(user) == USER and not written, f"{container[:12]}: not root, read-only")
        headers = {"Authorization": f"Bearer {running.api_key}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:
            _check_picture(client)
            _check_killed_worker(docker, running, client)
            _check_stopped_worker(docker, running.workers[1])


def _check_picture(client: httpx.Client) -> None:
    """A picture with a zone to redact goes in; it comes out with that zone black."""
    started = time.monotonic()
    (job_id,) = _upload(client, 1, (1280, 720), "fast")
    _wait_for(client, [job_id])
    _check_result(client, job_id, (1280, 720))
    _say(f"a picture came out redacted, {time.monotonic() - started:.1f} s after it went in")


def _check_killed_worker(docker: Docker, rig: Rig, client: httpx.Client) -> None:
    """`kill -9` while both workers work: every job still ends, and is counted once."""
    before = _completed(client)
    jobs = _upload(client, PICTURES, SIDES, "thorough")
    # Each worker runs two jobs at a time, so of three one at least is the victim's.
    _until(lambda: client.get("/queue-status").json()["processing"] >= 3, JOB_SECONDS)
    docker.run("kill", "--signal", "KILL", rig.workers[0])
    killed = time.monotonic()
    code = docker.inspect(rig.workers[0])["State"]["ExitCode"]
    _expect(code == 128 + signal.SIGKILL, f"a worker was killed at work (exit status {code})")
    left = client.get("/queue-status").json()
    _say(f"then {left['processing']} jobs were being worked on and {left['depth']} waited")
    _wait_for(client, jobs)
    for job_id in jobs:
        _check_result(client, job_id, SIDES)
    counted = _completed(client) - before
    _expect(counted == len(jobs), f"{counted} of {len(jobs)} jobs completed, each counted once")
    _say(f"the last one {time.monotonic() - killed:.0f} s after the kill")


def _check_stopped_worker(docker: Docker, worker: str) -> None:
    started = time.monotonic()
    docker.run("stop", "--time", "90", worker)
    code = docker.inspect(worker)["State"]["ExitCode"]
    seconds = time.monotonic() - started
    _expect(code == 0, f"a worker that is told to stop leaves by itself, after {seconds:.1f} s")


def _upload(client: httpx.Client, count: int, size: tuple[int, int], quality: str) -> list[str]:
    """The ids of that many jobs for one made-up picture."""
    data = {"redact_zones": ZONE, "style": "solid", "quality": quality}
    files = [("files", (f"{number}.jpg", _picture(size), "image/jpeg")) for number in range(count)]
    answer = client.post("/batch-upload", data=data, files=files)
    if answer.status_code != 202:
        raise EngineError(f"the upload was answered {answer.status_code}: {answer.text}")
    entries = answer.json()["jobs"]
    return [str(entry["job_id"]) for entry in entries]


def _picture(size: tuple[int, int]) -> bytes:
    """A JPEG of soft patches, bright everywhere."""
    patches = np.random.default_rng(7).integers(64, 256, (9, 16, 3), dtype=np.uint8)
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
