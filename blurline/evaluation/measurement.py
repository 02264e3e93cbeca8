"""Letting every contender treat every picture."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from blurline.evaluation.average_precision import (
    COCO_CLASSES,
    LEAST_CONFIDENCE,
    Precision,
    average_precision,
)
from blurline.evaluation.contender import Contender, Shipped
from blurline.evaluation.dataset import LabelledPicture, LabelledSet
from blurline.evaluation.figures import CurvePoint, Marks, Row, curve_point, marks, row
from blurline.evaluation.report import SetReport
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.inference.detector import Detection, Detector

THRESHOLDS = (0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds of the curves, beside the one in force."""


@dataclass(frozen=True, slots=True)
class Task:
    """A set, and the targets that are looked for in it; with none it is for detection only."""

    labelled: LabelledSet
    targets: tuple[str, ...]

    @property
    def is_for_detection(self) -> bool:
        """Whether all labels are COCO's classes, by which the detection network is measured."""
        return bool(self.labelled.labels) and self.labelled.labels <= set(COCO_CLASSES)


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one picture; marks by contender and target, those of a curve by threshold."""

    picture: LabelledPicture
    marks: dict[tuple[str, str], Marks] = field(default_factory=dict)
    curves: dict[tuple[str, str], dict[float, Marks]] = field(default_factory=dict)
    detections: tuple[Detection, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """How sets are measured.

    Attributes:
        contenders: what treats the pictures, each as far as it knows the targets asked for.
        labels: the labels of each target.
        detector: the network of the detection stage, where a set is for it.
        limits: the largest picture that is read.
        threads: pictures at a time; with more than one there are no CPU times.
        curves: whether `Shipped` contenders are also tried at other thresholds.
    """

    contenders: Sequence[Contender]
    labels: Mapping[str, frozenset[str]]
    detector: Detector | None
    limits: Limits
    threads: int = 1
    curves: bool = False

    def run(
        self, tasks: Sequence[Task], on_picture: Callable[[], None]
    ) -> tuple[tuple[SetReport, ...], tuple[Row, ...]]:
        """A report of each set, and rows for each target that several sets have labels of.

        `on_picture` is called after each picture.

        Raises:
            PictureError: a picture can't be decoded.
        """
        looked = [(task, self._look_at_all(task, on_picture)) for task in tasks]
        reports = tuple(self._report(task, results) for task, results in looked)
        combined: list[Row] = []
        for target, labels in self.labels.items():
            sets = [results for task, results in looked if labels & task.labelled.labels]
            if len(sets) > 1:
                combined += self._rows([one for results in sets for one in results], [target])
        return reports, tuple(combined)

    def _look_at_all(self, task: Task, on_picture: Callable[[], None]) -> list[_Result]:
        # Pictures of one shape follow each other, so that networks are compiled less often.
        pictures = sorted(
            task.labelled.pictures, key=lambda one: (one.height / one.width, one.width)
        )
        shapes = [(one.width, one.height) for one in pictures]
        is_new = [shape != last for shape, last in zip(shapes, [None, *shapes], strict=False)]
        results = []
        with ThreadPoolExecutor(self.threads) as pool:
            for result in pool.map(partial(self._look, task), pictures, is_new):
                results.append(result)
                on_picture()
        return results

    def _look(self, task: Task, picture: LabelledPicture, is_new: bool) -> _Result:
        data = picture.path.read_bytes()
        pixels = decode(data, read_header(data, self.limits))
        result = _Result(picture)
        for contender in self.contenders:
            if targets := [name for name in task.targets if name in contender.targets]:
                if is_new and self.threads == 1:
                    # Compiling a network for a new size is no part of what a picture costs.
                    contender.redact(pixels, targets)
                self._judge(contender, targets, pixels, result)
        if task.is_for_detection and self.detector:
            return replace(result, detections=self.detector.detect(pixels, LEAST_CONFIDENCE))
        return result

    def _judge(
        self, contender: Contender, targets: Sequence[str], pixels: Pixels, result: _Result
    ) -> None:
        redacted = contender.redact(pixels, targets)
        for target in targets:
            key, labels = (contender.name, target), self.labels[target]
            result.marks[key] = marks(result.picture, labels, redacted, target)
            if self.curves and isinstance(contender, Shipped):
                thresholds = sorted({*THRESHOLDS, contender.threshold(target)})
                swept = contender.swept(pixels, targets, target, thresholds)
                result.curves[key] = {
                    threshold: marks(result.picture, labels, one, target)
                    for threshold, one in zip(thresholds, swept, strict=True)
                }

    def _report(self, task: Task, results: Sequence[_Result]) -> SetReport:
        boxes = [box for picture in task.labelled.pictures for box in picture.boxes]
        counted = [box.label for box in boxes if not box.ignored]
        return SetReport(
            name=task.labelled.name,
            pictures=len(results),
            labels={label: counted.count(label) for label in sorted(set(counted))},
            ignored=len(boxes) - len(counted),
            rows=tuple(self._rows(results, task.targets)),
            detection=self._precision(results) if task.is_for_detection else None,
        )

    def _rows(self, results: Sequence[_Result], targets: Sequence[str]) -> list[Row]:
        rows = []
        for target in targets:
            for contender in self.contenders:
                key = contender.name, target
                found = [one.marks[key] for one in results if key in one.marks]
                if found:
                    line = row(*key, found, timed=self.threads == 1)
                    rows.append(replace(line, curve=_curve(results, key)))
        return rows

    def _precision(self, results: Sequence[_Result]) -> Precision | None:
        if self.detector is None:
            return None
        found = [(one.picture, one.detections) for one in results]
        return average_precision(self.detector.name, found)


def _curve(results: Sequence[_Result], key: tuple[str, str]) -> tuple[CurvePoint, ...]:
    """The points of one contender and target, none where no curve was asked for."""
    curves = [one.curves[key] for one in results if key in one.curves]
    thresholds = curves[0] if curves else ()
    return tuple(
        curve_point(threshold, [curve[threshold] for curve in curves]) for threshold in thresholds
    )
