"""Uploads made-up photos and follows some of the jobs to their end; see load-tests/README.md."""

import itertools
import os
import random
import time
import uuid
from functools import cache

import numpy as np
import simplejpeg
from locust import HttpUser, between, task
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 1280, 720
PHOTOS = 16
POLL_SHARE = float(os.environ.get("POLL_SHARE", "0.1"))
POLL_SECONDS = 0.5
API_KEY = os.environ.get("API_KEY", "")
JOB_DEADLINE = 120.0
LONGEST_PAUSE = 10.0


@cache
def photos() -> list[bytes]:
    """JPEGs of about the size and detail of street photos, the same ones at every run."""
    return [photo(seed) for seed in range(PHOTOS)]


def photo(seed: int) -> bytes:
    """One 1280x720 JPEG: soft colour patches, 24 shapes, and fine noise over all of it."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for shape in itertools.islice(itertools.cycle((draw.ellipse, draw.rectangle)), 24):
        left, top = int(rng.integers(0, WIDTH - 20)), int(rng.integers(0, HEIGHT - 20))
        width, height = (int(side) for side in rng.integers(20, 300, 2))
        red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
        shape((left, top, left + width, top + height), fill=(red, green, blue))
    noise = rng.normal(0, 6, (HEIGHT, WIDTH, 1))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=85, colorspace="RGB"))


class Uploader(HttpUser):
    """A client that uploads one picture after another and does as a full queue tells it."""

    wait_time = between(0.05, 0.25)

    def on_start(self) -> None:
        photos()
        if API_KEY:
            self.client.headers["Authorization"] = f"Bearer {API_KEY}"

    @task
    def upload(self) -> None:
        began = time.perf_counter()
        picture = ("photo.jpg", random.choice(photos()), "image/jpeg")
        # Each upload is one of its own, though its photo was sent before.
        key = {"Idempotency-Key": str(uuid.uuid4())}
        with self.client.post(
            "/upload", files={"file": picture}, headers=key, catch_response=True
        ) as answer:
            if answer.status_code == 429:
                # Back-pressure is the service working as it should: a line of its own, no failure.
                answer.request_meta["name"] = "/upload answered 429"
                answer.success()
                pause = float(answer.headers.get("Retry-After", "1"))
                time.sleep(min(pause, LONGEST_PAUSE))
                return
            if answer.status_code != 202:
                answer.failure(f"status {answer.status_code}")
                return
            job_id = answer.json()["job_id"]
        if random.random() < POLL_SHARE:
            self.follow(job_id, began)

    def follow(self, job_id: str, began: float) -> None:
        """Polls the job until it ends and reports the time since its upload as a line `job`."""
        status = "submitted"
        while status in ("submitted", "processing"):
            if time.perf_counter() - began > JOB_DEADLINE:
                status = f"not finished after {JOB_DEADLINE:.0f} s"
                break
            time.sleep(POLL_SECONDS)
            answer = self.client.get(f"/status/{job_id}", name="/status/{job_id}")
            status = answer.json()["status"] if answer.ok else f"status {answer.status_code}"
        self.environment.events.request.fire(
            request_type="JOB",
            name="job",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=None if status == "completed" else RuntimeError(status),
            context={},
        )
