"""The way from a picture file to upright RGB pixels."""

import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from blurline.errors import PictureError
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Header, Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.levels import FULL
from tests.parts import STORED_FOR_ORIENTATION, drawing, files_below, picture_file

LIMITS = Limits(max_bytes=50_000_000, max_pixels=100_000_000)
PIXELS = drawing(96, 64)
PICTURE = Image.fromarray(PIXELS)
GREY = PICTURE.convert("L")
GREY_PIXELS = np.asarray(GREY.convert("RGB"))
PALETTE = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE)
BITS = PICTURE.convert("1")
LOSSY = 3.0
"""Mean difference of 8-bit values that lossy kinds may make at a quality of 95."""

# Every value of 16 bits that comes from one of 8 bits without a remainder.
DEEP = np.ascontiguousarray(PIXELS[..., ::-1]).astype(np.uint16) * 257
DEEP_GREY = np.asarray(GREY).astype(np.uint16) * 257


READ_AND_WEIGH = """
import sys
from pathlib import Path
from blurline.errors import PictureError
from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header

data = Path(sys.argv[1]).read_bytes()
try:
    decode(data, read_header(data, Limits(50_000_000, 100_000_000)))
except PictureError:
    pass
print(*(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


def pixels_of(data: bytes) -> Pixels:
    """As they are stored: not pulled apart where a file of 16 bits has few tones."""
    return decode(data, read_header(data, LIMITS), levels=FULL)


def difference(pixels: Pixels, expected: Pixels) -> float:
    """Mean difference of the 8-bit values."""
    assert pixels.shape == expected.shape
    return float(cv2.absdiff(pixels, expected).mean())


def by_opencv(extension: str, pixels: "np.ndarray") -> bytes:
    done, buffer = cv2.imencode(extension, pixels)
    assert done
    return buffer.tobytes()


def see_through() -> Image.Image:
    """The picture with all degrees of transparency from left to right."""
    picture = PICTURE.copy()
    alpha = np.tile(np.linspace(0, 255, picture.width).astype(np.uint8), (picture.height, 1))
    picture.putalpha(Image.fromarray(alpha))
    return picture


def animation(kind: str, **options: object) -> bytes:
    return picture_file(
        PICTURE, kind, save_all=True, append_images=[ImageOps.invert(PICTURE)], **options
    )


def peak_memory(path: Path) -> float:
    """Megabytes that a process of its own takes at most to read the file."""
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_WEIGH, path], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[1]) / 1024


def seen_by_pillow(data: bytes) -> Pixels | None:
    """The upright picture by another reader; None where it reads nothing or is no authority.

    Pillow clips 16-bit grey, has a LAB of its own, and shows the still picture that may come
    before an animated PNG.
    """
    if b"acTL" in data:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(data), formats=[kind.name for kind in Kind]) as image:
                if image.mode == "LAB" or image.mode.startswith("I;16"):
                    return None
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception:
            return None


FILES: dict[str, tuple[Callable[[], bytes], Pixels, float]] = {
    "JPEG": (lambda: picture_file(PICTURE, "JPEG", quality=95), PIXELS, LOSSY),
    "JPEG without subsampling": (
        lambda: picture_file(PICTURE, "JPEG", quality=95, subsampling=0),
        PIXELS,
        LOSSY,
    ),
    "progressive JPEG": (
        lambda: picture_file(PICTURE, "JPEG", quality=95, progressive=True),
        PIXELS,
        LOSSY,
    ),
    "grey JPEG": (lambda: picture_file(GREY, "JPEG", quality=95), GREY_PIXELS, LOSSY),
    "CMYK JPEG": (lambda: picture_file(PICTURE.convert("CMYK"), "JPEG", quality=95), PIXELS, LOSSY),
    "JPEG with a second picture": (lambda: animation("MPO", quality=95), PIXELS, LOSSY),
    "PNG": (lambda: picture_file(PICTURE, "PNG"), PIXELS, 0),
    "PNG of 16 bits": (lambda: by_opencv(".png", DEEP), PIXELS, 0),
    "grey PNG": (lambda: picture_file(GREY, "PNG"), GREY_PIXELS, 0),
    "grey PNG of 16 bits": (lambda: by_opencv(".png", DEEP_GREY), GREY_PIXELS, 0),
    "grey PNG with transparency": (
        lambda: picture_file(PICTURE.convert("LA"), "PNG"),
        GREY_PIXELS,
        0,
    ),
    "palette PNG": (lambda: picture_file(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "PNG of 1 bit": (lambda: picture_file(BITS, "PNG"), np.asarray(BITS.convert("RGB")), 0),
    "transparent PNG": (lambda: picture_file(see_through(), "PNG"), PIXELS, 0),
    "WebP": (lambda: picture_file(PICTURE, "WEBP", quality=95), PIXELS, LOSSY),
    "lossless WebP": (lambda: picture_file(PICTURE, "WEBP", lossless=True), PIXELS, 0),
    "transparent WebP": (
        lambda: picture_file(see_through(), "WEBP", lossless=True, exact=True),
        PIXELS,
        0,
    ),
    "BMP": (lambda: picture_file(PICTURE, "BMP"), PIXELS, 0),
    "palette BMP": (lambda: picture_file(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB")), 0),
    "transparent BMP": (lambda: picture_file(see_through(), "BMP"), PIXELS, 0),
    "TIFF": (lambda: picture_file(PICTURE, "TIFF"), PIXELS, 0),
    "TIFF by LZW": (lambda: picture_file(PICTURE, "TIFF", compression="tiff_lzw"), PIXELS, 0),
    "TIFF by JPEG": (lambda: picture_file(PICTURE, "TIFF", compression="jpeg"), PIXELS, LOSSY),
    "fax TIFF": (
        lambda: picture_file(BITS, "TIFF", compression="group4"),
        np.asarray(BITS.convert("RGB")),
        0,
    ),
    "TIFF of 16 bits": (lambda: by_opencv(".tif", DEEP), PIXELS, 0),
    "grey TIFF of 16 bits": (lambda: by_opencv(".tif", DEEP_GREY), GREY_PIXELS, 0),
    "CMYK TIFF": (lambda: picture_file(PICTURE.convert("CMYK"), "TIFF"), PIXELS, 0),
    "transparent TIFF": (lambda: picture_file(see_through(), "TIFF"), PIXELS, 0),
    "GIF": (lambda: picture_file(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "AVIF": (lambda: picture_file(PICTURE, "AVIF", quality=95), PIXELS, LOSSY),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_picture_in_every_format_gives_the_same_pixels(name: str) -> None:
    make, expected, tolerance = FILES[name]
    pixels = pixels_of(make())
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert difference(pixels, expected) <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_a_file_of_several_pictures_is_refused(kind: str) -> None:
    with pytest.raises(PictureError) as caught:
        pixels_of(animation(kind))
    assert caught.value.code == "animation"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.WEBP, Kind.TIFF, Kind.AVIF])
def test_every_orientation_gives_the_same_upright_picture(kind: Kind, orientation: int) -> None:
    turn = STORED_FOR_ORIENTATION.get(orientation)
    stored = PICTURE if turn is None else PICTURE.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = picture_file(stored, kind.value, exif=exif, quality=95)
    pixels = pixels_of(data)
    assert difference(pixels, PIXELS) <= LOSSY
    with Image.open(BytesIO(data)) as image:
        pillows = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert difference(pixels, pillows) <= LOSSY
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_reduced_jpeg_shows_the_means_of_two_by_two_pixels(mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = picture_file(PICTURE.convert(mode), "JPEG", quality=95, subsampling=0, exif=exif)
    header = read_header(data, LIMITS)
    whole = decode(data, header).astype(int)
    height, width = whole.shape[0] // 2, whole.shape[1] // 2
    means = whole.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    reduced = decode(data, header, reduction=2)
    assert reduced.shape == (height, width, 3)
    assert reduced.flags.c_contiguous
    assert np.abs(reduced - means).mean() < 1.5


@pytest.mark.parametrize(
    "data",
    [
        picture_file(PICTURE.resize((95, 64)), "JPEG"),
        picture_file(PICTURE.resize((96, 63)), "JPEG"),
        picture_file(PICTURE, "PNG"),
        picture_file(PICTURE, "JPEG")[:-60],
    ],
    ids=["odd width", "odd height", "PNG", "cut short"],
)
def test_what_can_only_be_read_as_a_whole_is_not_reduced(data: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data, read_header(data, LIMITS), reduction=2)
    assert caught.value.code == "not_reducible"


@pytest.mark.parametrize("part", [0.4, 0.8, 0.97])
@pytest.mark.parametrize("kind", Kind)
def test_a_file_cut_short_is_corrupt(kind: Kind, part: float) -> None:
    noise = random.Random(1).randbytes(96 * 64 * 3)
    whole = picture_file(Image.frombytes("RGB", (96, 64), noise), kind.value)
    with pytest.raises(PictureError) as caught:
        decode(whole[: int(len(whole) * part)], read_header(whole, LIMITS))
    assert caught.value.code == "corrupt_image"


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.BMP, Kind.GIF])
def test_a_file_cut_short_after_its_header_is_corrupt_and_not_no_image(kind: Kind) -> None:
    noise = random.Random(1).randbytes(96 * 64 * 3)
    whole = picture_file(Image.frombytes("RGB", (96, 64), noise), kind.value)
    with pytest.raises(PictureError) as caught:
        pixels_of(whole[: len(whole) // 2])
    assert caught.value.code == "corrupt_image"


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("TIFF", {"compression": "tiff_deflate"})]
)
def test_data_that_fails_its_checksum_is_corrupt(kind: str, options: dict[str, str]) -> None:
    noise = random.Random(1).randbytes(96 * 64 * 3)
    data = bytearray(picture_file(Image.frombytes("RGB", (96, 64), noise), kind, **options))
    middle = len(data) // 2
    data[middle : middle + 100] = bytes(100)
    with pytest.raises(PictureError) as caught:
        pixels_of(bytes(data))
    assert caught.value.code == "corrupt_image"


@pytest.mark.parametrize("kind", Kind)
def test_pixels_that_are_not_as_many_as_the_header_said_are_corrupt(kind: Kind) -> None:
    with pytest.raises(PictureError) as caught:
        decode(picture_file(PICTURE, kind.value), Header(kind, 64, 96, 1))
    assert caught.value.code == "corrupt_image"


@pytest.mark.parametrize("kind", Kind)
def test_damage_anywhere_gives_pixels_of_the_size_or_a_picture_error(kind: Kind) -> None:
    chance = random.Random(7)
    whole = picture_file(PICTURE, kind.value)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            header = read_header(bytes(data), Limits(10**6, 10**6))
            pixels = decode(bytes(data), header)
        except PictureError:
            continue
        width, height = header.upright_size
        assert pixels.shape == (height, width, 3)


@pytest.mark.process
@pytest.mark.parametrize("chunk", [b"IHDR", b"IDAT", b"IEND"])
def test_a_small_png_whose_chunk_claims_gigabytes_costs_little_memory(
    chunk: bytes, tmp_path: Path
) -> None:
    data = bytearray(picture_file(PICTURE, "PNG"))
    data[data.index(chunk) - 4] = 0xC0  # the highest byte of the chunk's length
    path = tmp_path / "small.png"
    path.write_bytes(data)
    assert peak_memory(path) < 500


def test_every_hostile_file_gives_pixels_of_its_size_or_a_picture_error(data: Path) -> None:
    failures, decoded = [], 0
    for path in files_below(data / "hostile"):
        content = path.read_bytes()
        try:
            header = read_header(content, LIMITS)
            pixels = decode(content, header)
        except PictureError:
            continue
        except Exception as error:
            failures.append(f"{path.name}: {error!r}")
            continue
        decoded += 1
        width, height = header.upright_size
        if pixels.shape != (height, width, 3) or not pixels.flags.c_contiguous:
            failures.append(f"{path.name}: {header} and {pixels.shape}")
    assert decoded > 100
    assert not failures, "\n".join(failures)


def test_what_is_decoded_of_hostile_files_is_what_pillow_sees(data: Path) -> None:
    failures, compared = [], 0
    for path in files_below(data / "hostile"):
        content = path.read_bytes()
        try:
            pixels = pixels_of(content)
        except PictureError:
            continue
        seen = seen_by_pillow(content)
        if seen is None:
            continue
        compared += 1
        if pixels.shape != seen.shape:
            failures.append(f"{path.name}: {pixels.shape}, not {seen.shape}")
        elif (far := difference(pixels, seen)) > LOSSY:
            failures.append(f"{path.name}: {far:.0f} of 255 away")
    assert compared > 100
    assert not failures, "\n".join(failures)
