"""The way from pixels to a picture file that holds nothing but the pixels."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from blurline.imaging.decode import Pixels, decode
from blurline.imaging.encode import encode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from tests.parts import drawing, picture_file

LIMITS = Limits(max_bytes=50_000_000, max_pixels=100_000_000)
PIXELS = drawing(96, 64)
PICTURE = Image.fromarray(PIXELS)
LOSSY = (Kind.JPEG, Kind.WEBP, Kind.AVIF, Kind.HEIC)
LOSSLESS = tuple(kind for kind in Kind if kind not in LOSSY)
TELLTALE = "Seen at 48.8584 N by Jane Roe"


def pixels_of(data: bytes) -> Pixels:
    return decode(data, read_header(data, LIMITS))


def telling(kind: Kind) -> bytes:
    """A file that gives itself away in every place that its kind has for such things."""
    exif = Image.Exif()
    exif[0x010E] = TELLTALE  # description
    exif.get_ifd(0x8769)[0x9286] = TELLTALE.encode()  # the user's comment
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.24), 29: TELLTALE})  # GPS
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{TELLTALE}</x:xmpmeta>".encode()
    profile = TELLTALE.encode()
    if kind is Kind.JPEG:
        options = {"exif": exif, "xmp": xmp, "icc_profile": profile, "comment": TELLTALE}
    elif kind is Kind.PNG:
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", TELLTALE)
        texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options = {"exif": exif, "icc_profile": profile, "pnginfo": texts}
    elif kind in (Kind.WEBP, Kind.AVIF):
        options = {"exif": exif, "xmp": xmp, "icc_profile": profile}
    elif kind is Kind.TIFF:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[270], tags[315], tags[700], tags[34675] = TELLTALE, TELLTALE, xmp, profile
        options = {"tiffinfo": tags}
    elif kind is Kind.GIF:
        options = {"comment": TELLTALE}
    else:
        return picture_file(PICTURE, kind.value) + TELLTALE.encode()
    return picture_file(PICTURE, kind.value, **options)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_kind_keeps_every_value(kind: Kind) -> None:
    assert (pixels_of(encode(PIXELS, kind, 90)) == PIXELS).all()


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_kind_keeps_the_picture(kind: Kind) -> None:
    assert cv2.absdiff(pixels_of(encode(PIXELS, kind, 95)), PIXELS).mean() < 3


@pytest.mark.parametrize("kind", Kind)
def test_a_picture_is_written_as_its_own_kind_but_a_gif_as_png_and_heic_as_jpeg(
    kind: Kind,
) -> None:
    expected = {Kind.GIF: Kind.PNG, Kind.HEIC: Kind.JPEG}.get(kind, kind)
    assert read_header(encode(PIXELS, kind, 90), LIMITS).kind is expected is kind.written


@pytest.mark.parametrize("kind", Kind)
def test_quality_counts_for_the_lossy_kinds_only(kind: Kind) -> None:
    small, large = encode(PIXELS, kind, 30), encode(PIXELS, kind, 95)
    assert (len(small) < len(large)) if kind in LOSSY else (small == large)


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (3, 17)])
@pytest.mark.parametrize("kind", Kind)
def test_odd_and_tiny_sizes_are_written(kind: Kind, size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width, 3), (200, 100, 50), np.uint8)
    written = pixels_of(encode(pixels, kind, 95))
    assert written.shape == pixels.shape
    assert cv2.absdiff(written, pixels).max() < 10


@pytest.mark.parametrize("kind", Kind)
def test_no_metadata_of_the_original_is_written(kind: Kind) -> None:
    original = telling(kind)
    assert TELLTALE.encode() in original
    written = encode(pixels_of(original), kind, 90)
    assert TELLTALE.encode() not in written
    with Image.open(BytesIO(written)) as image:
        image.load()
        known = {"exif", "xmp", "XML:com.adobe.xmp", "icc_profile", "comment", "Author"}
        assert not known & set(image.info)
        assert not image.getexif().get_ifd(0x8825)
        assert not image.getexif().get_ifd(0x8769)
        assert 0x010E not in image.getexif()


@pytest.mark.parametrize("kind", Kind)
def test_the_pixels_are_left_as_they_are(kind: Kind) -> None:
    pixels = PIXELS.copy()
    encode(pixels, kind, 90)
    assert (pixels == PIXELS).all()
