"""The plot of a simulated course."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.cluster import Course

AFTER_SECONDS = 120
"""How much of the time after the load is shown."""


def draw(course: Course, place: Path) -> None:
    """Write waiting jobs above workers, over the load and the first while after it."""
    # The same course is to give the same file, byte by byte.
    mpl.rcParams["svg.hashsalt"] = "blurline"
    end = course.load.seconds + AFTER_SECONDS
    moments = [moment for moment in course.moments if moment.time <= end]
    times = [moment.time for moment in moments]
    figure = Figure(figsize=(7, 4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.fill_between(times, [m.waiting for m in moments], color="#4c78a8", alpha=0.6)
    above.set_ylabel("waiting jobs")
    above.set_title(
        f"{course.load.rate:g} images/s for {course.load.seconds:g} s, "
        f"{course.worker.rate:g} images/s a worker (simulated)"
    )
    below.step(times, [m.wanted for m in moments], where="post", color="#999999", label="wanted")
    below.step(times, [m.working for m in moments], where="post", color="#e45756", label="working")
    below.set_ylabel("workers")
    below.set_xlabel("seconds")
    below.set_ylim(bottom=0)
    below.legend(loc="lower right")
    for part in (above, below):
        part.axvspan(0, course.load.seconds, color="#f2cf5b", alpha=0.25)
        part.grid(alpha=0.3)
        part.margins(x=0)
    figure.savefig(place, metadata={"Date": None} if place.suffix == ".svg" else None)
