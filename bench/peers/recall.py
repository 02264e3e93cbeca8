"""What each contender finds in labelled photos, by the scoring of `blurline evaluate`."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.peers import plain_service
from blurline.errors import BlurlineError
from blurline.evaluation.average_precision import COCO_CLASSES
from blurline.evaluation.contender import Contender, Shipped
from blurline.evaluation.coverage import Mask, mask_of
from blurline.evaluation.dataset import LABEL_FILE, LabelledSet, labelled_set
from blurline.evaluation.measurement import Measurement, Task
from blurline.evaluation.peers import Finder, Peer, load_peers
from blurline.imaging.decode import Pixels
from blurline.imaging.header import Limits
from blurline.inference.detector import Detectors
from blurline.models.load import Inference
from blurline.redaction.styles import whole_pixels
from blurline.stages.blur import Blur
from blurline.stages.frame import Options
from blurline.stages.pipeline import Pipeline

SETS = {
    "face": ("faces/wider_val200", "faces/facemask_cc0"),
    "license_plate": (
        "plates/openalpr_eu",
        "plates/openalpr_us",
        "plates/romania_valid",
        "plates/openimages_val",
    ),
}
"""Sets that are labelled for a target, as folders below that of all labelled photos."""

DEFACE = "deface 0.2"
"""The peer that does what `deface` does without options."""

Found = Mapping[str, Mapping[str, "Recall"]]
"""By target and contender."""


@dataclass(frozen=True, slots=True)
class Recall:
    """How many labels a contender covered, and the mean share of the photos, 0 to 1, that it
    redacted elsewhere."""

    pictures: int
    labels: int
    covered: int
    over_blur: float


def spread(labelled: LabelledSet, most: int) -> LabelledSet:
    """No more than `most` pictures, from all over the set."""
    step = -(-len(labelled.pictures) // most)
    return replace(labelled, pictures=labelled.pictures[::step])


def sets_in(data: Path, pictures: int, limits: Limits) -> dict[str, LabelledSet]:
    """The labelled photos of each target, its sets put together; a target without any is left out.

    Raises:
        DatasetError: a set is there and not as it should be.
    """
    found = {}
    for target, names in SETS.items():
        folders = [data / name for name in names if (data / name / LABEL_FILE).is_file()]
        known = frozenset({*COCO_CLASSES, *SETS})
        parts = [spread(labelled_set(folder, known, limits), pictures) for folder in folders]
        if parts:
            together = tuple(picture for part in parts for picture in part.pictures)
            found[target] = LabelledSet(target, together)
    return found


def measure(
    sets: Mapping[str, LabelledSet],
    contenders: Mapping[str, Sequence[Contender]],
    limits: Limits,
    threads: int,
) -> Found:
    """What each contender, by its name here, covers of the labels of each target."""
    names = {one.name: name for name, group in contenders.items() for one in group}
    measurement = Measurement(
        contenders=[one for group in contenders.values() for one in group],
        labels={target: frozenset({target}) for target in sets},
        detector=None,
        limits=limits,
        threads=threads,
    )
    tasks = [Task(labelled, (target,)) for target, labelled in sets.items()]
    reports, _ = measurement.run(tasks, lambda: None)
    return {
        target: {
            names[row.contender]: Recall(row.pictures, row.labels, row.covered, row.over_blur)
            for row in report.rows
        }
        for target, report in zip(sets, reports, strict=True)
    }


def shipped(pipeline: Pipeline, options: Options, detectors: Detectors) -> list[Contender]:
    """blurline's own blur stage."""
    blur = next(stage for stage in pipeline.stages if isinstance(stage, Blur))
    return [Shipped(blur, options, detectors)]


def deface(inference: Inference) -> list[Contender]:
    """deface as its command line redacts; on OpenCV, by which its boxes are the same to
    .0001 pixels as by ONNX Runtime."""
    return [peer for peer in load_peers(["face"], inference) if peer.name == DEFACE]


def plain(detectors: Detectors) -> list[Contender]:
    """The functions of the plain service."""

    def finder(target: str) -> Finder:
        def find(pixels: Pixels) -> tuple[Mask, int]:
            regions = plain_service.find(pixels, target, detectors)
            return mask_of(regions, pixels.shape[1], pixels.shape[0]), len(regions)

        return find

    return [Peer("plain service", target, {}, finder(target)) for target in SETS]


@contextmanager
def ultralytics(command: Sequence[str]) -> Iterator[list[Contender]]:
    """The Ultralytics loop, asked in its own environment what it would blur.

    `command` answers as `ultralytics_loop.py find` does.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        questions, answers = process.stdin, process.stdout
        assert questions is not None  # noqa: S101 - both are pipes
        assert answers is not None  # noqa: S101

        def find(pixels: Pixels) -> tuple[Mask, int]:
            height, width = pixels.shape[:2]
            questions.write(f"{height} {width}\n".encode())
            questions.write(pixels[..., ::-1].tobytes())
            questions.flush()
            if not (answer := answers.readline()):
                raise BlurlineError("the Ultralytics loop ended before it had seen all photos")
            boxes = json.loads(answer)
            regions = [whole_pixels((x1, y1, x2, y2), width, height) for x1, y1, x2, y2 in boxes]
            return mask_of(regions, width, height), len(regions)

        try:
            yield [Peer("ultralytics loop", "license_plate", {}, find)]
        finally:
            questions.close()
