"""The container engine, by its own command line."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurline.errors import BlurlineError

BUILD_SECONDS = 3600
COMMAND_SECONDS = 300
ROOT = Path(__file__).parent.parent


class EngineError(BlurlineError):
    """A command of the engine failed, or what it shows is not what was promised."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="engine")


@dataclass(frozen=True, slots=True)
class Docker:
    """The program `docker`."""

    program: str = "docker"

    def run(
        self,
        *arguments: str,
        seconds: float = COMMAND_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """What the command prints, without the last line's end.

        Raises:
            EngineError: it failed, or took longer than `seconds`.
        """
        try:
            done = subprocess.run(
                [self.program, *arguments],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except FileNotFoundError as error:
            raise EngineError(f"{self.program} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{_short(arguments)} took more than {seconds:.0f} s") from error
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip())[-2000:]
            raise EngineError(f"{_short(arguments)}: {reason}")
        return done.stdout.rstrip("\n")

    def inspect(self, thing: str) -> dict[str, Any]:
        """What the engine knows of an image or a container."""
        (found,) = json.loads(self.run("inspect", thing))
        return dict(found)

    def has_compose(self) -> bool:
        """Whether `docker compose` is there."""
        try:
            self.run("compose", "version")
        except EngineError:
            return False
        return True

    def build(self, target: str, tag: str, arguments: Sequence[str], network: str | None) -> float:
        """Build a target of the Dockerfile; the seconds that it took.

        Args:
            target: the target.
            tag: the image's name.
            arguments: build arguments as `NAME=VALUE`, or `NAME` for the environment's value.
            network: the network of the build's commands; the engine's default without one.
        """
        command = ["build", "--target", target, "--tag", tag]
        command += [part for argument in arguments for part in ("--build-arg", argument)]
        command += ["--network", network] if network else []
        started = time.monotonic()
        self.run(*command, ".", seconds=BUILD_SECONDS)
        return time.monotonic() - started

    def python(self, image: str, code: str, *options: str) -> str:
        """What the code prints in a new container of the image, as the image's own user."""
        return self.run("run", "--rm", "--network", "none", *options, image, "python", "-c", code)

    def python_inside(self, container: str, code: str) -> str:
        """What the code prints in a container that runs."""
        return self.run("exec", container, "python", "-c", code)

    def health(self, container: str) -> str:
        """The state of a container, or of its health check while it runs."""
        state = self.inspect(container)["State"]
        return str(state["Health"]["Status"] if state["Running"] else state["Status"])

    def wait_until_healthy(self, container: str, seconds: float) -> None:
        """Return when the container's own health check passes.

        Raises:
            EngineError: it does not within `seconds`, or the container ended.
        """
        deadline = time.monotonic() + seconds
        while (health := self.health(container)) != "healthy":
            if health == "exited" or time.monotonic() > deadline:
                log = subprocess.run(
                    [self.program, "logs", "--tail", "20", container],
                    capture_output=True,
                    text=True,
                    timeout=COMMAND_SECONDS,
                )
                raise EngineError(f"{container} is {health}: {log.stdout}{log.stderr}")
            time.sleep(0.5)


def find_docker() -> Docker:
    """The engine, if it answers.

    Raises:
        EngineError: it is not installed, or does not run.
    """
    if shutil.which("docker") is None:
        raise EngineError("docker is not installed")
    docker = Docker()
    docker.run("version", "--format", "{{.Server.Version}}")
    return docker


def _short(arguments: Sequence[str]) -> str:
    return "docker " + " ".join(arguments[:3])
