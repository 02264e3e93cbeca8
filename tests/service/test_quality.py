"""What the shipped default finds on a few labelled photos, against floors.

The floors lie a little below what was measured when they were set: they catch a change that loses
faces or plates. docs/quality.md has the whole picture.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from blurline.evaluation.contender import Shipped
from blurline.evaluation.dataset import labelled_set
from blurline.evaluation.figures import Band, Row, recall
from blurline.evaluation.measurement import Measurement, Task
from blurline.evaluation.table import band_name
from blurline.imaging.header import limits_of
from blurline.models.load import Inference, load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.defaults import default_texts
from blurline.stages.options import read_options


def measured(folder: Path, target: str, pictures: int) -> Row:
    """The figures of the default quality level on the first pictures of a set."""
    settings = load_settings()
    (blur,) = pipelines(settings)["blur"].stages
    limits = limits_of(settings)
    labels = blur.targets[target].labels
    labelled = labelled_set(folder, labels, limits)
    task = Task(replace(labelled, pictures=labelled.pictures[:pictures]), (target,))
    options = read_options(blur.targets, {"targets": target}, default_texts(settings))
    detectors = load_detectors([blur.targets[target].model], Inference(settings.model_dir, 1))
    shipped = Shipped(blur, options, detectors)
    (one,), _ = Measurement([shipped], {target: labels}, None, limits).run([task], list)
    (row,) = one.rows
    return row


def shares(bands: tuple[Band, ...]) -> dict[str, float | None]:
    return {band_name(band): recall(band) for band in bands}


def below(found: Mapping[str, float | None], floors: Mapping[str, float]) -> dict[str, float]:
    """The figures that lie below their floor."""
    figures = {name: found[name] or 0.0 for name in floors}
    return {name: figure for name, figure in figures.items() if figure < floors[name]}


def test_the_default_covers_faces_of_every_size(data: Path) -> None:
    row = measured(data / "faces/wider_val200", "face", 20)

    floors = {"8-12": 0.92, "12-16": 0.92, "16-24": 0.88, "24-48": 0.95, ">=48": 0.95}
    assert below(shares(row.short_sides), floors) == {}
    assert row.over_blur <= 0.04


@pytest.mark.parametrize(
    ("name", "least", "most_over_blur"),
    [
        ("openalpr_eu", 0.95, 0.01),
        ("openalpr_us", 0.95, 0.01),
        ("romania_valid", 0.95, 0.01),
        ("openimages_val", 0.75, 0.01),
    ],
)
def test_the_default_covers_number_plates(
    data: Path, name: str, least: float, most_over_blur: float
) -> None:
    row = measured(data / "plates" / name, "license_plate", 45)

    assert (recall(row) or 0) >= least
    assert row.over_blur <= most_over_blur
