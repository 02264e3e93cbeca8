"""The container engine, by its own command line."""

import json
import os
import subprocess
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

    def python(self, image: str, code: str, *options: str) -> str:
        """What the code prints in a new container of the image, as the image's own user."""
        return self.run("run", "--rm", "--network", "none", *options, image, "python", "-c", code)

    def python_inside(self, container: str, code: str) -> str:
        """What the code prints in a container that runs."""
        return self.run("exec", container, "python", "-c", code)


def find_docker() -> Docker:
    """The engine, if it answers and has compose.

    Raises:
        EngineError: it is not installed or does not run, or compose is not installed.
    """
    docker = Docker()
    docker.run("version", "--format", "{{.Server.Version}}")
    docker.run("compose", "version")
    return docker


def _short(arguments: Sequence[str]) -> str:
    return "docker " + " ".join(arguments[:3])
