"""The kernel limit: what the machine does with the bare work and no service around it."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from blurline.imaging.header import Limits, read_header
from blurline.inference.detector import Detectors
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline, Redacting
from blurline.treatment.opening import open_frame
from blurline.treatment.writing import write


@dataclass(frozen=True, slots=True)
class Kernel:
    """Decode, networks, blur and encode: all that has to be done with a picture."""

    pipeline: Pipeline
    options: Options
    detectors: Detectors
    limits: Limits
    quality: int

    def run(self, photo: bytes, lap: Callable[[str], None] = lambda name: None) -> None:
        """Treat one picture; `lap` is called after each step with its name."""
        header = read_header(photo, self.limits)
        frame = open_frame(photo, header, self.pipeline, self.options, self.detectors)
        lap("decode")
        for stage in self.pipeline.stages:
            assert isinstance(stage, Redacting)  # noqa: S101 - which is what is measured here
            frame = stage.run(frame, self.options, self.detectors)
            lap(stage.name)
        write(photo, header, frame, self.options, self.quality)
        lap("encode")

    def images_per_second(self, photos: list[bytes], threads: int, seconds: float) -> float:
        """Throughput of so many threads in this process."""
        turn = itertools.cycle(photos)
        lock, stop_at = threading.Lock(), time.perf_counter() + seconds
        done = [0] * threads

        def work(number: int) -> None:
            while time.perf_counter() < stop_at:
                with lock:
                    photo = next(turn)
                self.run(photo)
                done[number] += 1

        started = time.perf_counter()
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(done) / (time.perf_counter() - started)
