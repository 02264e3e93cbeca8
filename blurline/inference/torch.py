"""`.pt` networks of Ultralytics by PyTorch, on CUDA where there is any (the extra `torch`)."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurline.errors import ModelError
from blurline.inference.engine import Arithmetic, Outputs


class TorchNetwork:
    """An Ultralytics detection network from its own `.pt` file.

    Bytes go to the device, which turns them into what the network reads. On CUDA it computes in
    half precision, elsewhere in 32-bit floats.

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
        self._type = torch.float16 if device == "cuda" else torch.float32
        self._network = network.to(self._device, self._type).eval()
        self._labels = tuple(network.names[index] for index in sorted(network.names))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names from the file."""
        return self._labels

    @property
    def fixed_size(self) -> None:
        """None: an Ultralytics network in PyTorch takes every multiple of its stride."""
        return None

    @property
    def precision(self) -> Arithmetic:
        """Half precision on CUDA."""
        return "f16" if self.on_gpu else "f32"

    @property
    def largest_batch(self) -> None:
        """None: it takes any number of pictures."""
        return None

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on CUDA."""
        return bool(self._device.type == "cuda")

    def run(self, pictures: NDArray[np.uint8]) -> Outputs:
        """The detection head's tensor, shape (n, 4 + classes, anchors), as `output0`."""
        with suppress(self._torch.OutOfMemoryError):
            return self._computed(pictures)
        # Outside of the handler, whose traceback would keep the tensors on the device.
        raise MemoryError(f"no room for {len(pictures)} pictures")

    def _computed(self, pictures: NDArray[np.uint8]) -> Outputs:
        torch = self._torch
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device)
            output = self._network(tensor.permute(0, 3, 1, 2).to(self._type) / 255)
            head = output[0] if isinstance(output, tuple | list) else output
            return {"output0": head.float().cpu().numpy()}
