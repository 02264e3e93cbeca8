"""Reading a picture in a process of its own first, which may die of it.

Decoders are native code, in which a file that nobody has seen yet might end the process. A picture
whose worker was lost is tried here before it comes to another one.
"""

import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from blurline.errors import PictureError
from blurline.imaging.decode import HALF, decode
from blurline.imaging.ending import with_end
from blurline.imaging.header import Limits, read_header
from blurline.imaging.jpeg import JpegError
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.rewrite import rewrite
from blurline.imaging.turbojpeg import Blocks, library

SECONDS = 30
MEMORY_BYTES = 4 << 30
"""Of addresses, not of pages in use. 100 million pixels of 16 bits and four channels fit."""

ROOT = Path(__file__).parent.parent.parent


def check_harmless(
    data: bytes, limits: Limits, *, seconds: float = SECONDS, memory: int = MEMORY_BYTES
) -> None:
    """Return if a process that reads the picture as a worker does comes out of it alive.

    Whether the picture is any good is left to the worker.

    Raises:
        PictureError: `corrupt_image`, it died or took longer than `seconds`.
    """
    numbers = map(str, (memory, *astuple(limits)))
    command = [sys.executable, "-m", "blurline.imaging.trial", *numbers]
    try:
        done = subprocess.run(
            command, input=data, cwd=ROOT, timeout=seconds, check=False, capture_output=True
        )
    except subprocess.TimeoutExpired as error:
        raise PictureError("the picture takes too long to read", code="corrupt_image") from error
    if done.returncode:
        raise PictureError("the picture ends whoever reads it", code="corrupt_image")


def read_like_a_worker(data: bytes, limits: Limits) -> None:
    """Let every reader at the picture that a worker would.

    Raises:
        PictureError: one of them refuses it.
    """
    header = read_header(data, limits)
    pixels = decode(data, header)
    read_metadata(data, header.kind, MetadataPolicy.KEEP)
    turbojpeg = library()
    if header.kind is not Kind.JPEG:
        output = OutputFormat.PNG if header.kind is Kind.HEIC else OutputFormat.SAME
        rewrite(data, header.kind, pixels, (), header.orientation, 90, output)
        return
    with suppress(PictureError):  # a worker reads the whole where it can't read half
        decode(data, header, reduction=HALF)
    if turbojpeg is not None:
        turbojpeg.transcode(with_end(data), _nothing, progressive=False)


def _nothing(component: int, row: int, blocks: Blocks) -> None:
    """An edit that leaves all coefficients as they are."""


def _main(memory: str, *limits: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    data = sys.stdin.buffer.read()
    try:
        read_like_a_worker(data, Limits(*map(int, limits)))
    except (PictureError, JpegError, ValueError) as error:
        if isinstance(error.__cause__, MemoryError):
            raise  # a worker has no such bound, and would be ended by the system


if __name__ == "__main__":
    _main(*sys.argv[1:])
