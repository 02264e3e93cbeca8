"""The service that a team would write in a day, with the networks that blurline uses.

One process takes uploads, and the framework's background tasks do the rest in its threads. There is
no queue outside the process, no second try, no limit, no clean metadata; a restart forgets all that
is under way.

It is no strawman: its networks run by blurline's own `Detector`, hence as fast, with blurline's own
thresholds, and a mosaic costs next to nothing. Each network looks once, at the input size that it
was made for, and all boxes are grown by the same margin. So what differs is the service around the
networks, and how closely they look.

`python -m bench.peers.plain_service FOLDER DESCRIPTOR` serves on a socket that it inherits.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException, UploadFile

from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detectors
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.redaction.styles import PixelBox, whole_pixels
from blurline.settings import load_settings

TARGETS = {"face": ("centerface", 0.1), "license_plate": ("platenet", 0.45)}
"""Network and least confidence of what is blurred."""

OBJECTS = ("yolo11n", 0.25)
MODELS = (*(name for name, _ in TARGETS.values()), OBJECTS[0])
MARGIN = 0.2
"""By which share of its size a box is grown on each side."""

CELLS = 6
QUALITY = 90


@dataclass(slots=True)
class Job:
    """What is known of an upload."""

    job_id: str
    status: str
    updated_at: float


def find(pixels: Pixels, target: str, detectors: Detectors) -> list[PixelBox]:
    """The regions of a target in RGB pixels."""
    height, width = pixels.shape[:2]
    name, threshold = TARGETS[target]
    regions = []
    for found in detectors[name].detect(pixels, threshold):
        x1, y1, x2, y2 = found.box
        dx, dy = (x2 - x1) * MARGIN, (y2 - y1) * MARGIN
        regions.append(whole_pixels((x1 - dx, y1 - dy, x2 + dx, y2 + dy), width, height))
    return regions


def treat(data: bytes, detectors: Detectors) -> tuple[bytes, list[dict[str, Any]]]:
    """The blurred JPEG, and the objects that are left in it."""
    bgr: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    regions = [region for target in TARGETS for region in find(pixels, target, detectors)]
    for left, top, right, bottom in regions:
        region = pixels[top:bottom, left:right]
        small = cv2.resize(region, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        region[:] = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    name, threshold = OBJECTS
    objects = [asdict(found) for found in detectors[name].detect(pixels, threshold)]
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, picture = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return picture.tobytes(), objects


def create_app(folder: Path, detectors: Detectors) -> FastAPI:
    """The service; pictures and their objects go to the folder."""
    app = FastAPI()
    jobs: dict[str, Job] = {}

    def work(job: Job, data: bytes) -> None:
        try:
            picture, objects = treat(data, detectors)
            (folder / f"{job.job_id}.jpg").write_bytes(picture)
            (folder / f"{job.job_id}.json").write_text(json.dumps(objects), "utf-8")
            job.status = "completed"
        except Exception:
            job.status = "failed"
            raise
        finally:
            job.updated_at = time.time()

    @app.post("/upload", status_code=202)
    async def upload(file: UploadFile, tasks: BackgroundTasks) -> dict[str, Any]:
        job = Job(uuid4().hex, "processing", time.time())
        jobs[job.job_id] = job
        tasks.add_task(work, job, await file.read())
        return asdict(job)

    @app.get("/status/{job_id}")
    async def status(job_id: str) -> dict[str, Any]:
        if job_id not in jobs:
            raise HTTPException(404)
        return asdict(jobs[job_id])

    @app.get("/queue-status")
    async def queue_status() -> dict[str, int]:
        processing = sum(job.status == "processing" for job in jobs.values())
        return {"depth": 0, "processing": processing, "retrying": 0}

    return app


def main() -> None:
    """Serve until told to stop."""
    folder, descriptor = sys.argv[1:]
    detectors = load_detectors(MODELS, inference(load_settings()))
    app = create_app(Path(folder), detectors)
    uvicorn.run(app, fd=int(descriptor), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
