"""ONNX networks by ONNX Runtime, on CUDA or through TensorRT (the extra `gpu`).

OpenVINO stays the engine for CPUs. ONNX Runtime runs on one too, so that all but the device itself
can be tested without a GPU.
"""

import logging
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from blurline.errors import ModelError
from blurline.inference.engine import Arithmetic, InputFormat, Outputs, Size, class_names

Device = Literal["cpu", "cuda", "tensorrt"]

PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

COMMON_SIZE = (384, 640)
LEAST_SIDE, LONGEST_SIDE = 32, 1280
"""TensorRT makes a network ready for inputs between these, the longest side of a tile."""

OUT_OF_MEMORY = ("failed to allocate memory", "out of memory")
"""How ONNX Runtime's allocator and CUDA put it; there is no class of error for it."""

ERRORS_ONLY = 3

log = logging.getLogger(__name__)


class OnnxRuntimeNetwork:
    """An ONNX file that takes bytes, and several pictures at once; `graph` says how.

    Not every file works with more pictures than it was written for. Two that differ are run alone
    and together, and a network that answers otherwise runs one picture at a time.
    """

    def __init__(
        self,
        path: Path,
        input_format: InputFormat,
        *,
        device: Device,
        half: bool,
        max_batch_size: int,
        cache_dir: Path,
        threads: int = 1,
        any_size: bool = False,
        outputs: tuple[str, ...] = (),
    ) -> None:
        """Read the file and compile it; TensorRT takes minutes for that when it does so first.

        Args:
            path: an ONNX file with one input of shape (n, 3, height, width).
            input_format: what the network was trained on.
            device: where it runs. What CUDA and TensorRT don't know of it runs on the CPU.
            half: compute in half precision. TensorRT then chooses layer by layer.
            max_batch_size: most pictures in a call, which TensorRT has to know.
            cache_dir: folder for what TensorRT compiled.
            threads: CPU threads of one call.
            any_size: the network works at every size, even if its file names one.
            outputs: names of the outputs that are read, in that order; () for all.

        Raises:
            ModelError: the extra is not installed, the device is not there, or the file is missing
                or not readable.
        """
        try:
            import onnx
            import onnxruntime

            from blurline.inference import graph
        except ImportError as error:
            raise ModelError(
                f"{path.name} on {device} needs ONNX Runtime: pip install 'blurline[gpu]'"
            ) from error
        if device != "cpu" and not cuda_is_here():
            raise ModelError(f"DEVICE={device}, but ONNX Runtime sees no CUDA device")
        try:
            model = onnx.load(path)
            self._fixed_size = None if any_size else graph.fixed_size(model)
            self._labels = class_names(graph.metadata(model).get("names", ""))
            model = graph.freed(model, any_size=self._fixed_size is None, outputs=outputs)
            if half and device != "tensorrt":
                model = graph.halved(model)
            self._session = onnxruntime.InferenceSession(
                graph.dressed(model, input_format).SerializeToString(),
                _session_options(onnxruntime, threads),
                providers=_providers(device, half, max_batch_size, self._fixed_size, cache_dir),
                enable_fallback=0,
            )
        except Exception as error:  # protobuf, the converter and the runtime have no common class
            raise ModelError(f"{path.name} is no network that ONNX Runtime can read") from error
        if PROVIDERS[device] not in self._session.get_providers():
            raise ModelError(f"DEVICE={device}, but ONNX Runtime could not start it")
        self._precision: Arithmetic = "f16" if half else "f32"
        self._input = graph.PIXELS
        self._names = [output.name for output in self._session.get_outputs()]
        try:
            alone = max_batch_size == 1 or not self._keeps_pictures_apart()
        except (RuntimeError, MemoryError) as error:
            raise ModelError(f"{path.name} does not run on {device}") from error
        self._largest_batch = 1 if alone else max_batch_size
        if self._largest_batch < max_batch_size:
            log.warning("%s runs one picture at a time: its file allows no more", path.name)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names from the file's metadata, as Ultralytics' export writes them; may be ()."""
        return self._labels

    @property
    def fixed_size(self) -> Size | None:
        """See `Engine.fixed_size`."""
        return self._fixed_size

    @property
    def precision(self) -> Arithmetic:
        """Half of the usual; TensorRT may compute some layers in 32 bits all the same."""
        return self._precision

    @property
    def largest_batch(self) -> int:
        """See `Network.largest_batch`."""
        return self._largest_batch

    def run(self, pictures: NDArray[np.uint8]) -> Outputs:
        """See `Network.run`.

        Raises:
            RuntimeError: ONNX Runtime fails for another reason.
        """
        try:
            values = self._session.run(self._names, {self._input: pictures})
        except Exception as error:  # the runtime's errors have no common class
            if any(words in str(error).lower() for words in OUT_OF_MEMORY):
                raise MemoryError(f"no room for {len(pictures)} pictures") from None
            raise RuntimeError("ONNX Runtime failed") from error
        return dict(zip(self._names, values, strict=True))

    def _keeps_pictures_apart(self) -> bool:
        """Whether two pictures get together what each gets alone.

        Arithmetic may differ with the number of pictures. Half precision moves the outputs of the
        networks here by at most 1.3 % of what two pictures differ by.
        """
        height, width = self._fixed_size or (64, 96)
        noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        pictures = np.concatenate([noise, noise // 4])
        alone = [self.run(pictures[index : index + 1]) for index in (0, 1)]
        try:
            together = self.run(pictures)
        except (RuntimeError, MemoryError):
            return False
        for name in self._names:
            first, second = alone[0][name], alone[1][name]
            own = np.concatenate([first, second])
            if together[name].shape != own.shape:
                return False
            # Put so that it does not hold for what is no number.
            if not np.abs(together[name] - own).mean() <= np.abs(first - second).mean() / 10:
                return False
        return True


@cache
def cuda_is_here() -> bool:
    """Whether ONNX Runtime is installed and can start on a CUDA device.

    A build for CUDA names the provider whether or not there is a device, and then runs on the CPU
    without an error; only a network that was loaded tells.
    """
    try:
        import onnxruntime
        from onnx import TensorProto, helper
    except ImportError:
        return False
    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        return False
    # CUDA and cuDNN come in packages of their own, where the loader would not look.
    onnxruntime.preload_dlls()
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    nothing = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "", value[:1], value[1:])
    model = helper.make_model(nothing, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=[PROVIDERS["cuda"]], enable_fallback=0
        )
        started = PROVIDERS["cuda"] in session.get_providers()
    except Exception:  # the runtime's errors have no common class
        started = False
    if not started:
        log.warning("ONNX Runtime is built for CUDA, but can't start on a device")
    return started


def _session_options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    # A thread that spins while it waits for the device takes a core from decoding and redaction.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(
    device: Device, half: bool, max_batch_size: int, fixed_size: Size | None, cache_dir: Path
) -> list[tuple[str, dict[str, str]]]:
    """ONNX Runtime's providers with their options, the preferred one first.

    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    if device == "cpu":
        return [(PROVIDERS["cpu"], {})]
    cuda = {
        # By default each new size and number of pictures has all algorithms timed against each
        # other, and memory is taken in powers of two, though several processes share the device.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    providers = [(PROVIDERS["cuda"], cuda)]
    if device == "tensorrt":
        least, common, most = (
            fixed_size or size for size in ((LEAST_SIDE,) * 2, COMMON_SIZE, (LONGEST_SIDE,) * 2)
        )
        cache_dir.mkdir(parents=True, exist_ok=True)
        tensorrt = {
            "trt_fp16_enable": str(half),
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(cache_dir),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(cache_dir),
            # Without a profile it compiles anew for each size that lies outside of those it met.
            "trt_profile_min_shapes": _profile(1, least),
            "trt_profile_opt_shapes": _profile(max_batch_size, common),
            "trt_profile_max_shapes": _profile(max_batch_size, most),
        }
        providers.insert(0, (PROVIDERS["tensorrt"], tensorrt))
    return providers


def _profile(pictures: int, size: Size) -> str:
    """A shape for the bytes, and for the floats in case that the cast is left to CUDA."""
    from blurline.inference.graph import FLOATS, PIXELS

    height, width = size
    return ",".join(f"{name}:{pictures}x{height}x{width}x3" for name in (PIXELS, FLOATS))
