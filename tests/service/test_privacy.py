"""What a picture says besides its pixels, and the pixels themselves, stay where they belong.

Words are planted in every place of a file that can hold some. Only the original may still have them
afterwards, and it lies encrypted: not the result, not the records, not Redis, not the log.
"""

import base64
import contextlib
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from redis import Redis

from blurline.imaging.kind import Kind
from blurline.settings import load_settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from tests.commands import COMMAND
from tests.parts import PATIENCE, drawing, ended, eventually, files_below, picture_file

MARK = "planted-words"
MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"RIFF",
    b"II*\0",
    b"MM\0*",
    b"GIF8",
    b"Exif\0",
    b"<x:xmpmeta",
)
"""How pictures and their metadata begin."""

LARGEST = 4096
"""Bytes of a value in Redis above which it is no small metadata any more."""

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF")


def planted(kind: str) -> bytes:
    """A picture with the words in EXIF, GPS, XMP, colour profile and comments, as the kind can."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x010F] = MARK  # ImageDescription, Make
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + MARK.encode()  # UserComment
    gps = exif.get_ifd(0x8825)
    gps.update({1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.2)})
    gps[0x1B] = b"ASCII\0\0\0" + MARK.encode()  # GPSProcessingMethod
    text = PngInfo()
    text.add_text("Comment", MARK)
    everything: dict[str, Any] = {
        "exif": exif,
        "xmp": f"<x:xmpmeta>{MARK}</x:xmpmeta>".encode(),
        "icc_profile": MARK.encode() * 20,
        "comment": MARK,
        "pnginfo": text,
    }
    taken = {
        "JPEG": ("exif", "xmp", "icc_profile", "comment"),
        "PNG": ("exif", "icc_profile", "pnginfo"),
        "WEBP": ("exif", "xmp", "icc_profile"),
        "AVIF": ("exif", "xmp", "icc_profile"),
        "TIFF": ("exif", "icc_profile"),
        "GIF": ("comment",),
    }[kind]
    picture = picture_file(
        Image.fromarray(drawing()), kind, **{name: everything[name] for name in taken}
    )
    assert MARK.encode() in picture
    return picture


def damaged(kind: str) -> bytes:
    """Such a picture with the words in its pixel data too, which therefore can't be read."""
    picture = planted(kind)
    middle = len(picture) // 2
    return picture[:middle] + MARK.encode() * 40


@dataclass(frozen=True)
class Scene:
    """A service that has treated planted pictures, good and damaged ones."""

    client: httpx.Client
    redis: Redis
    folder: Path
    log: Path
    good: dict[str, str]
    """Job of the good picture of each kind."""

    @property
    def store(self) -> Path:
        return self.folder / "store"


def holding(redis: Redis) -> Iterator[bytes]:
    """Every name and every value in Redis."""
    readers: dict[bytes, Any] = {
        b"string": lambda key: [redis.get(key)],
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"hash": lambda key: [part for pair in redis.hgetall(key).items() for part in pair],
        b"stream": lambda key: [
            part for _, fields in redis.xrange(key) for pair in fields.items() for part in pair
        ],
    }
    for key in redis.scan_iter():
        yield key
        kind = redis.type(key)
        # A key may run out between the two questions.
        yield from readers[kind](key) if kind != b"none" else ()


def unpacked(value: bytes) -> bytes:
    """The value as it was before rq packed it, if it did."""
    with contextlib.suppress(zlib.error):
        return zlib.decompress(value)
    with contextlib.suppress(ValueError, zlib.error):
        return zlib.decompress(base64.b64decode(value))
    return value


def check_small_and_clean(values: Iterator[bytes]) -> None:
    """None of the values is a picture, holds the words, or is large."""
    seen = 0
    for value in map(unpacked, values):
        seen += b"process_image" in value
        assert len(value) <= LARGEST
        assert MARK.encode() not in value
        assert not [magic for magic in MAGIC if magic in value]
    assert seen, "the jobs themselves are among the values"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("privacy")
    log = folder / "log.txt"
    command = [*COMMAND, "up", "--port", "0"]
    environment = {**os.environ, "LOG_LEVEL": "debug", "DATA_DIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        up = eventually(
            lambda: re.search(r"blurline is up: (\S+)", log.read_text("utf-8")), "the service is up"
        )
        redis = Redis(unix_socket_path=str(folder / "valkey.sock"))
        with httpx.Client(base_url=up[1], timeout=PATIENCE) as client, redis:
            good = {}
            for kind in KINDS:
                answer = client.post("/upload", files={"file": ("a", planted(kind))})
                good[kind] = answer.json()["job_id"]
                assert ended(client, good[kind], seconds=20)["status"] == "completed"
            failed = 0
            for kind in KINDS:
                answer = client.post("/upload", files={"file": ("a", damaged(kind))})
                if answer.status_code == httpx.codes.ACCEPTED:
                    failed += ended(client, answer.json()["job_id"])["status"] == "failed"
            assert failed
            yield Scene(client, redis, folder, log, good)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_holds_nothing_but_pixels(scene: Scene, kind: str) -> None:
    answer = scene.client.get(f"/result/{scene.good[kind]}")

    assert MARK.encode() not in answer.content
    assert b"Exif" not in answer.content
    assert b"xmp" not in answer.content.lower()
    (stored,) = scene.store.glob(f"processed/*/{scene.good[kind]}.*")
    assert stored.read_bytes() == answer.content
    with Image.open(stored) as picture:
        exif = picture.getexif()
        assert not exif.get_ifd(0x8825)
        assert not {"icc_profile", "xmp", "comment", "Comment"} & set(picture.info)


def test_only_the_original_keeps_what_it_said_and_only_who_has_the_key_can_read_it(
    scene: Scene,
) -> None:
    files = files_below(scene.folder)
    assert not [path for path in files if MARK.encode() in path.read_bytes()]
    settings = load_settings(data_dir=scene.folder)
    vault = open_vault(settings, open_store(settings))
    for kind, job_id in scene.good.items():
        assert vault.get(job_id, Kind[kind]) == planted(kind)


def test_redis_holds_no_picture_and_nothing_out_of_one(scene: Scene) -> None:
    check_small_and_clean(holding(scene.redis))


def test_redis_holds_no_picture_while_its_job_waits(taking: Any, redis_url: str) -> None:
    for kind in KINDS:
        answer = taking.client.post("/upload", files={"file": ("a", planted(kind))})
        assert answer.status_code == httpx.codes.ACCEPTED

    check_small_and_clean(holding(taking.redis))


def test_the_queues_files_on_disk_hold_no_picture(scene: Scene) -> None:
    written = b"".join(path.read_bytes() for path in files_below(scene.folder / "valkey"))

    assert scene.good["JPEG"].encode() in written, "this is where the queue is written"
    assert MARK.encode() not in written
    assert not [magic for magic in MAGIC if magic in written]


def test_the_log_says_what_failed_and_quotes_no_picture(scene: Scene) -> None:
    for content in (MARK.encode() * 10, b"\x89PNG\r\n\x1a\n" + MARK.encode() * 10):
        assert scene.client.post("/upload", files={"file": ("a", content)}).status_code == 400
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (MARK, f"--x\r\n{MARK} {MARK}\r\n\r\n{MARK}", f"--x\r\n{MARK}:\0\r\n\r\n"):
        answer = scene.client.post("/upload", content=body.encode(), headers=form)
        assert answer.status_code == 400

    log = scene.log.read_bytes()

    assert b"corrupt_image" in log
    assert MARK.encode() not in log
    assert not [magic for magic in MAGIC if magic in log]
    assert not re.search(rb"[0-9a-f]{200}|[A-Za-z0-9+/]{200}", log), "neither in hex nor in base64"
    log.decode("utf-8")


def test_what_is_told_of_a_job_holds_nothing_out_of_its_picture(scene: Scene) -> None:
    for job_id in scene.good.values():
        assert MARK not in scene.client.get(f"/status/{job_id}").text
    for page in ("/stats", "/queue-status", "/health", "/metrics"):
        assert MARK not in scene.client.get(page).text


# The programs themselves

CALLS = """
import sys

def tell(event, arguments):
    if event in ("os.fork", "socket.connect", "socket.getaddrinfo"):
        print("called", event, arguments, file=sys.stderr)

sys.addaudithook(tell)
from blurline.cli.main import main
main()
"""


def test_redacting_calls_nobody_and_leaves_nothing_at_home(tmp_path: Path, zidane: bytes) -> None:
    """Libraries that report their use do so by name look-ups and in files of the user."""
    photo, result, home = (tmp_path / name for name in ("photo.jpg", "result.jpg", "home"))
    photo.write_bytes(zidane)
    home.mkdir()
    command = [sys.executable, "-c", CALLS, "redact", str(photo), str(result)]
    environment = {**os.environ, "HOME": str(home), "MODEL_DIR": str(load_settings().model_dir)}
    # Some keep quiet where they believe that they are tested.
    for name in ("CI", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert result.is_file()
    assert "called" not in done.stderr, done.stderr
    assert files_below(home) == []
