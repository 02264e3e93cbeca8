"""Labelled pictures: a folder with `gt.json` and the files that it names.

The format, in pixels of the upright picture; other fields are not read:
`{"images": [{"file", "width", "height", "boxes": [{"xyxy": [x1, y1, x2, y2], "label"}]}]}`.
A box with `"level": "ignore"` or a true `"ignore"` is neither a hit nor a miss.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from blurline.errors import BlurlineError, PictureError
from blurline.geometry import Boxes, clip
from blurline.imaging.header import Limits, read_header

LABEL_FILE = "gt.json"
SLACK = 2.0
"""Pixels by which a box may reach over the edge of its picture: labels were scaled and rounded."""

SAME_LABEL = {"plate": "license_plate"}


class DatasetError(BlurlineError):
    """A set can't be used as it is; the message names the file and the field."""

    code = "bad_dataset"


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """One label: left, top, right, bottom in pixels; one to ignore is neither hit nor miss."""

    label: str
    xyxy: tuple[float, float, float, float]
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture file, its upright size in pixels, and its labels."""

    path: Path
    width: int
    height: int
    boxes: tuple[LabelledBox, ...] = ()

    def boxes_of(self, labels: Collection[str], *, ignored: bool) -> Boxes:
        """The boxes with one of these labels, cut to the picture; with the ignored ones or not."""
        chosen = [b.xyxy for b in self.boxes if b.label in labels and (ignored or not b.ignored)]
        return clip(np.array(chosen, np.float32).reshape(-1, 4), self.width, self.height)


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Pictures that are measured together."""

    name: str
    pictures: tuple[LabelledPicture, ...]

    @property
    def labels(self) -> frozenset[str]:
        """All labels that occur and count."""
        return frozenset(
            box.label for picture in self.pictures for box in picture.boxes if not box.ignored
        )


class _Box(BaseModel):
    model_config = ConfigDict(strict=True)
    xyxy: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    label: str
    level: str = ""
    ignore: bool = False


class _Picture(BaseModel):
    model_config = ConfigDict(strict=True)
    file: str
    width: int
    height: int
    boxes: list[_Box]


class _Labels(BaseModel):
    images: list[_Picture] = Field(min_length=1)


def labelled_set(folder: Path, known: Collection[str], limits: Limits) -> LabelledSet:
    """The set that `folder/gt.json` describes; `known` are the labels that may occur.

    Raises:
        DatasetError: the labels can't be read or are empty, a picture is missing, damaged or of
            another size, a label is unknown, or a box is empty or lies outside its picture.
    """
    page = folder / LABEL_FILE
    try:
        entries = _Labels.model_validate_json(page.read_bytes()).images
    except OSError as error:
        raise DatasetError(f"{page}: {error.strerror or 'not readable'}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DatasetError(f"{page}: {_field(first['loc'])}{first['msg']}") from error
    pictures = []
    for index, entry in enumerate(entries):
        where = f"{page}: images[{index}]"
        path = folder / entry.file
        size = _upright_size(path, f"{where}.file: {path}", limits)
        if size != (entry.width, entry.height):
            raise DatasetError(
                f"{where}.width, height: {entry.width} x {entry.height}, "
                f"but {entry.file} has {size[0]} x {size[1]} pixels"
            )
        boxes = tuple(
            _checked(box, size, known, f"{where}.boxes[{number}]")
            for number, box in enumerate(entry.boxes)
        )
        pictures.append(LabelledPicture(path, *size, boxes))
    return LabelledSet(_name(folder), tuple(pictures))


def unlabelled_set(folder: Path, files: Iterable[Path], limits: Limits) -> LabelledSet:
    """Pictures of a folder as ones that show nothing: whatever is redacted in them is too much.

    Raises:
        DatasetError: a picture is damaged.
    """
    pictures = tuple(
        LabelledPicture(path, *_upright_size(path, str(path), limits)) for path in files
    )
    return LabelledSet(_name(folder), pictures)


def _upright_size(path: Path, where: str, limits: Limits) -> tuple[int, int]:
    try:
        return read_header(path.read_bytes(), limits).upright_size
    except OSError as error:
        raise DatasetError(f"{where}: {error.strerror or 'not readable'}") from error
    except PictureError as error:
        raise DatasetError(f"{where}: {error.message}") from error


def _checked(box: _Box, size: tuple[int, int], known: Collection[str], where: str) -> LabelledBox:
    label = SAME_LABEL.get(box.label, box.label)
    if label not in known:
        raise DatasetError(f"{where}.label: unknown label {box.label!r}")
    left, top, right, bottom = box.xyxy
    width, height = size
    if left >= right or top >= bottom:
        raise DatasetError(f"{where}.xyxy: the box is empty")
    outside = min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK
    if outside or left >= width or top >= height or right <= 0 or bottom <= 0:
        raise DatasetError(f"{where}.xyxy: the box lies outside its picture")
    return LabelledBox(label, box.xyxy, box.ignore or box.level == "ignore")


def _field(location: Sequence[int | str]) -> str:
    """The place of a field as one would write it: `images[3].boxes[0].xyxy: `."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{''.join(parts).lstrip('.')}: " if location else ""


def _name(folder: Path) -> str:
    """The set's last two folders: enough to tell it, and nothing of whose machine it is."""
    return "/".join(folder.resolve().parts[-2:])
