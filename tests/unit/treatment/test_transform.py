"""Pictures that are made of others: what of the original stays, and what comes beside them."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from blurline.certificate.certificate import TransformedPicture
from blurline.errors import OptionError, PictureError
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.stages.pipeline import Chain
from blurline.treatment.outputs import Context, Role, Source, Treated
from tests.panoramas import CROPPED, packet
from tests.parts import STORED_FOR_ORIENTATION, drawing, picture_file, treating
from tests.toys import TOY

LIMITS = Limits(10**8, 10**8)
ORIENTATION = 0x0112
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIC"]


def treated(
    data: bytes, most: int = 10**8, told: list[float] | None = None, **texts: str
) -> Treated:
    """What comes of the picture with these options."""
    limits = Limits(10**8, 10**8, max_output_pixels=most)
    source = Source(data, read_header(data, limits))
    context = Context((told if told is not None else []).append)
    values = TOY.options.read(texts, {})
    return treating(limits=limits).treat(source, Chain((TOY,)), values, context)


def pixels_in(data: bytes, mode: str = "RGB") -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(data)).convert(mode))


def transparent(width: int = 64, height: int = 48) -> Image.Image:
    """A picture whose right half can be seen through."""
    image = Image.fromarray(drawing(width, height)).convert("RGBA")
    alpha = np.full((height, width), 255, np.uint8)
    alpha[:, width // 2 :] = 100
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_is_taken_and_its_own_or_its_substitute_comes_out(kind: str) -> None:
    data = picture_file(Image.fromarray(drawing(64, 48)), kind)
    header = read_header(data, LIMITS)
    found = treated(data).primary
    assert found.media_type == header.kind.written.content_type
    assert found.name == f"picture.{header.kind.written.extension}"
    written = read_header(found.data, LIMITS)
    assert (written.kind, written.upright_size) == (header.kind.written, (72, 56))
    assert (found.width, found.height) == (72, 56)
    centre = pixels_in(found.data)[4:-4, 4:-4].astype(int) if kind != "HEIC" else drawing(64, 48)
    assert np.abs(centre - drawing(64, 48)).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "JPEG"])
def test_a_picture_of_one_pixel_is_one_too(kind: str) -> None:
    data = picture_file(Image.new("RGB", (1, 1), (10, 20, 30)), kind)
    assert read_header(treated(data).primary.data, LIMITS).upright_size == (9, 9)
    assert read_header(treated(data, border="0").primary.data, LIMITS).upright_size == (1, 1)


@pytest.mark.parametrize("written", ["jpeg", "png", "webp", "avif"])
def test_the_kind_that_is_asked_for_is_written(small_jpeg: bytes, written: str) -> None:
    found = treated(small_jpeg, output_format=written).primary
    assert found.media_type == f"image/{written}"
    assert read_header(found.data, LIMITS).kind is Kind(written)


@pytest.mark.parametrize(("kind", "written"), [("PNG", "same"), ("PNG", "webp"), ("WEBP", "png")])
def test_transparency_stays(kind: str, written: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = picture_file(transparent(), kind, **options)
    shown = pixels_in(treated(data, output_format=written).primary.data, "RGBA")
    inside = shown[4:-4, 4:-4, 3]
    assert (inside[:, :32] == 255).all()
    assert (inside[:, 32:] == 100).all()
    assert (shown[:4, :, 3] == 255).all()


def test_transparency_into_a_jpeg_is_refused_with_what_would_do() -> None:
    with pytest.raises(OptionError, match="output_format png, webp or avif"):
        treated(picture_file(transparent(), "PNG"), output_format="jpeg")


def test_a_picture_that_could_be_transparent_and_is_not_can_be_a_jpeg() -> None:
    opaque = Image.fromarray(drawing(64, 48)).convert("RGBA")
    found = treated(picture_file(opaque, "PNG"), output_format="jpeg")
    assert found.primary.media_type == "image/jpeg"


@pytest.mark.parametrize("orientation", [1, *STORED_FOR_ORIENTATION])
def test_the_result_is_upright_and_says_no_other_orientation(orientation: int) -> None:
    upright = Image.fromarray(drawing(64, 48))
    stored = upright
    if orientation in STORED_FOR_ORIENTATION:
        stored = upright.transpose(STORED_FOR_ORIENTATION[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = picture_file(stored, "JPEG", exif=exif.tobytes(), quality=95)
    found = treated(data, border="0", output_format="png").primary
    assert (found.width, found.height) == (64, 48)
    assert np.abs(pixels_in(found.data).astype(int) - drawing(64, 48)).mean() < 6
    again = treated(data, border="0").primary
    assert read_header(again.data, LIMITS).orientation == 1


def test_the_colour_profile_stays() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = picture_file(Image.fromarray(drawing(64, 48)), "JPEG", icc_profile=profile)
    kept = read_metadata(data, Kind.JPEG, MetadataPolicy.MINIMAL).icc
    assert kept is not None
    for written in ("same", "png", "webp"):
        found = Image.open(BytesIO(treated(data, output_format=written).primary.data))
        assert found.info.get("icc_profile") == kept
    bare = Image.open(BytesIO(treated(data, metadata="none").primary.data))
    assert "icc_profile" not in bare.info


def test_a_picture_of_another_size_is_no_panorama_any_more() -> None:
    data = picture_file(Image.fromarray(drawing(64, 24)), "JPEG", xmp=packet(CROPPED))
    assert read_metadata(data, Kind.JPEG, MetadataPolicy.KEEP).panorama is not None

    def told(**texts: str) -> Any:
        picture = treated(data, metadata="keep", **texts).primary.data
        return read_metadata(picture, Kind.JPEG, MetadataPolicy.KEEP).panorama

    assert told(border="0") is not None
    assert told(border="8") is None


def test_masks_come_beside_the_picture_in_its_size(small_jpeg: bytes) -> None:
    found = treated(small_jpeg, border="8")
    assert [output.role for output in found.outputs] == [Role.PRIMARY, Role.MASK]
    mask = found.outputs[1]
    assert (mask.name, mask.media_type) == ("border.png", "image/png")
    assert (mask.width, mask.height) == (found.primary.width, found.primary.height)
    shown = pixels_in(mask.data, "L")
    assert (shown[8:-8, 8:-8] == 0).all()
    assert (shown[:8] == 255).all()


def test_it_claims_no_redaction_and_tells_of_its_stages(small_jpeg: bytes) -> None:
    told: list[float] = []
    found = treated(small_jpeg, told=told)
    assert found.claim == TransformedPicture(("frame",))
    assert found.reports == {"framed": {"border": 4}}
    assert found.networks == ()
    assert told == [1.0]
    assert list(found.seconds) == ["decode", "framed", "encode"]


def test_a_result_that_would_be_too_large_is_not_begun(small_jpeg: bytes) -> None:
    told: list[float] = []
    with pytest.raises(PictureError) as caught:
        treated(small_jpeg, most=1000, told=told)
    assert caught.value.code == "too_many_pixels"
    assert told == []


def test_the_same_picture_and_options_come_to_the_same_file(small_jpeg: bytes) -> None:
    assert treated(small_jpeg).primary.sha256 == treated(small_jpeg).primary.sha256
