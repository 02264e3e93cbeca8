"""Ends a worker process that stands still in native code.

Code that never gives Python's lock back stops every thread of the process, the one that would look
after it included. So what watches is a thread that needs no Python, which `faulthandler` has.
"""

import faulthandler
import os
import threading
from types import TracebackType
from typing import Self

HUNG_STATUS = os.EX_SOFTWARE
"""What a worker process leaves with that ended itself because a job of its hung."""

PULSES = 10
"""Signs of life in the time after which a process without any is ended."""


class Pulse:
    """While it is entered, the process ends as soon as Python has not run for so many seconds.

    It then writes where each of its threads stood to its standard error, and leaves with status 1.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _beat(self) -> None:
        while True:
            faulthandler.dump_traceback_later(self._seconds, exit=True)
            if self._over.wait(self._seconds / PULSES):
                return
