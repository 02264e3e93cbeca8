"""What a worker does with one job: the way of an image from the store back to the store."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from blurline.errors import BlurlineError, OptionError, OriginalMissingError
from blurline.imaging.decode import decode
from blurline.imaging.encode import encode
from blurline.imaging.header import Limits, read_header
from blurline.inference.detector import Detectors
from blurline.jobs.job import (
    JobRecord,
    JobSpec,
    blur_metadata,
    completed,
    detection_metadata,
)
from blurline.stages.frame import Frame
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.store import Store


@dataclass(frozen=True, slots=True)
class Processed:
    """A picture that is done: the record to commit, the frame, and wall-clock seconds a stage."""

    record: JobRecord
    frame: Frame
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Processor:
    """Treats pictures with networks that are loaded once. One serves all threads of a worker."""

    store: Store
    pipelines: Mapping[str, Pipeline]
    detectors: Detectors
    limits: Limits
    quality: int

    def process(self, spec: JobSpec) -> Processed:
        """Fetch, decode, run the stages, encode and store; the record is left to the caller.

        The processed picture is written before its record, so that a record never names a picture
        that is not there. Any error leaves no record, so no half-treated picture is ever visible.

        Raises:
            PictureError: the picture can't be read; trying again would not help.
            OptionError: the job asks for what this worker does not have, networks included.
            OriginalMissingError: the original is gone.
            StoreUnavailableError: worth another try.
            BlurlineError: `not_redacted`, the pipeline would have let the picture through as it is.
        """
        watch = Stopwatch()
        data = self.store.get(spec.original)
        if data is None:
            raise OriginalMissingError("the original picture is not in the store any more")
        watch.lap("fetch")
        pipeline = self.pipelines.get(spec.pipeline)
        if pipeline is None:
            raise OptionError("this worker knows no pipeline of the name that the job asks for")
        header = read_header(data, self.limits)
        frame = Frame(decode(data, header))
        watch.lap("decode")
        frame, stage_seconds = pipeline.run(frame, spec.options, self.detectors)
        watch.skip(stage_seconds)
        if frame.redactions is None:
            raise BlurlineError("no stage of the pipeline blurs", code="not_redacted")
        picture = encode(frame.pixels, spec.kind, self.quality)
        watch.lap("encode")
        key = keys.processed(spec.job_id, spec.kind)
        self.store.put(key, picture, spec.kind.written.content_type)
        watch.lap("store")
        height, width = frame.pixels.shape[:2]
        results = {
            "original_image_path": self.store.url(spec.original),
            "processed_image_path": self.store.url(key),
            "processing_time": round(watch.total, 4),
            "blur_metadata": blur_metadata(frame, spec.options),
            "detection_metadata": detection_metadata(frame),
            "width": width,
            "height": height,
        }
        return Processed(completed(spec, results, time.time()), frame, watch.seconds)


class Stopwatch:
    """Wall-clock seconds of named laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = self._last = perf_counter()

    def lap(self, name: str) -> None:
        """End a lap that began where the last one ended."""
        now = perf_counter()
        self.seconds[name] = now - self._last
        self._last = now

    def skip(self, laps: Mapping[str, float]) -> None:
        """Take over laps that were timed elsewhere; the next one begins now."""
        self.seconds.update(laps)
        self._last = perf_counter()

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._started
