"""What keeps all queues and the store in order, whichever queues a process works on, or none."""

import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING
from uuid import uuid4

from prometheus_client import start_http_server
from redis.exceptions import RedisError

from blurline import metrics
from blurline.errors import BlurlineError, SettingsError
from blurline.machine import MachineCollector, folders_of
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.stages.pipeline import Pipeline
from blurline.storage.objects import open_store
from blurline.storage.store import Store
from blurline.webhooks.outbox import open_outbox
from blurline.webhooks.rules import webhooks_of
from blurline.worker.cleaning import Cleaning, ask_bucket, open_leftovers, open_sweeper
from blurline.worker.endings import open_endings
from blurline.worker.keeper import Keeper
from blurline.worker.reconciler import Recovery, open_reconciler

if TYPE_CHECKING:
    from blurline.webhooks.messenger import Messenger

KEEP_SECONDS = 1
SWEEP_SECONDS = 600
RECOVER_SECONDS = 30
DELIVER_SECONDS = 5
TICK_SECONDS = 0.2
"""How often a main thread looks whether it should stop; a signal does not wake it."""

log = logging.getLogger(__name__)


class Upkeep:
    """Keeper, sweeper, reconciler and messenger of the whole service, each in a thread of its own.

    Any number of processes may have it: the first three take turns by locks in Redis, and events of
    the outbox are given out. Each has a thread since it may wait for the store or for receivers,
    and must not hold up heartbeats, without which living workers would be taken for dead.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        redis_url: str,
        store: Store,
        pipelines: Mapping[str, Pipeline],
    ) -> None:
        """Get ready; `name` is the process's in the log.

        Raises:
            SettingsError: the file of master keys or the secret of webhooks can't be used.
        """
        self._name = name
        redis = connect(redis_url)
        queues = Queues(redis, settings, pipelines)
        endings = open_endings(settings, redis, store, queues)
        self._keeper = Keeper(queues, endings, settings.abandoned_after)
        leftovers = open_leftovers(settings, queues, store)
        self._cleaning = Cleaning(redis, open_sweeper(settings, store), leftovers)
        reconciler = open_reconciler(settings, queues, store, endings.originals)
        self._recovery = Recovery(redis, reconciler, settings.queue_name)
        outbox = open_outbox(redis, settings, endings.end_of)
        self._messenger: Messenger | None = None
        if webhooks_of(settings) is not None:
            # It brings an HTTP client, which nothing else here needs.
            from blurline.webhooks.messenger import open_messenger

            self._messenger = open_messenger(settings, outbox)

    def start(self, stopping: threading.Event) -> None:
        """Do all of it until `stopping` is set."""
        work: dict[str, tuple[Callable[[], object], float]] = {
            "keeper": (self._keeper.keep, KEEP_SECONDS),
            "sweeper": (self._cleaning.sweep, SWEEP_SECONDS),
            "reconciler": (self._recovery.run, RECOVER_SECONDS),
        }
        if (messenger := self._messenger) is not None:
            work["messenger"] = (lambda: messenger.run(stopping), DELIVER_SECONDS)
        for name, (step, seconds) in work.items():
            threading.Thread(
                target=self._repeat, args=(name, step, seconds, stopping), name=name, daemon=True
            ).start()

    def _repeat(
        self, name: str, step: Callable[[], object], seconds: float, stopping: threading.Event
    ) -> None:
        while True:
            try:
                step()
            except (RedisError, BlurlineError) as error:
                log.debug("%s: the %s met with %s", self._name, name, type(error).__name__)
            except Exception:
                # A thread that ends is never replaced.
                log.exception("%s: the %s failed and begins anew", self._name, name)
            if stopping.wait(seconds):
                return


def run_upkeep(settings: Settings, pipelines: Mapping[str, Pipeline]) -> None:
    """Keep queues and store in order until SIGTERM or SIGINT, without taking a job.

    Raises:
        SettingsError: Redis or the store can't be reached for lack of a usable setting.
    """
    prepare_process()
    name, stopping = name_of_process(), threading.Event()
    store = open_store(settings)
    ask_bucket(settings)
    upkeep = Upkeep(name, settings, settings.redis_url or DEFAULT_URL, store, pipelines)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True

    stop_on_signals(stop)
    serve_metrics(settings)
    upkeep.start(stopping)
    log.info("upkeep %s looks after all queues", name)
    while not asked:
        time.sleep(TICK_SECONDS)
    stopping.set()
    log.info("upkeep %s has stopped", name)


def prepare_process() -> None:
    """A crash must not leave pictures or orders in a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def name_of_process() -> str:
    """A name that no other process has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call `stop`, which takes no lock."""

    def called(signum: int, frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, called)
    signal.signal(signal.SIGINT, called)


def serve_metrics(settings: Settings) -> None:
    """Serve this process's own metrics, if the settings name a port.

    Raises:
        SettingsError: the port is taken.
    """
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    if not port:
        return
    metrics.REGISTRY.register(MachineCollector(folders_of(settings.data_dir)))
    try:
        start_http_server(port, host)
    except OSError as error:
        raise SettingsError(
            f"WORKER_METRICS_PORT: can't listen on {host}:{port} ({error.strerror}); choose "
            "another one, or 0 for none"
        ) from error
