"""Where a panorama lies on its sphere is read as checked numbers and written anew."""

from io import BytesIO

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from blurline.imaging.containers.clean import clean
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from blurline.imaging.panorama import LARGEST_PACKET, Panorama, panorama_of, read_panorama
from tests.panoramas import CROPPED, packet
from tests.parts import picture_file
from tests.telltales import BASE, MARKER, traces

KINDS = [kind for kind in Kind if kind in ("jpeg", "png", "webp", "tiff", "avif", "heic")]


def sphere(values: dict[str, str], **form: object) -> dict[str, str]:
    found = read_panorama(packet(values, **form))  # type: ignore[arg-type]
    return dict(found.sphere) if found else {}


@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("prefix", ["GPano", "ns1", "g.p-1"])
def test_a_panoramas_numbers_are_read_from_elements_and_attributes_of_any_prefix(
    prefix: str, attributes: bool
) -> None:
    assert sphere(CROPPED, prefix=prefix, attributes=attributes) == CROPPED


@pytest.mark.parametrize("kind", KINDS)
def test_a_panorama_is_found_in_each_kind_of_file(kind: Kind) -> None:
    found = panorama_of(picture_file(BASE, kind, **carried(kind, packet(CROPPED))), kind)
    assert found is not None
    assert dict(found.sphere) == CROPPED


def test_a_compressed_packet_of_a_png_is_read_within_its_bound() -> None:
    for filling, kept in ((0, True), (LARGEST_PACKET, False)):
        text = PngInfo()
        xmp = packet(CROPPED).decode() + " " * filling
        text.add_itxt("XML:com.adobe.xmp", xmp, zip=True)
        found = panorama_of(picture_file(BASE, "PNG", pnginfo=text), Kind.PNG)
        assert (found is not None) is kept


def carried(kind: Kind, xmp: bytes) -> dict[str, object]:
    """How Pillow is told to write XMP into a file of that kind."""
    if kind is Kind.PNG:
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return {"pnginfo": text}
    if kind is Kind.TIFF:
        tags = ImageFileDirectory_v2()
        tags.tagtype[700] = 1
        tags[700] = xmp
        return {"tiffinfo": tags}
    return {"xmp": xmp}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is kind.written])
@pytest.mark.parametrize("policy", MetadataPolicy)
def test_a_panoramas_numbers_stay_under_keep_alone(kind: Kind, policy: MetadataPolicy) -> None:
    xmp = packet(CROPPED, beside=f"<a:Note>{MARKER.decode()}</a:Note>")
    original = picture_file(BASE, kind, **carried(kind, xmp))

    written = clean(original, kind, read_metadata(original, kind, policy))

    assert traces(written) == []
    kept = panorama_of(written, kind)
    assert dict(kept.sphere if kept else ()) == (CROPPED if policy == "keep" else {})
    assert Image.open(BytesIO(written)).size == BASE.size
    assert clean(written, kind, read_metadata(written, kind, policy)) == written


def test_what_is_written_says_the_same_and_nothing_else() -> None:
    original = packet(CROPPED, beside=f"<a:Note>{MARKER.decode()}</a:Note>")
    read = read_panorama(original)
    assert read is not None
    assert read_panorama(read.xmp()) == read
    assert MARKER not in read.xmp()


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("PoseHeadingDegrees", "359.99996", "360"),
        ("PoseHeadingDegrees", "-0", "0"),
        ("PoseHeadingDegrees", "247/2", "123.5"),
        ("PoseHeadingDegrees", "1e2", "100"),
        ("PoseHeadingDegrees", "1e300", None),
        ("PoseHeadingDegrees", "NaN", None),
        ("PoseHeadingDegrees", "inf", None),
        ("PoseHeadingDegrees", "1/0", None),
        ("PosePitchDegrees", "90", "90"),
        ("PosePitchDegrees", "90.1", None),
        ("PoseRollDegrees", "-180", "-180"),
        ("PoseRollDegrees", "181", None),
        ("ProjectionType", "Equirectangular", "equirectangular"),
        ("ProjectionType", "JaneRoe", None),
        ("UsePanoramaViewer", "true", "True"),
        ("UsePanoramaViewer", "1", None),
        ("CaptureSoftware", "JaneRoe", None),
        ("FullPanoWidthPixels", "1000000", "1000000"),
        ("FullPanoWidthPixels", "1000001", None),
        ("FullPanoWidthPixels", "0", None),
        ("FullPanoWidthPixels", "1e999999999", None),
        ("FullPanoWidthPixels", "8000.0", "8000"),
        ("FullPanoWidthPixels", "8000.5", None),
        ("FullPanoWidthPixels", "9" * 40, None),
    ],
)
def test_a_value_is_kept_if_it_is_one_that_the_property_can_have(
    name: str, text: str, kept: str | None
) -> None:
    assert sphere({name: text}).get(name) == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"CroppedAreaTopPixels": "201"},
        {"CroppedAreaLeftPixels": "1"},
        {"FullPanoHeightPixels": "-800"},
        {"CroppedAreaImageWidthPixels": "many"},
    ],
)
def test_sizes_that_contradict_each_other_are_left_out_together(wrong: dict[str, str]) -> None:
    kept = sphere({**CROPPED, **wrong})
    assert [name for name in kept if name.endswith("Pixels")] == []
    assert kept["PoseHeadingDegrees"] == CROPPED["PoseHeadingDegrees"]


def test_the_angles_of_a_camera_are_kept_too() -> None:
    angles = packet({"Yaw": "12", "Pitch": "-4.5", "Roll": "JaneRoe"}, prefix="Camera").replace(
        b"http://ns.google.com/photos/1.0/panorama/", b"http://pix4d.com/camera/1.0/"
    )
    assert read_panorama(angles) == Panorama(camera=(("Yaw", "12"), ("Pitch", "-4.5")))


@pytest.mark.parametrize(
    ("values", "wraps"),
    [
        (CROPPED, True),
        ({"ProjectionType": "equirectangular"}, True),
        ({**CROPPED, "CroppedAreaImageWidthPixels": "1599"}, False),
        ({**CROPPED, "ProjectionType": "cylindrical"}, False),
        ({"PoseHeadingDegrees": "3"}, False),
    ],
)
def test_a_picture_that_goes_all_the_way_round_is_known(
    values: dict[str, str], wraps: bool
) -> None:
    found = read_panorama(packet(values))
    assert found is not None
    assert found.wraps_around is wraps


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe" * 100,
        packet(CROPPED)[:200],
        packet({}),
        b"GPano:ProjectionType='equirectangular'",
        packet({}) + b"GPano:" * (LARGEST_PACKET // 6),
        packet({}) + b" " * LARGEST_PACKET,
        packet({}) + b"GPano:A" + b" " * LARGEST_PACKET,
    ],
)
def test_xmp_that_says_nothing_or_is_damaged_is_no_panorama(damaged: bytes) -> None:
    assert read_panorama(damaged) is None


def test_a_file_that_is_no_picture_is_no_panorama() -> None:
    assert panorama_of(b"\xff\xd8\xff", Kind.JPEG) is None
    assert panorama_of(picture_file(Image.new("RGB", (8, 4)), "JPEG"), Kind.JPEG) is None
