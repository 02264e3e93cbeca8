"""A worker process: several rq workers in threads that share the loaded networks."""

import logging
import os
import socket
import threading
import time
from uuid import uuid4

import psutil
from redis.exceptions import RedisError
from rq import Queue

from blurline.errors import BlurlineError
from blurline.queue.connection import connect
from blurline.queue.jobqueue import rq_queue
from blurline.queue.keeper import Keeper
from blurline.queue.presence import Presence, WorkerReport
from blurline.queue.task import RUNNER, JobRunner
from blurline.queue.worker import HEARTBEAT_SECONDS, ImageWorker
from blurline.settings import Settings

KEEP_SECONDS = 1
RECONNECT_SECONDS = (0.5, 1, 2, 5)
"""Waits between tries to reach Redis again; the last one repeats."""

log = logging.getLogger(__name__)


class Crew:
    """The threads of one worker process.

    `run` returns after `stop`, when every running job is done. While Redis is away the threads
    wait for it; a job that was running then ends in the store, and its retry finds that.
    """

    def __init__(
        self, settings: Settings, redis_url: str, runner: JobRunner, models: tuple[str, ...]
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self._settings = settings
        self._redis_url = redis_url
        self._runner = runner
        self._models = models
        self._size = settings.worker_threads or 2 * usable_cores()
        self._stopping = threading.Event()
        self._workers: dict[int, ImageWorker] = {}
        self._queue: Queue = rq_queue(connect(redis_url), settings)
        self._process = psutil.Process()

    def run(self) -> None:
        """Work until `stop` is called."""
        threads = [
            threading.Thread(target=self._work, args=(number,), name=f"worker-{number}")
            for number in range(self._size)
        ]
        for thread in threads:
            thread.start()
        log.info("worker %s takes jobs, %d at a time", self.name, self._size)
        self._look_after(threads)
        log.info("worker %s has stopped", self.name)

    def stop(self) -> None:
        """Take no new jobs. Safe to call from a signal handler and more than once."""
        self._stopping.set()
        for worker in list(self._workers.values()):
            worker.stop()

    def _work(self, number: int) -> None:
        """One thread: an rq worker after the other, a new one whenever Redis was lost."""
        RUNNER.set(self._runner)
        lost = 0
        while not self._stopping.is_set():
            connection = connect(self._redis_url)
            try:
                worker = ImageWorker(
                    rq_queue(connection, self._settings), f"{self.name}-{number}-{lost}", connection
                )
                self._workers[number] = worker
                if self._stopping.is_set():
                    worker.stop()
                worker.work(logging_level="WARNING")
            except RedisError as error:
                log.warning("worker %s: Redis is away (%s)", self.name, type(error).__name__)
            finally:
                self._workers.pop(number, None)
                connection.close()
            self._stopping.wait(RECONNECT_SECONDS[min(lost, len(RECONNECT_SECONDS) - 1)])
            lost += 1

    def _look_after(self, threads: list[threading.Thread]) -> None:
        """The main thread: heartbeats, presence and the keeping of the queue, once a second."""
        keeper = Keeper(self._queue, self._runner)
        presence = Presence(self._queue.connection)
        next_beat = 0.0
        while any(thread.is_alive() for thread in threads):
            try:
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + HEARTBEAT_SECONDS
                    for worker in list(self._workers.values()):
                        worker.beat()
                presence.report(self._report())
                keeper.keep()
            except (RedisError, BlurlineError) as error:
                log.debug("worker %s: %s while looking after it", self.name, type(error).__name__)
            if self._stopping.wait(KEEP_SECONDS):
                # Nothing wakes the main thread any more, but running jobs still need their beat.
                time.sleep(KEEP_SECONDS / 4)
        try:
            presence.leave(self.name)
        except RedisError:
            log.debug("worker %s: Redis is away, so it leaves without a word", self.name)

    def _report(self) -> WorkerReport:
        return WorkerReport(
            name=self.name,
            threads=self._size,
            busy=sum(worker.busy for worker in list(self._workers.values())),
            models=self._models,
            cpu_percent=self._process.cpu_percent(),
            memory_bytes=self._process.memory_info().rss,
            reported_at=time.time(),
        )


def usable_cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))
