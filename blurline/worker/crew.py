"""A worker process: several rq workers in threads that share the loaded networks."""

import logging
import os
import threading
import time
from collections.abc import Mapping

import psutil
from redis.exceptions import RedisError

from blurline import metrics
from blurline.queue.connection import connect, reason
from blurline.queue.presence import Hands, Presence, WorkerReport
from blurline.queue.queuedjob import PictureQueue
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.worker.loop import BEATS, ImageWorker
from blurline.worker.runner import RUNNER, JobRunner
from blurline.worker.upkeep import TICK_SECONDS, Upkeep
from blurline.worker.watchdog import HUNG_STATUS, Pulse

REPORT_SECONDS = 1

RECONNECT_SECONDS = (0.5, 1, 2, 5)
"""Waits between tries to reach Redis again; the last one repeats."""

log = logging.getLogger(__name__)


class Crew:
    """The threads of one worker process.

    `run` returns after `stop`, when every running job is done. While Redis is away the threads
    wait for it; a job that was running then ends in the store, and its retry finds that.

    A thread serves one queue. rq takes a job from one by a single move onto a list of those just
    taken, from which it is given back if its worker dies; from several it would pop it, and a
    worker that dies before it begins would leave the job on no list at all.

    A job that hangs where nothing can interrupt it ends the process, once the others are done:
    whoever watches over it starts another one.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        redis_url: str,
        served: Mapping[str, int],
        runner: JobRunner,
        precisions: Mapping[str, str],
        upkeep: Upkeep,
    ) -> None:
        """Get ready.

        Args:
            name: of the process.
            served: by name of a queue how many of its jobs run at a time.
            precisions: by loaded network in what it computes.
        """
        self.name = name
        self._settings = settings
        self._redis_url = redis_url
        self._served = served
        self._runner = runner
        self._precisions = precisions
        self._upkeep = upkeep
        self._stop_requested = False
        self._hung = False
        self._stopping = threading.Event()
        self._workers: dict[int, ImageWorker] = {}
        self._process = psutil.Process()

    def run(self, queues: Queues) -> None:
        """Work on those of the queues that are served until `stop` is called."""
        places = [queues[name].rq for name, count in self._served.items() for _ in range(count)]
        threads = [
            threading.Thread(target=self._work, args=(number, queue), name=f"worker-{number}")
            for number, queue in enumerate(places)
        ]
        for thread in threads:
            thread.start()
        told = ", ".join(f"{count} of {name}" for name, count in self._served.items())
        log.info("worker %s takes jobs, at a time %s", self.name, told)
        longest = max(queue.terms.timeout for queue in places)
        with Pulse(longest + self._settings.abandoned_after):
            self._look_after(threads, Presence(queues.redis, queues.first.name))
        log.info("worker %s has stopped", self.name)
        if self._hung:
            os._exit(HUNG_STATUS)

    def stop(self) -> None:
        """Take no new jobs. Safe to call from a signal handler: it takes no lock."""
        self._stop_requested = True

    def _work(self, number: int, queue: PictureQueue) -> None:
        """One thread: an rq worker after the other, a new one whenever Redis was lost."""
        RUNNER.set(self._runner)
        lost = 0
        while not self._stopping.is_set():
            connection = connect(self._redis_url)
            try:
                worker = ImageWorker(
                    queue.over(connection),
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

    def _look_after(self, threads: list[threading.Thread], presence: Presence) -> None:
        """The main thread: heartbeats and presence, once a second."""
        self._upkeep.start(self._stopping)
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

    def _report(self) -> WorkerReport:
        busy = [worker.serves for worker in list(self._workers.values()) if worker.busy]
        return WorkerReport(
            name=self.name,
            threads=sum(self._served.values()),
            busy=len(busy),
            models=tuple(self._precisions),
            cpu_percent=self._process.cpu_percent(),
            memory_bytes=self._process.memory_info().rss,
            reported_at=time.time(),
            precisions=self._precisions,
            queues={name: Hands(count, busy.count(name)) for name, count in self._served.items()},
        )
