"""The networks that are known by name, and those that a user names by path."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from blurline.errors import ModelError
from blurline.models.export import Exported
from blurline.models.sources import OwnFile, PackageFile, Source
from blurline.models.wheels import WheelMember

WEIGHT_ENDINGS = (".onnx", ".pt")


@dataclass(frozen=True, slots=True)
class Model:
    """A network: where its file comes from and how its input and output are read.

    `outputs` names those of the file that the head reads, () if it reads all. `labels` may be ()
    for a user's own file, which then has to carry its class names itself.
    """

    name: str
    task: str
    head: str
    labels: tuple[str, ...]
    licence: str
    origin: str
    source: Source
    input_size: int
    iou_threshold: float
    colours: Literal["rgb", "bgr"]
    divisor: float
    outputs: tuple[str, ...] = ()


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
        task="as trained",
        head="yolo",
        labels=(),
        licence="the user's own",
        origin=path.name,
        source=OwnFile(path),
        input_size=640,
        iou_threshold=0.7,
        colours="rgb",
        divisor=255.0,
    )


def _parse(name: str, entry: dict[str, Any]) -> Model:
    source: Source
    if "file" in entry:
        source = PackageFile(entry.pop("file"), entry.pop("sha256"))
    else:
        member = WheelMember(entry.pop("wheel"), entry.pop("member"), entry.pop("sha256"))
        source = Exported(member) if entry.pop("export", False) else member
    entry |= {key: tuple(entry[key]) for key in ("labels", "outputs") if key in entry}
    return Model(name=name, source=source, **entry)
