"""What is read from a picture's header: its kind, size and orientation, and what is refused."""

import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.header import Limits, read_header, sniff
from blurline.imaging.kind import Kind
from tests.parts import drawing, picture_file

LIMITS = Limits(max_bytes=50_000_000, max_pixels=100_000_000)
WIDTH, HEIGHT = 64, 48
PICTURE = Image.fromarray(drawing(WIDTH, HEIGHT))
FILES = {kind: picture_file(PICTURE, kind.value) for kind in Kind}

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
"""The start of a file, which says what it is and no more."""
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomavc1"
UNSUPPORTED = {
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG with a prolog": b'\n<?xml version="1.0"?>\n<!-- drawn by hand -->\n<SVG></SVG>',
    "SVG with a byte order mark": b'\xef\xbb\xbf<?xml version="1.0"?><svg></svg>',
    "PDF": b"%PDF-1.7\n",
    "PSD": b"8BPS\0\1\0\0\0\0\0\0\0\3",
    "ICO": picture_file(PICTURE, "ICO"),
    "JPEG 2000": picture_file(PICTURE, "JPEG2000"),
    "JPEG 2000 codestream": picture_file(PICTURE, "JPEG2000", no_jp2=True),
    "JPEG XL": b"\xff\x0a\xfa\x7f",
    "JPEG XL container": b"\0\0\0\x0cJXL \r\n\x87\n",
    "BigTIFF": picture_file(PICTURE, "TIFF", big_tiff=True),
    "PPM": picture_file(PICTURE, "PPM"),
    "QOI": picture_file(PICTURE, "QOI"),
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "camera raw": b"FUJIFILMCCD-RAW 0201",
    "MP4": MP4,
    "QuickTime": MP4.replace(b"ftypisom", b"ftypqt  "),
    "WebM": b"\x1aE\xdf\xa3\x9fB\x86\x81",
    "AVI": b"RIFF\x24\0\0\0AVI LIST",
}
NO_IMAGES = {
    "nothing": b"",
    "one byte": b"\xff",
    "text": b"Not a picture at all, whatever its name says.",
    "text that begins like a bitmap": b"BMW 320i, blue, seen on the motorway",
    "HTML": b"<!doctype html><title>404</title>",
    "XML": b'<?xml version="1.0"?><feed></feed>',
    "ZIP": b"PK\3\4\x14\0\0\0\x08\0",
    "program": b"\x7fELF\2\1\1\0",
    "WAVE sound": b"RIFF\x24\0\0\0WAVEfmt ",
    "zeros": bytes(1000),
    "noise": random.Random(3).randbytes(1000),
}


def code_of(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PictureError) as caught:
        read_header(data, limits)
    return caught.value.code


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(width: int, height: int, *after_header: bytes) -> bytes:
    """A PNG of that claimed size with the given chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(after_header) + chunk(b"IEND", b"")


def claiming(kind: Kind, width: int, height: int) -> bytes:
    """The small picture as a file whose header claims another size."""
    data = bytearray(FILES[kind])
    if kind is Kind.JPEG:
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    elif kind is Kind.PNG:
        return png(width, height, chunk(b"IDAT", b""))
    elif kind is Kind.WEBP:
        struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, width, height)
    elif kind is Kind.BMP:
        struct.pack_into("<ii", data, 18, width, height)
    elif kind is Kind.GIF:
        struct.pack_into("<HH", data, 6, width, height)
    elif kind in (Kind.AVIF, Kind.HEIC):
        struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    else:
        for tag, value in ((256, width), (257, height)):  # one number of 32 bits each
            place = data.index(struct.pack("<HHI", tag, 4, 1))
            struct.pack_into("<I", data, place + 8, value)
    return bytes(data)


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_known_by_its_content(kind: Kind) -> None:
    header = read_header(FILES[kind], LIMITS)
    assert (header.kind, header.width, header.height) == (kind, WIDTH, HEIGHT)
    assert header.orientation == 1


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe1", Kind.JPEG),
        (b"GIF87a", Kind.GIF),
        (b"GIF89a", Kind.GIF),
        (b"II*\0", Kind.TIFF),
        (b"MM\0*", Kind.TIFF),
        (HEIC.replace(b"ftypheic", b"ftypavif"), Kind.AVIF),
        (HEIC.replace(b"ftypheic", b"ftypavis"), Kind.AVIF),
        (HEIC.replace(b"mif1heic", b"mif1avif"), Kind.AVIF),
        *((HEIC.replace(b"heic", brand), Kind.HEIC) for brand in (b"heix", b"hevc", b"MiHE")),
        (HEIC.replace(b"ftypheic", b"ftypMiHB"), Kind.HEIC),
        (HEIC.replace(b"mif1", b"tmap"), Kind.HEIC),
        (b"BM" + bytes(12) + b"\x0c\0\0\0", Kind.BMP),
        (b"BM" + bytes(12) + b"\x7c\0\0\0", Kind.BMP),
    ],
)
def test_every_variant_of_a_kind_is_known(start: bytes, kind: Kind) -> None:
    assert sniff(start) is kind


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_kind_that_is_not_read_is_called_unsupported(name: str) -> None:
    assert code_of(UNSUPPORTED[name]) == "unsupported_kind"


def test_the_refusal_names_the_kind_and_what_to_send_instead() -> None:
    with pytest.raises(PictureError) as caught:
        sniff(MP4)
    assert all(word in caught.value.message for word in ("video", *(kind.value for kind in Kind)))


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_picture_is_called_that(name: str) -> None:
    assert code_of(NO_IMAGES[name]) == "not_an_image"


@pytest.mark.parametrize("kind", Kind)
def test_a_file_cut_anywhere_gives_its_true_size_or_an_error(kind: Kind) -> None:
    data = FILES[kind]
    for length in range(min(len(data), 1000)):
        try:
            header = read_header(data[:length], LIMITS)
        except PictureError as error:
            assert error.code in ("not_an_image", "corrupt_image")
        else:
            assert (header.width, header.height) == (WIDTH, HEIGHT), length


# Without Kind.GIF, where the frame has a size of its own.
@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.WEBP, Kind.BMP, Kind.TIFF])
def test_a_picture_of_no_pixels_is_refused(kind: Kind) -> None:
    assert code_of(claiming(kind, 0, 0)) == "not_an_image"


def test_the_limit_on_bytes_is_exact() -> None:
    data = FILES[Kind.JPEG]
    assert read_header(data, Limits(len(data), 10**8)).kind is Kind.JPEG
    assert code_of(data, Limits(len(data) - 1, 10**8)) == "too_many_bytes"


@pytest.mark.parametrize("kind", Kind)
def test_the_limit_on_pixels_is_exact(kind: Kind) -> None:
    assert read_header(FILES[kind], Limits(10**8, WIDTH * HEIGHT)).width == WIDTH
    assert code_of(FILES[kind], Limits(10**8, WIDTH * HEIGHT - 1)) == "too_many_pixels"


@pytest.mark.parametrize("kind", Kind)
def test_a_size_above_the_limit_is_refused_though_the_pixels_are_not_there(kind: Kind) -> None:
    assert code_of(claiming(kind, 16000, 16000)) == "too_many_pixels"


def test_a_png_is_judged_without_reading_its_pixels() -> None:
    header = read_header(png(WIDTH, HEIGHT, chunk(b"IDAT", b"no pixels at all")), LIMITS)
    assert (header.width, header.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.WEBP, Kind.TIFF])
def test_the_upright_size_follows_the_orientation(kind: Kind, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    header = read_header(picture_file(PICTURE, kind.value, exif=exif), LIMITS)
    turned = orientation >= 5
    assert header.upright_size == ((HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT))


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.WEBP])
def test_the_orientation_is_read(kind: Kind) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    assert read_header(picture_file(PICTURE, kind.value, exif=exif), LIMITS).orientation == 3


def test_the_orientation_behind_the_pixels_of_a_png_is_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(3 * WIDTH)) * HEIGHT))
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    assert read_header(png(WIDTH, HEIGHT, pixels, late), LIMITS).orientation == 6


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_without_meaning_counts_as_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read_header(picture_file(PICTURE, "JPEG", exif=exif), LIMITS).orientation == 1


def test_every_hostile_file_gives_a_header_or_a_picture_error(data: Path) -> None:
    files = [path for path in sorted((data / "hostile").rglob("*")) if path.is_file()]
    failures = []
    for path in files:
        try:
            header = read_header(path.read_bytes(), LIMITS)
        except PictureError:
            continue
        except Exception as error:
            failures.append(f"{path.name}: {error!r}")
            continue
        if not 1 <= header.width * header.height <= LIMITS.max_pixels:
            failures.append(f"{path.name}: {header}")
    assert len(files) > 100
    assert not failures, "\n".join(failures)
