"""Files of networks, good ones and broken ones."""

from pathlib import Path

import pytest

from blurline.models.catalogue import find
from blurline.settings import load_settings

broken = pytest.mark.parametrize(
    "content",
    [None, b"", b"no network at all", bytes(10_000)],
    ids=["missing", "empty", "text", "zeros"],
)
"""Contents of files that are no network; None for no file at all."""


def file_of(name: str) -> Path:
    """The file of a network of the catalogue."""
    return find(name).source.pull(load_settings().model_dir)


def own_network_file(folder: Path, content: bytes | None) -> Path:
    """The path of a user's own network with this content."""
    path = folder / "mine.onnx"
    if content is not None:
        path.write_bytes(content)
    return path
