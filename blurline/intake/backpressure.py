"""Whether a queue takes more: by the number of jobs that wait, and by how long they will take."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from blurline import metrics
from blurline.errors import QueueFullError
from blurline.queue.capacity import Capacity
from blurline.queue.jobqueue import JobQueue, Submission

RETRY_SHARE = 0.1
"""A caller is told to come back when about this share of the queue has been worked off."""

LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class BackPressure:
    """The places of one queue.

    Attributes:
        capacity: jobs that may wait.
        most_seconds: that the work ahead may take; 0 if it does not matter.
        several: whether there is more than one caller, who then share the places.
    """

    queue: JobQueue
    load: Capacity
    capacity: int
    most_seconds: float
    several: Callable[[], bool] = lambda: False

    def now(self) -> int:
        """How many jobs may wait at this moment: none more if those before take too long.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        return 0 if self._too_long() else self.capacity

    def shared(self) -> int | None:
        """How many places callers share: those that are worked off in time; None with one caller.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        if not self.several():
            return None
        each = self.load.seconds_each() if self.most_seconds else None
        return self.capacity if not each else min(self.capacity, int(self.most_seconds / each))

    def check(self, owner: str | None) -> None:
        """Return if the queue takes another job of that caller, so that nothing is stored in vain.

        Raises:
            QueueFullError: it does not.
            QueueUnavailableError: Redis is away.
        """
        place = self.queue.room(owner, self.now(), self.shared())
        if not place.taken:
            raise self.full(place)

    def full(self, place: Submission) -> QueueFullError:
        """What a caller is told who got no place, by what the queue lacks; it is counted too."""
        if place is Submission.SHARE:
            metrics.UPLOADS.labels(self.queue.name, "share").inc()
            return QueueFullError(
                "you hold your share of the queue's places; try again later",
                retry_after=self._retry_after(),
            )
        too_long = self._too_long()
        if too_long:
            metrics.UPLOADS.labels(self.queue.name, "late").inc()
            return QueueFullError(
                f"what waits takes more than {self.most_seconds:g} s; try again later",
                retry_after=min(LONGEST_RETRY_SECONDS, math.ceil(too_long)),
            )
        metrics.UPLOADS.labels(self.queue.name, "full").inc()
        return QueueFullError(
            f"the queue holds its {self.capacity} jobs; try again later",
            retry_after=self._retry_after(),
        )

    def _too_long(self) -> float:
        """By how many seconds the work ahead is more than it may be; 0 if it is not."""
        if not self.most_seconds:
            return 0.0
        ahead = self.load.predicted_seconds()
        return 0.0 if ahead is None else max(0.0, ahead - self.most_seconds)

    def _retry_after(self) -> int:
        ahead = self.load.predicted_seconds()
        if ahead is None:
            return LONGEST_RETRY_SECONDS
        return max(1, min(LONGEST_RETRY_SECONDS, math.ceil(ahead * RETRY_SHARE)))
