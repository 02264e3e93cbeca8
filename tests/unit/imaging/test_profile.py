"""A colour profile is built anew: the same colours, and nothing else."""

import random
import struct
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from blurline.imaging.profile import MAX_BYTES, colour_space, rebuilt
from tests.parts import files_below
from tests.telltales import MARKER, embedded_pictures, srgb, telling_profile, traces

D50 = (0.9642, 1.0, 0.8249)
P3 = {
    b"rXYZ": (0.51512, 0.2412, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.1571, 0.06657, 0.78407),
}
"""Display P3's primaries, adapted to D50."""


def fixed(*numbers: float) -> bytes:
    """s15Fixed16Numbers."""
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def xyz(*numbers: float) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*numbers)


def curve(function: int, *numbers: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", function, 0) + fixed(*numbers)


def gamma(points: int) -> bytes:
    values = [round(65535 * (index / (points - 1)) ** 1.8) for index in range(points)]
    return b"curv" + bytes(4) + struct.pack(f">I{points}H", points, *values)


def profile(
    tags: dict[bytes, bytes],
    space: bytes = b"RGB ",
    kind: bytes = b"mntr",
    version: int = 4,
    connection: bytes = b"XYZ ",
) -> bytes:
    """A profile with these tags behind each other."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        place = 132 + 12 * len(tags) + len(body)
        table += struct.pack(">4sII", name, place, len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">4s4sBBH4s4s4s", bytes(4), b"none", version, 0x20, 0, kind, space, connection
    )
    head += struct.pack(">6H", 2017, 7, 7, 13, 22, 32) + b"acspAPPL" + bytes(4) + b"APPL"
    head += bytes(16) + fixed(*D50) + b"appl" + bytes(range(16)) + bytes(28)
    whole = head + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def texts(version: int) -> dict[bytes, bytes]:
    if version == 2:
        text = MARKER + b"\0"
        title = b"desc" + struct.pack(">4xI", len(text)) + text + bytes(78)
        return {b"desc": title, b"cprt": b"text" + bytes(4) + text}
    text = MARKER.decode().encode("utf-16-be")
    title = b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(text), 28) + text
    return {b"desc": title, b"cprt": title}


def display_p3(version: int = 4) -> bytes:
    trc = curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    chad = b"sf32" + bytes(4) + fixed(1.0479, 0.0229, -0.0502, 0.0296, 0.9905, -0.0171)
    chad += fixed(-0.0092, 0.0151, 0.7517)
    tags = {b"wtpt": xyz(*D50), **{name: xyz(*values) for name, values in P3.items()}}
    tags |= {b"rTRC": trc, b"gTRC": trc, b"bTRC": trc, b"chad": chad}
    return profile({**texts(version), **tags}, version=version)


def grey() -> bytes:
    tags = {b"wtpt": xyz(*D50), b"kTRC": gamma(256)}
    return profile({**texts(2), **tags}, space=b"GRAY", version=2)


def printer(*, wide: bool, version: int = 2) -> bytes:
    """A profile of four inks that describes its colours by tables of five points a side."""
    inks = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 4, indexing="ij"), axis=-1)
    rgb = (1 - inks[..., :3] * [0.9, 0.8, 0.95]) * (1 - 0.9 * inks[..., 3:])
    lab = np.stack(
        [
            rgb.mean(-1),
            0.5 + (rgb[..., 0] - rgb[..., 1]) / 4,
            0.5 + (rgb[..., 1] - rgb[..., 2]) / 4,
        ],
        axis=-1,
    )
    head = bytes(4) + bytes((4, 3, 5, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    if wide:
        ends = struct.pack(">HH", 0, 65535)
        cells = (lab * 65280).round().astype(">u2").tobytes()
        table = b"mft2" + head + struct.pack(">HH", 2, 2) + 4 * ends + cells + 3 * ends
    else:
        ramp = bytes(range(256))
        table = b"mft1" + head + 4 * ramp + (lab * 255).round().astype("u1").tobytes() + 3 * ramp
    tags = {**texts(version), b"wtpt": xyz(*D50), b"A2B0": table, b"A2B1": table}
    return profile(tags, b"CMYK", b"prtr", version, b"Lab ")


PROFILES = {
    "sRGB by LittleCMS": srgb,
    "Display P3": display_p3,
    "Display P3, version 2": lambda: display_p3(2),
    "grey": grey,
    "inks, 16 bits": lambda: printer(wide=True),
    "inks, 8 bits": lambda: printer(wide=False),
    "inks, version 4": lambda: printer(wide=True, version=4),
}
MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


def seen(
    data: bytes, intent: ImageCms.Intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
) -> np.ndarray:
    """What all sorts of colours of a picture with this profile look like in sRGB."""
    mode = MODES[colour_space(data)]
    channels = len(mode) if mode != "L" else 1
    values = np.random.default_rng(1).integers(0, 256, (64, 64, channels), np.uint8)
    picture = Image.frombytes(mode, (64, 64), values.tobytes())
    shown = ImageCms.profileToProfile(
        picture,
        ImageCms.ImageCmsProfile(BytesIO(data)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent(intent),
        outputMode="RGB",
    )
    assert shown is not None
    return np.asarray(shown)


@pytest.mark.parametrize("intent", [0, 1, 2, 3])
@pytest.mark.parametrize("name", PROFILES)
def test_a_rebuilt_profile_shows_the_same_colours(name: str, intent: int) -> None:
    original = PROFILES[name]()
    result = rebuilt(original)
    assert result is not None
    assert len(result) <= len(original) + 100
    assert (seen(result, intent) == seen(original, intent)).all()


def test_profiles_of_real_photos_show_the_same_colours(data: Path) -> None:
    compared = set()
    for path in files_below(data / "hostile") + files_below(data / "street"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with Image.open(path) as image:
                    icc = image.info.get("icc_profile") or b""
                expected = seen(icc) if icc not in compared else None
            except Exception:  # noqa: S112 - no picture, or not one with a profile
                continue
        result = rebuilt(icc)
        if expected is not None and result is not None:
            compared.add(icc)
            assert (seen(result) == expected).all(), path.name
    assert len(compared) >= 5


@pytest.mark.parametrize("name", PROFILES)
def test_nothing_of_a_profile_stays_but_its_numbers(name: str) -> None:
    original = bytearray(PROFILES[name]())
    original[4:8], original[40:56], original[80:128] = b"Jane", b"JaneRoe_JaneRoe_", b"Roe!" * 12
    result = rebuilt(bytes(original))
    assert result is not None
    assert not traces(result)
    assert b"Jane" not in result
    assert b"Roe!" not in result
    assert result[84:128] == bytes(44)


def test_private_tags_and_bytes_between_tags_go() -> None:
    original = telling_profile()
    result = rebuilt(original)
    assert result is not None
    assert traces(original)
    assert not traces(result)
    assert not embedded_pictures(result)
    assert (seen(result) == seen(original)).all()
    assert len(result) < len(srgb()) + 100


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_rebuilt_stays_as_it_is(name: str) -> None:
    result = rebuilt(PROFILES[name]())
    assert result is not None
    assert rebuilt(result) == result
    assert rebuilt(result + MARKER) == result


def test_tags_of_the_same_data_share_it() -> None:
    original = display_p3()
    result = rebuilt(original)
    assert result is not None
    assert original.count(b"para") == 3
    assert result.count(b"para") == 1


def test_a_rebuilt_profile_has_texts_of_its_own() -> None:
    for version in (2, 4):
        result = rebuilt(display_p3(version))
        assert result is not None
        opened = ImageCms.ImageCmsProfile(BytesIO(result))
        assert ImageCms.getProfileDescription(opened).strip() == "RGB profile"
        assert ImageCms.getProfileCopyright(opened).strip() == "None"
        assert int(opened.profile.version) == version


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (8, b"\5"),  # a version of the future
        (12, b"link"),  # from device to device
        (12, b"nmcl"),
        (16, b"Lab "),
        (20, b"HSV "),
        (36, b"nope"),
        (64, b"\0\0\0\4"),  # an unknown intent
        (0, b"\xff\0\0\0"),  # larger than it is
        (0, b"\0\0\1\0"),  # tags beyond the end that it says it has
        (128, b"\0\1\0\0"),  # more tags than there are
        (136, b"\x7f\xff\xff\xff"),  # a tag beyond the end
    ],
)
def test_an_unfit_profile_is_not_kept(place: int, content: bytes) -> None:
    original = srgb()
    assert rebuilt(original[:place] + content + original[place + len(content) :]) is None


def test_a_profile_without_what_its_colours_need_is_not_kept() -> None:
    tags = {b"wtpt": xyz(*D50), b"kTRC": gamma(16)}
    assert rebuilt(profile(tags, b"GRAY")) is not None
    assert rebuilt(profile(tags, b"RGB ")) is None
    assert rebuilt(profile(tags, b"CMYK")) is None
    assert rebuilt(profile({b"kTRC": gamma(16)}, b"GRAY")) is None
    assert rebuilt(profile({**tags, b"kTRC": b"text" + bytes(20)}, b"GRAY")) is None


@pytest.mark.parametrize(
    "data",
    [
        gamma(4097),
        b"curv" + bytes(4) + struct.pack(">IH", 3, 1),
        curve(5, 1, 1, 1, 1, 1, 1, 1),
        curve(4, 1, 1),
        b"curv",
    ],
)
def test_a_malformed_curve_makes_a_profile_unfit(data: bytes) -> None:
    assert rebuilt(profile({b"wtpt": xyz(*D50), b"kTRC": data}, b"GRAY")) is None


def test_a_table_of_other_channels_or_too_few_cells_makes_a_profile_unfit() -> None:
    whole = printer(wide=True)
    start = whole.index(b"mft2")
    for place, value in ((start + 8, 3), (start + 9, 4), (start + 10, 200), (start + 48, 200)):
        assert rebuilt(whole[:place] + bytes((value,)) + whole[place + 1 :]) is None


def test_too_large_a_profile_is_not_kept() -> None:
    original = srgb()
    huge = original + bytes(MAX_BYTES)
    assert rebuilt(struct.pack(">I", len(huge)) + huge[4:]) is None
    assert rebuilt(huge) == rebuilt(original)


@pytest.mark.parametrize("name", PROFILES)
def test_damage_anywhere_gives_a_profile_or_none(name: str) -> None:
    chance = random.Random(3)
    original = PROFILES[name]()
    for _ in range(300):
        damaged = bytearray(original[: chance.choice([len(original), chance.randrange(300)])])
        for _ in range(chance.randint(0, 5)):
            if damaged:
                damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        result = rebuilt(bytes(damaged))
        assert result is None or not traces(result)
