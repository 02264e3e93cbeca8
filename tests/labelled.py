"""Labelled sets on disk, as the tests of the evaluation need them."""

import json
from pathlib import Path
from typing import Any

FACES = [(545, 240, 665, 440), (915, 95, 1060, 285)]
"""The two faces of the photo `zidane`, drawn by hand."""


def entry(file: str, width: int, height: int, *boxes: Any) -> dict[str, Any]:
    """A picture of `gt.json`; a box is four numbers and a label, and may be followed by fields."""
    return {
        "file": file,
        "width": width,
        "height": height,
        "boxes": [{"xyxy": list(box[:4]), "label": box[4], **dict(box[5:])} for box in boxes],
    }


def write_set(folder: Path, pictures: dict[str, bytes], images: Any) -> Path:
    """A folder with these files and a `gt.json` of these entries."""
    for name, data in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "gt.json").write_text(json.dumps({"dataset": "test", "images": images}))
    return folder


def face_set(folder: Path, zidane: bytes) -> Path:
    """One photo with two labelled faces."""
    boxes = [(*face, "face") for face in FACES]
    return write_set(folder, {"images/a.jpg": zidane}, [entry("images/a.jpg", 1280, 720, *boxes)])
