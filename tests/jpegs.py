"""JPEG files of all kinds, made on the spot, and a look at what they hold."""

import struct
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.turbojpeg import Blocks, TurboJpeg, library
from tests.parts import picture_file

LIMITS = Limits(max_bytes=50_000_000, max_pixels=50_000_000)
Factors = Sequence[tuple[int, int]]


def codec() -> TurboJpeg:
    """The TurboJPEG library; the test that asks is skipped where there is none."""
    found = library()
    if found is None:
        pytest.skip("there is no TurboJPEG library, neither the system's nor the package turbojpeg")
    return found


def scene(width: int, height: int, seed: int = 1) -> Pixels:
    """A picture of spots of all colours and some noise, another one for each seed."""
    chance = np.random.default_rng(seed)
    colours = chance.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    soft = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
    noisy = soft + chance.normal(0, 4, soft.shape)
    return np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8))


def by_simplejpeg(subsampling: str) -> Callable[[Pixels], bytes]:
    return lambda pixels: simplejpeg.encode_jpeg(pixels, 92, "RGB", subsampling)


def by_pillow(mode: str = "RGB", **options: object) -> Callable[[Pixels], bytes]:
    return lambda pixels: picture_file(
        Image.fromarray(pixels).convert(mode), "JPEG", quality=92, **options
    )


def ycck(pixels: Pixels) -> bytes:
    """As Adobe does: what stands for ink is 255 less it, here with no black ink."""
    white = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    stored = np.ascontiguousarray(np.concatenate([pixels, white], axis=2))
    return simplejpeg.encode_jpeg(stored, 92, "CMYK", "420")


def scan_by_scan(pixels: Pixels, factors: Factors, between: bytes = b"") -> bytes:
    """A YCbCr file with any sampling factors (horizontal, vertical), one scan for a component.

    A scan of one component is coded as a grey picture is (T.81, A.2.2), so three of those give it.
    """
    widest, highest = (max(values) for values in zip(*factors, strict=True))
    height, width = pixels.shape[:2]
    y, cr, cb = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb))
    files = []
    for plane, (horizontal, vertical) in zip((y, cb, cr), factors, strict=True):
        size = -(-width * horizontal // widest), -(-height * vertical // highest)
        small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        files.append(picture_file(Image.fromarray(small), "JPEG", quality=92))
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes(
        byte for number, (h, v) in enumerate(factors, 1) for byte in (number, 16 * h + v, 0)
    )
    start = files[0].index(b"\xff\xc0")
    parts = [files[0][:start], b"\xff\xc0", struct.pack(">H", len(frame) + 2), frame]
    parts.append(files[0][start + 2 + 11 : files[0].index(b"\xff\xda")])
    for number, file in enumerate(files, 1):
        coded = file[file.index(b"\xff\xda") + 10 : -2]
        parts += [between if number > 1 else b"", b"\xff\xda\0\x08\x01"]
        parts += [bytes((number, 0, 0, 63, 0)), coded]
    return b"".join([*parts, b"\xff\xd9"])


KINDS: dict[str, Callable[[Pixels], bytes]] = {
    "4:4:4": by_simplejpeg("444"),
    "4:2:2": by_simplejpeg("422"),
    "4:2:0": by_simplejpeg("420"),
    "4:4:0": by_simplejpeg("440"),
    "4:1:1": by_simplejpeg("411"),
    "grey": by_simplejpeg("Gray"),
    "progressive": by_pillow(progressive=True),
    "progressive 4:4:4": by_pillow(progressive=True, subsampling=0),
    "progressive grey": by_pillow("L", progressive=True),
    "restart markers": by_pillow(restart_marker_blocks=3),
    "optimised": by_pillow(optimize=True),
    "RGB": by_pillow(keep_rgb=True),
    "CMYK": by_pillow("CMYK"),
    "progressive CMYK": by_pillow("CMYK", progressive=True),
    "YCCK": ycck,
    "scan by scan": lambda pixels: scan_by_scan(pixels, [(2, 2), (1, 1), (1, 1)]),
    "4:2:2 as 2x2, 1x2, 1x2": lambda pixels: scan_by_scan(pixels, [(2, 2), (1, 2), (1, 2)]),
}
"""One maker for each kind of file that is treated."""


def decoded(data: bytes) -> Pixels:
    """The upright pixels as the service sees them."""
    return decode(data, read_header(data, LIMITS))


def unchanged(component: int, row: int, blocks: Blocks) -> None:
    """An edit that changes nothing."""


def coefficients(data: bytes) -> list[NDArray[np.int16]]:
    """All of each component, shape (rows, columns, 64)."""
    planes: dict[int, list[Blocks]] = {}

    def look(component: int, row: int, blocks: Blocks) -> None:
        plane = planes.setdefault(component, [])
        assert row == sum(map(len, plane))
        plane.append(blocks.copy())
        blocks[:] = 0  # what no JPEG can hold must not be written, but may be looked at

    codec().transcode(data, look, progressive=False)
    return [np.concatenate(planes[component]) for component in sorted(planes)]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its frame header, to see what lies beyond the edge."""
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def without_segment(data: bytes, marker: int) -> bytes:
    """The file without its first segment of that marker."""
    place = data.index(bytes((0xFF, marker)))
    return data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :]
