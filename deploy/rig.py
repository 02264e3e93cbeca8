"""The whole service in containers for the length of a check, as docker-compose.yml describes it."""

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.s3server import free_port
from blurline import __version__
from deploy.engine import BUILD_SECONDS, COMMAND_SECONDS, Docker

PROJECT_FILES = ("docker-compose.yml", "docker-compose.test.yml")
STANDINS_FILE = "deploy/standins/compose.yml"
SCOPES = "submit,read,delete"


@dataclass(frozen=True, slots=True)
class Rig:
    """The service's containers: where they listen, and a key for the API."""

    docker: Docker
    files: Sequence[str]
    environment: Mapping[str, str]
    api_key: str = ""

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://{self.environment['API_ADDRESS']}"

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus listens."""
        return f"http://{self.environment['PROMETHEUS_ADDRESS']}"

    def compose(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """What the command of compose prints.

        Raises:
            EngineError: it failed, or took longer than `seconds`.
        """
        files = [part for file in self.files for part in ("-f", file)]
        command = ("compose", "--progress", "quiet", *files, *arguments)
        return self.docker.run(*command, seconds=seconds, environment=self.environment)

    def build(self, arguments: Sequence[str]) -> None:
        """Build all images that the files can build, with these arguments (`NAME=VALUE`)."""
        given = [part for argument in arguments for part in ("--build-arg", argument)]
        self.compose("build", *given, seconds=BUILD_SECONDS)

    def keys(self, *command: str) -> str:
        """What a command prints that runs where the keys can be written."""
        return self.compose("run", "--rm", "keys", *command)

    def containers(self, service: str) -> list[str]:
        """The ids of the containers of a service that run."""
        return self.compose("ps", "--quiet", service).split()


def image(target: str) -> str:
    """The name of this version's image, as docker-compose.yml has it."""
    return f"blurline-{target}:{__version__}"


@contextmanager
def prepared(docker: Docker, *, standins: bool) -> Iterator[Rig]:
    """The service before its start: free ports, passwords, an empty folder for keys.

    Args:
        docker: the engine.
        standins: take stand-ins for the images that compose would fetch.
    """
    with tempfile.TemporaryDirectory(prefix="blurline-check-") as name:
        folder = Path(name, "secrets")
        folder.mkdir()
        environment = {
            "S3_SECRET_KEY": secrets.token_urlsafe(16),
            "GRAFANA_PASSWORD": secrets.token_urlsafe(16),
            "REDIS_API_PASSWORD": secrets.token_hex(16),
            "REDIS_WORKER_PASSWORD": secrets.token_hex(16),
            "REDIS_OPERATOR_PASSWORD": secrets.token_hex(16),
            "SECRETS_DIR": str(folder),
            **{
                f"{service}_ADDRESS": f"127.0.0.1:{free_port()}"
                for service in ("API", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")
            },
        }
        yield Rig(docker, (*PROJECT_FILES, *([STANDINS_FILE] if standins else [])), environment)


@contextmanager
def started(rig: Rig) -> Iterator[Rig]:
    """The service with keys made, all of it up and healthy; then nothing of it is left.

    Raises:
        EngineError: a step failed, or something does not get healthy.
    """
    try:
        rig.keys()
        key = rig.keys("blurline", "keys", "new", "check", "--scopes", SCOPES)
        rig.compose("up", "--detach", "--no-build", "--wait")
        yield Rig(rig.docker, rig.files, rig.environment, key)
    finally:
        rig.compose("down", "--volumes", "--timeout", "5")
        # The images' user owns the folder, so that we might not be able to remove it.
        rig.keys("sh", "-c", f"rm -rf /setup/keys/* && chown {os.getuid()} /setup/keys")
