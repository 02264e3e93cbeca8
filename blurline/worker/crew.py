"""A worker process: several rq workers in threads that share the loaded networks."""

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from uuid import uuid4

import psutil
from redis.exceptions import RedisError

from blurline import metrics
from blurline.errors import BlurlineError
from blurline.jobs.leftovers import Leftovers
from blurline.machine import usable_cores
from blurline.queue.connection import connect, reason
from blurline.queue.jobqueue import JobQueue
from blurline.queue.presence import Presence, WorkerReport
from blurline.settings import Settings
from blurline.storage.retention import Sweeper
from blurline.webhooks.messenger import open_messenger
from blurline.webhooks.outbox import open_outbox
from blurline.worker.keeper import Keeper
from blurline.worker.loop import BEATS, ImageWorker
from blurline.worker.reconciler import Reconciler, Recovery
from blurline.worker.runner import RUNNER, JobRunner
from blurline.worker.upkeep import Upkeep
from blurline.worker.watchdog import HUNG_STATUS, Pulse

KEEP_SECONDS = 1
REPORT_SECONDS = 1
SWEEP_SECONDS = 600
RECOVER_SECONDS = 30
TICK_SECONDS = 0.2
"""How often the main thread looks whether it should stop; a signal does not wake it."""

RECONNECT_SECONDS = (0.5, 1, 2, 5)
"""Waits between tries to reach Redis again; the last one repeats."""

log = logging.getLogger(__name__)


class Crew:
    """The threads of one worker process.

    `run` returns after `stop`, when every running job is done. While Redis is away the threads
    wait for it; a job that was running then ends in the store, and its retry finds that.

    `precisions` says by loaded network in what it computes.

    A job that hangs where nothing can interrupt it ends the process, once the others are done:
    whoever watches over it starts another one.
    """

    def __init__(
        self,
        settings: Settings,
        redis_url: str,
        runner: JobRunner,
        precisions: Mapping[str, str],
        sweeper: Sweeper,
        reconciler: Reconciler,
        leftovers: Leftovers,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self._settings = settings
        self._redis_url = redis_url
        self._runner = runner
        self._precisions = precisions
        self._size = settings.worker_threads or 2 * usable_cores()
        self._stop_requested = False
        self._hung = False
        self._stopping = threading.Event()
        self._workers: dict[int, ImageWorker] = {}
        self._queue = JobQueue(connect(redis_url), settings).rq
        self._upkeep = Upkeep(connect(redis_url), sweeper, leftovers)
        self._recovery = Recovery(connect(redis_url), reconciler, settings.queue_name)
        outbox = open_outbox(connect(redis_url), settings, runner.end_of)
        self._messenger = open_messenger(settings, outbox)
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
        with Pulse(self._settings.job_timeout + self._settings.abandoned_after):
            self._look_after(threads)
        log.info("worker %s has stopped", self.name)
        if self._hung:
            os._exit(HUNG_STATUS)

    def stop(self) -> None:
        """Take no new jobs. Safe to call from a signal handler: it takes no lock."""
        self._stop_requested = True

    def _work(self, number: int) -> None:
        """One thread: an rq worker after the other, a new one whenever Redis was lost."""
        RUNNER.set(self._runner)
        lost = 0
        while not self._stopping.is_set():
            connection = connect(self._redis_url)
            try:
                worker = ImageWorker(
                    JobQueue(connection, self._settings).rq,
                    f"{self.name}-{number}-{lost}",
                    connection,
                    self._settings.abandoned_after,
                )
                self._workers[number] = worker
                if self._stopping.is_set():
                    worker.stop()
                worker.work(logging_level="WARNING")
            except RedisError as error:
                metrics.REDIS_ERRORS.inc()
                log.warning("worker %s: Redis is away (%s)", self.name, reason(error))
            except Exception:
                # A thread that ends is never replaced.
                log.exception("worker %s: a thread was lost and begins anew", self.name)
            finally:
                self._workers.pop(number, None)
                connection.close()
            self._stopping.wait(RECONNECT_SECONDS[min(lost, len(RECONNECT_SECONDS) - 1)])
            lost += 1

    def _look_after(self, threads: list[threading.Thread]) -> None:
        """The main thread: heartbeats and presence, once a second."""
        helpers = {
            "keeper": self._keep,
            "sweeper": self._sweep,
            "reconciler": self._recover,
            "messenger": self._deliver,
        }
        for name, target in helpers.items():
            threading.Thread(target=target, name=name, daemon=True).start()
        presence = Presence(self._queue.connection)
        next_beat = next_report = 0.0
        while self._at_work(threads):
            if self._stop_requested and not self._stopping.is_set():
                self._stopping.set()
                for worker in list(self._workers.values()):
                    worker.stop()
            now = time.monotonic()
            try:
                if now >= next_beat:
                    next_beat = now + self._settings.abandoned_after / BEATS
                    for worker in list(self._workers.values()):
                        worker.beat()
                if now >= next_report:
                    next_report = now + REPORT_SECONDS
                    presence.report(self._report())
            except RedisError as error:
                metrics.REDIS_ERRORS.inc()
                log.debug("worker %s: Redis is away (%s)", self.name, reason(error))
            time.sleep(TICK_SECONDS)
        try:
            presence.leave(self.name)
        except RedisError:
            log.debug("worker %s: Redis is away, so it leaves without a word", self.name)

    def _at_work(self, threads: list[threading.Thread]) -> bool:
        """Whether a thread still runs that can be waited for; the first that can't ends the work.

        A thread that hangs can't be ended, and its memory and locks stay with the process.
        """
        hung = {
            number: job_id
            for number, worker in list(self._workers.items())
            if (job_id := worker.hung) is not None
        }
        if hung and not self._hung:
            self._hung = True
            self.stop()
            log.error(
                "worker %s: job %s hangs and can't be interrupted; it was given to another worker, "
                "and this process ends when its other jobs are done",
                self.name,
                next(iter(hung.values())),
            )
        return any(thread.is_alive() for n, thread in enumerate(threads) if n not in hung)

    def _keep(self) -> None:
        """The keeping of the queue, once a second.

        In a thread of its own: it may wait for the store, and must not hold up the heartbeats,
        without which living workers would be taken for dead.
        """
        keeper = Keeper(self._queue, self._runner, self._settings.abandoned_after)
        while not self._stopping.wait(KEEP_SECONDS):
            try:
                keeper.keep()
            except (RedisError, BlurlineError) as error:
                log.debug("worker %s: %s while keeping", self.name, type(error).__name__)
            except Exception:
                log.exception("worker %s: the queue could not be kept", self.name)

    def _sweep(self) -> None:
        """The upkeep of the store, now and then, in a thread of its own since it may take long."""
        while True:
            try:
                self._upkeep.sweep()
            except (RedisError, BlurlineError) as error:
                log.debug("worker %s: %s while sweeping", self.name, type(error).__name__)
            except Exception:
                log.exception("worker %s: the store could not be swept", self.name)
            if self._stopping.wait(SWEEP_SECONDS):
                return

    def _recover(self) -> None:
        """The search for lost jobs, when it is due, in a thread of its own as above."""
        while True:
            try:
                self._recovery.run()
            except (RedisError, BlurlineError) as error:
                log.debug("worker %s: %s while reconciling", self.name, type(error).__name__)
            except Exception:
                log.exception("worker %s: the store could not be looked through", self.name)
            if self._stopping.wait(RECOVER_SECONDS):
                return

    def _deliver(self) -> None:
        """Webhooks, if there are any, in a thread of its own since receivers may be slow."""
        while self._messenger is not None and not self._stopping.is_set():
            try:
                self._messenger.run(self._stopping)
            except Exception:
                log.exception("worker %s: no webhook is sent for a while", self.name)
                self._stopping.wait(RECONNECT_SECONDS[-1])

    def _report(self) -> WorkerReport:
        return WorkerReport(
            name=self.name,
            threads=self._size,
            busy=sum(worker.busy for worker in list(self._workers.values())),
            models=tuple(self._precisions),
            cpu_percent=self._process.cpu_percent(),
            memory_bytes=self._process.memory_info().rss,
            reported_at=time.time(),
            precisions=self._precisions,
        )
