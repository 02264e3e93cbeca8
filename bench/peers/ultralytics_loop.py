"""The loop that somebody would write with Ultralytics in an evening; it runs in the peers' own
environment and imports nothing of blurline.

For each picture of a folder: find number plates, blur them, list the objects that are left, write
the JPEG. Everything is left at Ultralytics' defaults.

- The plate network is fastanpr's YOLOv8n from its `.pt` file, on PyTorch. YOLO11n is in no package
  as `.pt`, only as ONNX, so `YOLO(...)` runs that one on ONNX Runtime.
- Ultralytics imports torchvision before it predicts, and torchvision's compiled part does not load
  beside a PyTorch for CPUs. There Ultralytics' own `TorchNMS` takes its place.

`treat PLATES OBJECTS FOLDER` prints a line before each picture and writes to `FOLDER/blurred`.
`find PLATES` answers each picture on standard input, a line `HEIGHT WIDTH` and BGR bytes, with a
line of JSON: the boxes that it would blur.
"""

import json
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def load(*weights: str) -> Iterator[Any]:
    """Networks that predict, whether torchvision is whole or not."""
    try:
        import_module("torchvision")
    except RuntimeError:
        from ultralytics.utils.nms import TorchNMS

        stand_in = types.ModuleType("torchvision")
        stand_in.ops = types.SimpleNamespace(nms=TorchNMS.nms)  # type: ignore[attr-defined]
        sys.modules["torchvision"] = stand_in
    from ultralytics import YOLO

    for path in weights:
        yield YOLO(path, task="detect")


def boxes_of(network: Any, image: Any) -> list[list[int]]:
    """Left, top, right, bottom of what the network finds, in whole pixels."""
    found = network.predict(image, verbose=False)[0].boxes
    return [[int(side) for side in box] for box in found.xyxy.tolist()]


def treat(plate_weights: str, object_weights: str, folder: Path) -> None:
    """Treat every picture of the folder."""
    plates, objects = load(plate_weights, object_weights)
    blurred = folder / "blurred"
    blurred.mkdir()
    for path in sorted(folder.glob("*.jpg")):
        print(f"Input: {path}", flush=True)
        image: Any = cv2.imread(str(path))
        for left, top, right, bottom in boxes_of(plates, image):
            region = image[top:bottom, left:right]
            if region.size:
                image[top:bottom, left:right] = cv2.GaussianBlur(region, (51, 51), 0)
        found = objects.predict(image, verbose=False)[0]
        cv2.imwrite(str(blurred / path.name), image)
        (blurred / f"{path.stem}.json").write_text(json.dumps(found.summary()), "utf-8")


def find(plate_weights: str) -> None:
    """Answer pictures until there are no more."""
    # Ultralytics' own lines must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    (plates,) = load(plate_weights)
    pictures = sys.stdin.buffer
    while line := pictures.readline():
        height, width = map(int, line.split())
        pixels = np.frombuffer(pictures.read(height * width * 3), np.uint8)
        boxes = boxes_of(plates, pixels.reshape(height, width, 3))
        print(json.dumps(boxes), file=answers, flush=True)


def main() -> None:
    """Do what the arguments ask for."""
    verb, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as settings:
        # It neither installs nor fetches anything, and leaves the user's own settings alone.
        os.environ.update(YOLO_CONFIG_DIR=settings, YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
        if verb == "treat":
            plates, objects, folder = arguments
            treat(plates, objects, Path(folder))
        else:
            find(*arguments)


if __name__ == "__main__":
    main()
