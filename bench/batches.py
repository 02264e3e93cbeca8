"""One network: what a batch gains, and what of it is left when threads hand over one picture."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from bench.figures import percentiles
from blurline.inference.batching import Batcher
from blurline.inference.engine import Network, Outputs, Size
from blurline.inference.onnxruntime import Device, OnnxRuntimeNetwork, cuda_is_here
from blurline.inference.torch import TorchNetwork
from blurline.machine import usable_cores
from blurline.models.catalogue import find
from blurline.models.sources import OwnFile
from blurline.settings import Settings

WARM_UPS = 3
LEAST_RUNS = 5


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """Runs of so many pictures at once; latencies are those of a batch."""

    pictures: int
    images_per_second: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class BatcherFigures:
    """So many threads that hand over one picture after the other; latencies are a picture's."""

    threads: int
    images_per_second: float
    p50_ms: float
    p95_ms: float
    pictures_a_batch: float


class Counted:
    """A network that writes down how many pictures each call had."""

    def __init__(self, network: Network) -> None:
        self.labels = network.labels
        self.fixed_size = network.fixed_size
        self.largest_batch = network.largest_batch
        self.precision = network.precision
        self.counts: list[int] = []
        self._network = network

    def run(self, pictures: NDArray[np.uint8]) -> Outputs:
        """See `Network.run`."""
        self.counts.append(len(pictures))
        return self._network.run(pictures)


def open_network(name: str, settings: Settings, max_batch_size: int) -> tuple[Network, str]:
    """The network without a batcher, and the device that it runs on.

    Raises:
        ModelError: its extra is not installed, or the device is not there.
    """
    model = find(name)
    path = model.source.pull(settings.model_dir)
    if path.suffix == ".pt":
        device = "cuda" if settings.device == "tensorrt" else settings.device
        network = TorchNetwork(path, device=device)
        return network, "cuda" if network.on_gpu else "cpu"
    where = _device(settings)
    return OnnxRuntimeNetwork(
        path,
        model.input_format,
        device=where,
        half=where != "cpu",
        max_batch_size=max_batch_size,
        cache_dir=settings.model_dir / "tensorrt",
        threads=usable_cores(),
        any_size=not isinstance(model.source, OwnFile),
        outputs=model.outputs,
    ), where


def batch_curve(
    network: Network, size: Size, counts: Sequence[int], seconds: float
) -> list[BatchFigures]:
    """Figures for each number of pictures that the network takes and has room for."""
    figures = []
    for count in counts:
        if network.largest_batch is not None and count > network.largest_batch:
            break
        pictures = _noise(count, size)
        try:
            for _ in range(WARM_UPS):
                network.run(pictures)
            laps = _laps(network, pictures, seconds)
        except MemoryError:
            break
        shares = percentiles([1000 * lap for lap in laps])
        rate = count * len(laps) / sum(laps)
        figures.append(BatchFigures(count, round(rate, 1), shares["p50"], shares["p95"]))
    return figures


def batcher_run(
    network: Network, size: Size, threads: int, settings: Settings, seconds: float
) -> BatcherFigures:
    """Threads that do nothing but hand over pictures, so that only the network holds them up."""
    counted = Counted(network)
    engine = Batcher(counted, max_size=settings.max_batch_size, max_delay=settings.max_queue_delay)
    picture = _noise(1, size)[0]
    latencies: list[float] = []
    stop_at = time.perf_counter() + seconds

    def hand_over() -> None:
        while (started := time.perf_counter()) < stop_at:
            engine.infer(picture)
            latencies.append(1000 * (time.perf_counter() - started))

    began = time.perf_counter()
    callers = [threading.Thread(target=hand_over) for _ in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    took = time.perf_counter() - began
    engine.close()
    shares = percentiles(latencies)
    return BatcherFigures(
        threads,
        round(len(latencies) / took, 1),
        shares["p50"],
        shares["p95"],
        round(mean(counted.counts), 2),
    )


def _device(settings: Settings) -> Device:
    if settings.device == "auto":
        return "cuda" if cuda_is_here() else "cpu"
    return settings.device


def _laps(network: Network, pictures: NDArray[np.uint8], seconds: float) -> list[float]:
    """Seconds of each run."""
    laps: list[float] = []
    stop_at = time.perf_counter() + seconds
    while len(laps) < LEAST_RUNS or time.perf_counter() < stop_at:
        started = time.perf_counter()
        network.run(pictures)
        laps.append(time.perf_counter() - started)
    return laps


def _noise(count: int, size: Size) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
