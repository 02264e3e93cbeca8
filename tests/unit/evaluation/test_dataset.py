"""Labelled sets: what is read, and what is refused by the name of its file and field."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blurline.evaluation.dataset import DatasetError, LabelledSet, labelled_set, unlabelled_set
from blurline.imaging.header import Limits
from tests.labelled import entry, write_set
from tests.parts import drawing, picture_file

KNOWN = {"face", "license_plate", "cup"}
LIMITS = Limits(10_000_000, 10_000_000)
WHOLE = (10, 20, 50, 60, "face")


def read(folder: Path) -> LabelledSet:
    return labelled_set(folder, KNOWN, LIMITS)


def test_a_set_is_its_pictures_with_their_labels(tmp_path: Path, small_jpeg: bytes) -> None:
    folder = write_set(
        tmp_path / "faces/mine",
        {"images/a.jpg": small_jpeg, "b.jpg": small_jpeg},
        [entry("images/a.jpg", 320, 240, WHOLE, (0, 0, 9, 9.5, "cup")), entry("b.jpg", 320, 240)],
    )

    labelled = read(folder)

    assert labelled.name == "faces/mine"
    assert labelled.labels == {"face", "cup"}
    assert [picture.path for picture in labelled.pictures] == [
        folder / "images/a.jpg",
        folder / "b.jpg",
    ]
    assert [box.xyxy for box in labelled.pictures[0].boxes] == [(10, 20, 50, 60), (0, 0, 9, 9.5)]
    assert labelled.pictures[1].boxes == ()


def test_a_plate_is_a_licence_plate(tmp_path: Path, small_jpeg: bytes) -> None:
    box = (*WHOLE[:4], "plate")
    folder = write_set(tmp_path, {"a.jpg": small_jpeg}, [entry("a.jpg", 320, 240, box)])

    assert read(folder).labels == {"license_plate"}


@pytest.mark.parametrize(
    ("field", "ignored"),
    [
        (("level", "ignore"), True),
        (("ignore", True), True),
        (("level", "hard"), False),
        (("ignore", False), False),
    ],
)
def test_a_box_can_be_ignored_in_two_ways(
    tmp_path: Path, small_jpeg: bytes, field: tuple[str, Any], ignored: bool
) -> None:
    images = [entry("a.jpg", 320, 240, (*WHOLE, field))]

    (picture,) = read(write_set(tmp_path, {"a.jpg": small_jpeg}, images)).pictures

    assert [box.ignored for box in picture.boxes] == [ignored]
    assert len(picture.boxes_of({"face"}, ignored=True)) == 1
    assert len(picture.boxes_of({"face"}, ignored=False)) == (0 if ignored else 1)


def test_a_box_may_reach_over_the_edge_by_what_rounding_adds(
    tmp_path: Path, small_jpeg: bytes
) -> None:
    images = [entry("a.jpg", 320, 240, (-2, -1.5, 322, 241, "face"))]

    (picture,) = read(write_set(tmp_path, {"a.jpg": small_jpeg}, images)).pictures

    assert picture.boxes_of({"face"}, ignored=False).tolist() == [[0, 0, 320, 240]]


def test_sizes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture_file(Image.fromarray(drawing(320, 240)), "JPEG", exif=exif)

    labelled = read(write_set(tmp_path, {"a.jpg": data}, [entry("a.jpg", 240, 320)]))

    assert (labelled.pictures[0].width, labelled.pictures[0].height) == (240, 320)


def test_pictures_without_labels_are_a_set_too(tmp_path: Path, small_jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(small_jpeg)

    labelled = unlabelled_set(tmp_path, [tmp_path / "a.jpg"], LIMITS)

    assert labelled.labels == frozenset()
    assert [(one.width, one.height) for one in labelled.pictures] == [(320, 240)]


def good() -> dict[str, Any]:
    return entry("a.jpg", 320, 240, WHOLE)


def with_box(**fields: Any) -> list[dict[str, Any]]:
    return [good(), {**good(), "boxes": [{"xyxy": [1, 2, 3, 4], "label": "face", **fields}]}]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "images: "),
        ({}, "images: "),
        ([good(), {"file": "a.jpg"}], "images[1].width: "),
        ([{**good(), "boxes": None}], "images[0].boxes: "),
        ([{**good(), "width": "320"}], "images[0].width: "),
        ([{**good(), "file": "missing.jpg"}], "images[0].file: "),
        ([{**good(), "file": "damaged.jpg"}], "images[0].file: "),
        ([good(), {**good(), "width": 319}], "images[1].width, height: 319 x 240"),
        (with_box(label="dragon"), "images[1].boxes[0].label: unknown label 'dragon'"),
        (with_box(label=7), "images[1].boxes[0].label: "),
        (with_box(xyxy=[1, 2, 3]), "images[1].boxes[0].xyxy"),
        (with_box(xyxy=[1, 2, 3, "4"]), "images[1].boxes[0].xyxy"),
        (with_box(xyxy=[1, 2, 3, float("nan")]), "images[1].boxes[0].xyxy"),
        (with_box(xyxy=[9, 2, 9, 4]), "images[1].boxes[0].xyxy: the box is empty"),
        (with_box(xyxy=[1, 4, 9, 2]), "images[1].boxes[0].xyxy: the box is empty"),
        (with_box(xyxy=[-2.1, 2, 9, 4]), "images[1].boxes[0].xyxy: the box lies outside"),
        (with_box(xyxy=[1, 2, 9, 242.1]), "images[1].boxes[0].xyxy: the box lies outside"),
        (with_box(xyxy=[320, 2, 322, 9]), "images[1].boxes[0].xyxy: the box lies outside"),
        (with_box(ignore="yes"), "images[1].boxes[0].ignore: "),
    ],
)
def test_a_set_that_is_not_right_is_refused_by_file_and_field(
    tmp_path: Path, small_jpeg: bytes, images: Any, said: str
) -> None:
    pictures = {"a.jpg": small_jpeg, "damaged.jpg": b"plain words"}
    folder = write_set(tmp_path, pictures, images)

    with pytest.raises(DatasetError) as caught:
        read(folder)

    assert f"{folder / 'gt.json'}: {said}" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"pictures": []}', '{"images": [', "\x80"])
def test_a_file_of_labels_that_can_not_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "gt.json").write_text(text, encoding="latin-1")

    with pytest.raises(DatasetError) as caught:
        read(tmp_path)

    assert caught.value.message.startswith(f"{tmp_path / 'gt.json'}: ")


def test_what_is_written_on_a_plate_is_never_told(tmp_path: Path, small_jpeg: bytes) -> None:
    box = (*WHOLE[:2], 999, 60, "plate", ("text", "B-LR 123"))
    folder = write_set(tmp_path, {"a.jpg": small_jpeg}, [entry("a.jpg", 320, 240, box)])

    with pytest.raises(DatasetError) as caught:
        read(folder)

    assert "B-LR" in json.dumps(json.loads((folder / "gt.json").read_text()))
    assert "B-LR" not in caught.value.message


def test_a_damaged_picture_without_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"plain words")

    with pytest.raises(DatasetError, match="the file is not an image"):
        unlabelled_set(tmp_path, [tmp_path / "a.jpg"], LIMITS)
