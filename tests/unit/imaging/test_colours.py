"""What the numbers of a picture mean as colours is what they meant in the original."""

import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from blurline.imaging import screen
from blurline.imaging.chunks import png_chunks
from blurline.imaging.colours import CodePoints, code_points
from blurline.imaging.containers import avif
from blurline.imaging.containers.clean import clean
from blurline.imaging.decode import decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.heif import av1
from blurline.imaging.heif.items import read_items
from blurline.imaging.kind import Kind, OutputFormat
from blurline.imaging.metadata import Metadata, MetadataPolicy, read_metadata
from blurline.imaging.profile import colour_space, rebuilt
from blurline.imaging.rewrite import rewrite
from tests.carriers import png_chunk
from tests.heic_files import heic, nclx
from tests.parts import drawing, picture_file
from tests.telltales import srgb

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
PICTURE = Image.fromarray(drawing(64, 48))
P3, PQ, HLG, TELEVISION, LINEAR = (
    CodePoints(12, 13),
    CodePoints(9, 16),
    CodePoints(9, 18),
    CodePoints(1, 1),
    CodePoints(1, 8),
)
TOLD = [P3, PQ, HLG, TELEVISION, LINEAR, CodePoints(12, 2), CodePoints(5, 4), CodePoints(22, 13)]


def avif_of(points: CodePoints, *, box: bool = True, mode: str = "RGB") -> bytes:
    """An AVIF that says its colours in its stream, and in its box of colours too."""
    told = {
        "color-primaries": str(points.primaries),
        "transfer-characteristics": str(points.transfer),
    }
    data = picture_file(PICTURE.convert(mode), "AVIF", quality=95, advanced=told)
    assert b"colrnclx" in data
    return avif.with_code_points(data, points) if box else data.replace(b"colrnclx", b"freenclx")


def png_of(*chunks: bytes) -> bytes:
    data = picture_file(PICTURE, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def treated(data: bytes, kind: Kind, policy: MetadataPolicy) -> bytes:
    header = read_header(data, LIMITS)
    pixels = decode(data, header)
    metadata = replace(read_metadata(data, kind, policy), orientation=1)
    return clean(rewrite(data, kind, pixels, [], header.orientation, 95), kind.written, metadata)


def in_stream(data: bytes) -> tuple[int, int] | None:
    items = read_items(data)
    return av1.colours_of(items.content(items.primary))


def in_box(data: bytes) -> tuple[int, int]:
    place = data.index(b"colrnclx") + 8
    first, second = struct.unpack_from(">HH", data, place)
    return first, second


@pytest.mark.parametrize("policy", MetadataPolicy)
@pytest.mark.parametrize("points", TOLD)
def test_an_avif_keeps_its_code_points_under_every_policy(
    points: CodePoints, policy: MetadataPolicy
) -> None:
    result = treated(avif_of(points), Kind.AVIF, policy)
    assert in_box(result) == in_stream(result) == (points.primaries, points.transfer)
    assert b"colrprof" not in result


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_code_points_of_the_stream_count_where_no_box_says_any(mode: str) -> None:
    data = avif_of(PQ, box=False, mode=mode)
    assert code_points(data, Kind.AVIF) == PQ
    result = treated(data, Kind.AVIF, MetadataPolicy.MINIMAL)
    assert in_box(result) == in_stream(result) == (9, 16)


def test_the_samples_of_an_avif_keep_their_numbers_whatever_they_mean() -> None:
    plain, told = avif_of(CodePoints(1, 13)), avif_of(PQ)
    shown = [decode(data, read_header(data, LIMITS)).astype(int) for data in (plain, told)]
    assert np.abs(shown[0] - shown[1]).max() == 0
    result = treated(told, Kind.AVIF, MetadataPolicy.MINIMAL)
    again = decode(result, read_header(result, LIMITS))
    assert np.abs(again - shown[1]).mean() < 4


def test_an_avif_of_a_profile_keeps_it() -> None:
    data = picture_file(PICTURE, "AVIF", quality=95, icc_profile=srgb())
    assert read_metadata(data, Kind.AVIF, MetadataPolicy.MINIMAL) == Metadata(icc=rebuilt(srgb()))


@pytest.mark.parametrize("content", [b"\0", b"\xff" * 8, bytes(3), b"\x12\0\x0a\x02\x18"])
def test_a_damaged_stream_says_nothing(content: bytes) -> None:
    data = avif_of(PQ, box=False)
    items = read_items(data)
    ((start, length),) = items.places[items.primary].parts
    broken = data[:start] + content.ljust(length, b"\xff") + data[start + length :]
    assert code_points(broken, Kind.AVIF) is None


@pytest.mark.parametrize("points", [(0, 13), (3, 13), (300, 13), (1, 200), (2, 2)])
def test_code_points_that_stand_for_nothing_count_as_none(points: tuple[int, int]) -> None:
    assert code_points(avif_of(CodePoints(1, 13)), Kind.AVIF) == CodePoints(1, 13)
    data = avif.with_code_points(picture_file(PICTURE, "AVIF"), CodePoints(*points))
    assert code_points(data, Kind.AVIF) is None


@pytest.mark.parametrize("policy", MetadataPolicy)
def test_a_png_keeps_its_code_points_under_every_policy(policy: MetadataPolicy) -> None:
    told = png_chunk(b"cICP", bytes((9, 16, 0, 1)))
    result = treated(png_of(told), Kind.PNG, policy)
    assert dict(png_chunks(result))[b"cICP"] == bytes((9, 16, 0, 1))
    assert b"iCCP" not in result


def numbers(gamma: int, *places: int) -> list[bytes]:
    chunks = [png_chunk(b"gAMA", struct.pack(">I", gamma))]
    return [*chunks, png_chunk(b"cHRM", struct.pack(">8I", *places))] if places else chunks


SRGB_PLACES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_PLACES = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)

SCREENS: dict[str, tuple[Kind, Callable[[], bytes], CodePoints | None]] = {
    "an AVIF of P3": (Kind.AVIF, lambda: avif_of(P3), P3),
    "an AVIF of sRGB": (Kind.AVIF, lambda: avif_of(CodePoints(1, 13)), None),
    "an AVIF of television": (Kind.AVIF, lambda: avif_of(TELEVISION), None),
    "a PNG of P3": (Kind.PNG, lambda: png_of(png_chunk(b"cICP", bytes((12, 13, 0, 1)))), P3),
    "a PNG of P3 by numbers": (Kind.PNG, lambda: png_of(*numbers(45455, *P3_PLACES)), P3),
    "a PNG of sRGB by numbers": (Kind.PNG, lambda: png_of(*numbers(45455, *SRGB_PLACES)), None),
    "a linear PNG": (Kind.PNG, lambda: png_of(*numbers(100_000)), LINEAR),
    "a PNG of sRGB beside other numbers": (
        Kind.PNG,
        lambda: png_of(png_chunk(b"sRGB", b"\0"), *numbers(100_000)),
        None,
    ),
    "a PNG of no colours": (Kind.PNG, lambda: png_of(*numbers(45455, *[0] * 8)), None),
    "a PNG of colours in a row": (Kind.PNG, lambda: png_of(*numbers(45455, *[9000] * 8)), None),
    "a PNG of no light": (Kind.PNG, lambda: png_of(*numbers(0)), None),
}


@pytest.mark.parametrize("name", SCREENS)
def test_a_profile_says_the_colours_where_a_kind_has_no_code_points(name: str) -> None:
    kind, make, expected = SCREENS[name]
    metadata = read_metadata(make(), kind, MetadataPolicy.MINIMAL)
    assert read_metadata(make(), kind, MetadataPolicy.NONE) == Metadata()
    found = metadata.profile_for(b"RGB ")
    assert metadata.profile_for(b"RGB ", has_points=True) is None
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert rebuilt(found) == found
    wanted = screen.profile_of(expected)
    assert wanted is not None
    assert np.abs(seen_in_srgb(found) - seen_in_srgb(wanted)).max() <= 1
    written = clean(picture_file(PICTURE, "JPEG"), Kind.JPEG, metadata)
    with Image.open(BytesIO(written)) as image:
        assert image.info["icc_profile"] == found


def seen_in_srgb(profile: bytes) -> np.ndarray:
    """Some colours of a profile as sRGB has them, shape (n, 3)."""
    colours = np.array([[(200, 100, 50), (90, 120, 100), (128, 128, 128), (255, 255, 255)]])
    shown = ImageCms.profileToProfile(
        Image.fromarray(colours.astype(np.uint8)),
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    assert shown is not None
    return np.asarray(shown)[0].astype(int)


def test_a_profile_of_p3_shows_the_colours_of_p3() -> None:
    profile = screen.profile_of(P3)
    assert profile is not None
    assert colour_space(profile) == b"RGB "
    # By the matrices of CSS Color 4, 10.9, for the linear light of each.
    to_srgb = np.array(
        [
            [1.2249402, -0.2249402, 0],
            [-0.0420569, 1.0420569, 0],
            [-0.0196376, -0.0786361, 1.0982735],
        ]
    )
    given = np.array([200, 100, 50]) / 255
    light = to_srgb @ np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(seen_in_srgb(profile)[0] - expected * 255).max() <= 1


@pytest.mark.parametrize(("points", "white"), [(PQ, 0.5807), (HLG, 0.75)])
def test_light_beyond_a_screen_is_shown_up_to_the_white_of_paper(
    points: CodePoints, white: float
) -> None:
    profile = screen.profile_of(points)
    assert profile is not None
    # ITU-R BT.2408, table 1: the signal of what is white on paper.
    greys = [0, white / 2, white - 0.01, white, 1]
    row = np.rint(np.array([[[grey] * 3 for grey in greys]]) * 255).astype(np.uint8)
    shown = ImageCms.profileToProfile(
        Image.fromarray(row),
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    assert shown is not None
    tones = np.asarray(shown)[0, :, 0].astype(int)
    assert tones[0] == 0
    assert 40 < tones[1] < 140
    assert 240 < tones[2] < 255
    assert min(tones[3:]) >= 254


def test_a_heic_keeps_its_colours_whatever_it_is_written_as() -> None:
    data = heic(np.asarray(PICTURE), nclx(12, 13, 6))
    metadata = read_metadata(data, Kind.HEIC, MetadataPolicy.MINIMAL)
    assert metadata.profile_for(b"RGB ") == screen.profile_of(P3)
    pixels = decode(data, read_header(data, LIMITS))
    for output in (OutputFormat.PNG, OutputFormat.AVIF):
        kind = output.of(Kind.HEIC)
        result = clean(rewrite(data, Kind.HEIC, pixels, [], 1, 95, output), kind, metadata)
        assert code_points(result, kind) == P3


def test_an_avif_written_as_png_keeps_its_colours() -> None:
    data = avif_of(PQ)
    pixels = decode(data, read_header(data, LIMITS))
    metadata = read_metadata(data, Kind.AVIF, MetadataPolicy.MINIMAL)
    file = rewrite(data, Kind.AVIF, pixels, [], 1, 95, OutputFormat.PNG)
    assert code_points(clean(file, Kind.PNG, metadata), Kind.PNG) == PQ


def test_code_points_of_no_screen_make_no_profile() -> None:
    for points in (CodePoints(10, 13), CodePoints(1, 9), CodePoints(1, 13), CodePoints(2, 1)):
        assert screen.profile_of(points) is None


def test_a_reported_picture_keeps_its_colours(data: Path) -> None:
    folder = data / "reports" / "06-avif-colours"
    if not folder.is_dir():
        pytest.skip("the reported files are not here")
    for name, expected in (("p3-8.avif", (12, 13)), ("srgb-8.avif", (1, 13))):
        result = treated((folder / name).read_bytes(), Kind.AVIF, MetadataPolicy.MINIMAL)
        assert in_box(result) == in_stream(result) == expected
