"""CPU time by account: which part of the work took it."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class Ledger:
    """CPU seconds by name, of all threads of this process, while one picture is treated at a time.

    What has been charged to one name is not charged to another one again.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = 0.0
        self._last = time.process_time()

    def start(self) -> None:
        """Begin a lap; what was used before it belongs to nobody."""
        self._inside, self._last = 0.0, time.process_time()

    def lap(self, name: str) -> None:
        """Charge `name` with what was used since the last lap, but for what `charged` took."""
        now = time.process_time()
        self.seconds[name] += now - self._last - self._inside
        self._inside, self._last = 0.0, now

    def charged(self, name: str, call: Callable[[], Any]) -> Any:
        """The call's result; what it uses is charged to `name`."""
        started = time.process_time()
        try:
            return call()
        finally:
            used = time.process_time() - started
            self.seconds[name] += used
            self._inside += used

    def ms_per(self, images: int) -> dict[str, float]:
        """Milliseconds an image."""
        return {name: 1000 * seconds / images for name, seconds in self.seconds.items()}


class Charged:
    """Stands in for an object: the CPU time of every call of its methods goes to one account."""

    def __init__(self, inner: Any, name: str, ledger: Ledger) -> None:
        self._inner = inner
        self._name = name
        self._ledger = ledger

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._inner, attribute)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            return self._ledger.charged(self._name, lambda: value(*arguments, **named))

        return call
