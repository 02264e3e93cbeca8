"""The real parts that tests use: Valkey, the S3 server, the API on a socket, workers, photos."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from redis import Redis

from bench.s3server import S3Server as S3Server
from bench.s3server import free_port as free_port
from blurline.api.app import create_app
from blurline.api.protocol import GuardedProtocol
from blurline.certificate.signing import load_signing_key
from blurline.imaging.decode import Pixels
from blurline.imaging.header import Limits, limits_of
from blurline.imaging.kind import Kind
from blurline.inference.detector import Detectors
from blurline.jobs.job import Asset, JobRecord, JobSpec, Result, completed
from blurline.jobs.processor import Processor
from blurline.pipeline_architecture import pipelines
from blurline.queue.connection import connect
from blurline.queue.jobqueue import JobQueue
from blurline.queue.queues import Queues
from blurline.redaction.styles import Style
from blurline.settings import Settings, load_settings
from blurline.stack import valkey
from blurline.stages.blur import Blur
from blurline.stages.frame import Frame, Options
from blurline.stages.options import values_of
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Family, Pipeline, Stage
from blurline.stages.regions import Found
from blurline.storage import keys
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from blurline.treatment.chain import ChainTreatment
from blurline.treatment.outputs import Role
from blurline.treatment.redaction import RedactionTreatment
from blurline.treatment.transform import TransformTreatment
from blurline.worker.endings import open_endings
from blurline.worker.loop import ImageWorker
from blurline.worker.runner import RUNNER, JobRunner

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
"""Labelled photos beside the checkout; tests that need them skip where they are absent."""

PATIENCE = 60.0
"""Seconds after which a test gives up waiting; generous, since machines differ."""

QUEUE = "image_processing_queue"
"""Name of the first queue, where no setting says otherwise."""

NOBODY = "0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11"
"""An id that nothing has."""

BAD_IDS = ["x", "%2e%2e", "..%2f..%2fmetadata", "%00", "*", "a" * 5000, f"{NOBODY}.json"]

needs_s3 = pytest.mark.skipif(
    not Path(sys.executable).with_name("weed").exists(), reason="the S3 server is not installed"
)

STORED_FOR_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored in a file of each EXIF orientation (EXIF 2.32, 4.6.5.1.A); of 1
it is as it is."""

TLS = ssl.create_default_context()
"""One for all clients: each would read the certificates of all authorities anew."""

Start = Callable[..., httpx.Client]
"""Starts an API with these settings; a client of it."""


def eventually(question: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer to the question, asked again and again, the rarer the later it is."""
    started = time.monotonic()
    while True:
        if answer := question():
            return answer
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(min(0.2, max(0.02, waited / 20)))


def drawing(width: int = 320, height: int = 240) -> Pixels:
    """A picture whose every corner is another colour, so that no two orientations look alike."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    half_w, half_h = width // 2, height // 2
    pixels[:half_h, :half_w] = (220, 40, 40)
    pixels[:half_h, half_w:] = (40, 200, 60)
    pixels[half_h:, :half_w] = (50, 70, 220)
    cv2.circle(pixels, (half_w, half_h), height // 5, (240, 230, 40), -1)
    return pixels


@dataclass
class ValkeyServer:
    """A real queue server on a Unix socket, which can be killed and started again."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    socket_folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bl-")))

    @property
    def path(self) -> Path:
        return self.socket_folder / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(valkey.command(self.folder, self.path))
        valkey.wait_until_ready(self.url, PATIENCE)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        shutil.rmtree(self.socket_folder, ignore_errors=True)

    def client(self) -> Redis:
        return Redis.from_url(self.url)


@contextmanager
def serving(
    settings: Settings, known: Mapping[str, Pipeline] | None = None
) -> Iterator[httpx.Client]:
    """The API for these settings, and perhaps pipelines, on a real socket, and a client of it."""
    app = create_app(settings, known or pipelines(settings))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=GuardedProtocol, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        eventually(lambda: server.started, "the API listens")
        with httpx.Client(base_url=url, timeout=PATIENCE, verify=TLS) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def worker(
    environment: dict[str, str], words: Sequence[str] = ("worker.py",)
) -> "Iterator[subprocess.Popen[bytes]]":
    """A worker process, `python worker.py`, told to stop in the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, *words], env={**os.environ, **environment}, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            # One that does not stop fails its test; it must not disturb the others as well.
            process.kill()
            process.wait()


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as a child process has to find them."""
    values = settings.model_dump(exclude_defaults=True)
    return {name.upper(): str(value) for name, value in values.items() if value is not None}


def settings_for(redis_url: str, data_dir: Path, **others: Any) -> Settings:
    """Settings for one test, with two worker threads."""
    chosen = {"worker_threads": 2, **others}
    return load_settings(redis_url=redis_url, data_dir=data_dir, **chosen)


def fresh() -> dict[str, str]:
    """The header of an upload that is one of its own, however often its picture was sent before."""
    return {"Idempotency-Key": str(uuid4())}


def send(
    client: httpx.Client, picture: bytes, name: str = "photo.jpg", **options: Any
) -> httpx.Response:
    """Hand in a picture, as a job of its own; the answer, whatever it is."""
    files = {"file": (name, picture)}
    return client.post("/upload", files=files, data=options, headers=fresh())


def upload(client: httpx.Client, picture: bytes, name: str = "photo.jpg", **options: str) -> str:
    """Hand in a picture that must be taken, as a job of its own; the job's id."""
    answer = send(client, picture, name, **options)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def ended(client: httpx.Client, job_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """The job's status once it is completed or failed."""

    def status() -> dict[str, Any] | None:
        answer = client.get(f"/status/{job_id}")
        if answer.status_code != 200 or answer.json()["status"] not in ("completed", "failed"):
            return None
        found: dict[str, Any] = answer.json()
        return found

    found: dict[str, Any] = eventually(status, f"job {job_id} ends", seconds)
    return found


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error answer, which must have the one shape."""
    content = answer.json()
    assert set(content) == {"error"}, content
    assert set(content["error"]) == {"code", "message"}, content
    assert content["error"]["message"]
    return answer.status_code, content["error"]["code"]


def run_tool(name: str, *arguments: str | Path) -> str:
    """What a program says that may not be installed; its complaints fail the test."""
    tool = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if tool is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(folder: Path) -> list[Path]:
    """All files in the folder and its sub-folders."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def names_below(folder: Path) -> set[str]:
    """The paths of all files in the folder and its sub-folders, from it on."""
    return {path.relative_to(folder).as_posix() for path in files_below(folder)}


def picture_file(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file that another program has written: Pillow, or x265."""
    if kind.upper() == "HEIC":
        return _heic(image, **options)
    with BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def _heic(
    image: Image.Image, *, exif: bytes = b"", xmp: bytes = b"", icc_profile: bytes = b"", **_: Any
) -> bytes:
    # With FFmpeg, which few tests need.
    from tests.heic_files import ALPHA, auxiliary, exif_item, heic, xmp_item

    hung = {}
    if image.mode == "RGBA":
        hung["alpha"] = auxiliary(np.asarray(image.getchannel("A")), ALPHA)
    if exif:
        hung["exif"] = exif_item(exif.removeprefix(b"Exif\0\0"))
    if xmp:
        hung["xmp"] = xmp_item(xmp)
    profile = [(b"colr", b"prof" + icc_profile)] if icc_profile else []
    return heic(np.asarray(image.convert("RGB")), *profile, **hung)


def job_spec(
    targets: tuple[str, ...] = ("face", "car"), style: Style = Style.MOSAIC, **others: Any
) -> JobSpec:
    """A job as the API makes them, with a new id."""
    job_id = str(uuid4())
    kind = others.pop("kind", Kind.JPEG)
    spec = JobSpec(
        job_id=job_id,
        input=Asset(keys.original(job_id, kind), kind.content_type, 1234),
        filename="Straße 1.jpg",
        submitted_at=time.time(),
        pipeline="blur_detect",
        options=values_of(Options(targets, style)),
    )
    return replace(spec, **others)


class Unseeing:
    """What a stage is that needs no network and has no options, but for what it does."""

    name = "unseeing"
    options: tuple[()] = ()
    networks = frozenset[str]()

    def models(self, values: Values) -> frozenset[str]:
        return frozenset()

    def finest_scale(
        self, width: int, height: int, options: Options, detectors: Detectors
    ) -> float:
        return 1.0


def redacting(
    *stages: Stage, name: str = "test", summary: str = "A test", settings: Settings | None = None
) -> Pipeline:
    """A pipeline of the redaction family, in the queue of pictures."""
    known = settings or load_settings()
    waiting = known.queue_name, known.job_timeout
    return Pipeline(name, summary, Family.REDACTION, stages, *waiting)


def done(spec: JobSpec, now: float, **others: Any) -> JobRecord:
    """The record of a job as if a worker had done it; what others are is not what matters."""
    key = keys.processed(spec.job_id, spec.kind.written, others.get("slot", ""))
    picture = Result(key, "picture.jpg", Role.PRIMARY, "image/jpeg", 320, 240, 99, "ab" * 32)
    return completed(spec, now, **{"outputs": (picture,), **others})


def treating(
    detectors: Detectors | None = None, limits: Limits | None = None, second_looks: float = 0.0
) -> ChainTreatment:
    """What treats pictures with these networks."""
    limits = limits or limits_of(load_settings())
    redaction = RedactionTreatment(detectors or {}, limits, 90, second_looks)
    transform = TransformTreatment(detectors or {}, 90, limits.max_output_pixels)
    return ChainTreatment({Family.REDACTION: redaction, Family.TRANSFORM: transform}, limits)


class NothingToBlur(Blur):
    """Has looked and found nothing, without a network."""

    def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
        return replace(frame, redactions=())

    def find(self, pixels: Pixels, options: Options, detectors: Detectors) -> tuple[Found, ...]:
        return ()


def runner(
    settings: Settings,
    *stages: Stage,
    more: Sequence[Pipeline] = (),
    detectors: Detectors | None = None,
) -> JobRunner:
    """Runs jobs of the pipeline `test`, which looks for nothing and so needs no network; and of
    more, with these networks."""
    test = redacting(NothingToBlur({}), *stages, settings=settings)
    known = {pipeline.name: pipeline for pipeline in (test, *more)}
    store = open_store(settings)
    limits = limits_of(settings)
    processor = Processor(
        store,
        open_vault(settings, store),
        known,
        treating(detectors, limits),
        limits,
        load_signing_key(None, settings.data_dir),
    )
    redis = connect(settings.redis_url or "")
    queues = Queues(redis, settings, known)
    return JobRunner(processor, open_endings(settings, redis, store, queues))


@contextmanager
def image_worker(
    settings: Settings, jobs: JobRunner, queue: str | None = None
) -> Iterator[ImageWorker]:
    """A worker of the first queue, or of another one, in this very thread; `work(max_jobs=...)`
    lets it run so many jobs."""
    connection = connect(settings.redis_url or "")
    token = RUNNER.set(jobs)
    try:
        yield ImageWorker(
            JobQueue(connection, settings, queue).rq,
            f"test-{uuid4()}",
            connection,
            settings.abandoned_after,
        )
    finally:
        RUNNER.reset(token)
        connection.close()


@dataclass(frozen=True)
class Taking:
    """A service that takes pictures in and has no worker: a client, its store and its queue."""

    client: httpx.Client
    store: Path
    redis: Redis
    queue: str

    def holds(self) -> tuple[list[Path], list[str]]:
        """The files in the store and the ids of the jobs in the queue."""
        waiting = self.redis.lrange(f"rq:queue:{self.queue}", 0, -1)
        return files_below(self.store), [job_id.decode() for job_id in waiting]
