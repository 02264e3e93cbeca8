"""Labelled sets as arguments name them: a folder, or a part of one."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blurline.cli.walk import pictures_in
from blurline.errors import OptionError
from blurline.evaluation import average_precision
from blurline.evaluation.dataset import (
    LABEL_FILE,
    DatasetError,
    LabelledSet,
    labelled_set,
    unlabelled_set,
)
from blurline.evaluation.measurement import Task
from blurline.imaging.header import Limits, limits_of
from blurline.settings import Settings
from blurline.stages.blur import Blur
from blurline.stages.options import parse_targets

SLICE = re.compile(r"(.+)\[(-?\d*:-?\d*(?::[1-9]\d*)?)\]")
"""`FOLDER[start:stop:step]`: a part of a set, as Python slices a list."""

USUAL_TARGETS = ("face", "license_plate")
"""What is looked for in a set that has labels of it, unless the caller says."""


def tasks_of(
    arguments: Sequence[str], targets: str, limit: int | None, settings: Settings, blur: Blur
) -> list[Task]:
    """The sets that the arguments name, and what is looked for in each.

    Args:
        targets: comma-separated; empty for what each set has labels of.
        limit: of the pictures of each set.

    Raises:
        BlurlineError: a set or a target is not right.
    """
    asked = parse_targets(targets, blur.targets) if targets else ()
    known = frozenset(average_precision.COCO_CLASSES).union(
        *(target.labels for target in blur.targets.values())
    )
    tasks = []
    for argument in arguments:
        labelled = _set(argument, known, limits_of(settings))
        usual = [name for name in USUAL_TARGETS if blur.targets[name].labels & labelled.labels]
        labelled = replace(labelled, pictures=labelled.pictures[:limit])
        task = Task(labelled, asked or tuple(usual))
        if not task.targets and not task.is_for_detection:
            raise OptionError(f"{argument} has no labels: say by --targets what is looked for")
        tasks.append(task)
    return tasks


def _set(argument: str, known: frozenset[str], limits: Limits) -> LabelledSet:
    folder, part = Path(argument), ""
    if not folder.exists() and (match := SLICE.fullmatch(argument)):
        folder, part = Path(match[1]), match[2]
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    if (folder / LABEL_FILE).exists():
        labelled = labelled_set(folder, known, limits)
    else:
        labelled = unlabelled_set(folder, pictures_in(folder), limits)
    if part:
        start_stop_step = (int(number) if number else None for number in part.split(":"))
        pictures = labelled.pictures[slice(*start_stop_step)]
        labelled = LabelledSet(f"{labelled.name}[{part}]", pictures)
    if not labelled.pictures:
        raise DatasetError(f"{argument} holds no picture")
    return labelled
