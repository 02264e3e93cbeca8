"""`.pt` networks of Ultralytics by PyTorch, on CUDA where there is any (the extra `torch`)."""

import os
import threading
from pathlib import Path

import numpy as np

from blurline.errors import ModelError
from blurline.imaging.decode import Pixels
from blurline.inference.engine import Outputs


class TorchEngine:
    """An Ultralytics detection network from its own `.pt` file.

    The file is a pickle and can run code when it is read: load only files that you trust.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        """Read the file and move the network to `device` (`auto`, `cpu` or `cuda`).

        Raises:
            ModelError: the extra is not installed, the file can't be read, or CUDA was asked for
                and is not there.
        """
        # Ultralytics would otherwise look for updates and install what it misses by itself.
        os.environ.setdefault("YOLO_OFFLINE", "true")
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
        try:
            import torch
            from ultralytics import YOLO
        except ImportError as error:
            raise ModelError(
                f"{path.name} needs PyTorch and Ultralytics: pip install 'blurline[torch]'"
            ) from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise ModelError("DEVICE=cuda, but PyTorch sees no CUDA device")
        try:
            network = YOLO(path).model
        except Exception as error:  # unpickling a foreign file can raise anything
            raise ModelError(f"{path.name} is no network that Ultralytics can read") from error
        self._torch = torch
        self._device = torch.device(device)
        self._half = device == "cuda"
        network = network.to(self._device).eval()
        self._network = network.half() if self._half else network.float()
        self._labels = tuple(network.names[index] for index in sorted(network.names))
        self._lock = threading.Lock()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names from the file."""
        return self._labels

    @property
    def fixed_size(self) -> None:
        """None: an Ultralytics network in PyTorch takes every multiple of its stride."""
        return None

    def infer(self, pixels: Pixels) -> Outputs:
        """The detection head's tensor, shape (1, 4 + classes, anchors), as `output0`."""
        torch = self._torch
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
            tensor = tensor.permute(2, 0, 1)[None]
            tensor = (tensor.half() if self._half else tensor.float()) / 255
            # An Ultralytics head keeps its anchor grid in attributes, so calls must not overlap.
            with self._lock:
                output = self._network(tensor)
            head = output[0] if isinstance(output, tuple | list) else output
            return {"output0": head.float().cpu().numpy()}
