"""A camera's raw file is refused by its name and never shown as its preview."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.camera import raw_name, raw_tiff_name
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy, read_metadata
from tests.parts import drawing, files_below, picture_file
from tests.telltales import srgb
from tests.tiffs import Entry, Sort, directory_file, picture

LIMITS = Limits(max_bytes=50_000_000, max_pixels=30_000_000)
PIXELS = drawing(64, 48)
SMALL = drawing(16, 12)
FULL, REDUCED, MASK = (254, 4, [0]), (254, 4, [1]), (254, 4, [4])


def rgb(pixels: Pixels, *more: Entry) -> tuple[list[Entry], list[bytes]]:
    return picture(pixels.astype(np.uint64), Sort(photometric=2, more=more))


def sensor(*more: Entry, photometric: int = 32803) -> tuple[list[Entry], list[bytes]]:
    values = np.random.default_rng(1).integers(0, 4096, (48, 64, 1)).astype(np.uint64)
    return picture(values, Sort(16, photometric=photometric, more=(FULL, *more)))


def made_by(maker: str) -> Entry:
    return 271, 2, [*maker.encode(), 0]


def preview(*more: Entry) -> tuple[list[Entry], list[bytes]]:
    return rgb(SMALL, REDUCED, *more)


def with_sensor(maker: str, *more: Entry, order: str = "<") -> bytes:
    return directory_file([preview(made_by(maker))], order, [sensor(*more)])


def film(brand: bytes) -> bytes:
    return struct.pack(">I4s4s4x4s", 24, b"ftyp", brand, brand) + bytes(4)


RAWS: dict[str, tuple[bytes, str]] = {
    "Nikon": (with_sensor("NIKON CORPORATION"), "NEF"),
    "Nikon, the other order": (with_sensor("NIKON", order=">"), "NEF"),
    "Sony": (with_sensor("SONY", (259, 3, [32767])), "ARW"),
    "Samsung": (with_sensor("SAMSUNG"), "SRW"),
    "Hasselblad": (with_sensor("Hasselblad"), "3FR"),
    "Epson": (with_sensor("SEIKO EPSON CORP."), "ERF"),
    "nobody's": (with_sensor("Someone"), "raw"),
    "Pentax, the sensor first": (
        directory_file([sensor(made_by("PENTAX Corporation")), preview()]),
        "PEF",
    ),
    "Leaf": (directory_file([rgb(SMALL, made_by("Leaf"), (34310, 7, [0] * 8))]), "MOS"),
    "a DNG": (directory_file([preview((50706, 1, [1, 4, 0, 0]))], "<", [sensor()]), "DNG"),
    "a developed DNG": (
        directory_file([rgb(PIXELS, FULL, (50706, 1, [1, 4, 0, 0]))]),
        "DNG",
    ),
    "linear values": (directory_file([preview()], ">", [sensor(photometric=34892)]), "raw"),
    "a packing of cameras": (
        directory_file([rgb(SMALL, made_by("NIKON"))], "<", [sensor((259, 3, [34713]))]),
        "NEF",
    ),
    "a pattern of colours": (directory_file([preview((33422, 1, [0, 1, 1, 2]))]), "raw"),
    "nothing but a preview": (directory_file([preview(made_by("Canon"))]), "CR2"),
    "a JPEG of old for a preview": (
        directory_file([rgb(SMALL, made_by("Kodak"), (259, 3, [6]))]),
        "DCR",
    ),
    "Canon": (directory_file([rgb(SMALL)], start=b"CR\2\0" + bytes(4)), "CR2"),
    "Phase One": (directory_file([rgb(SMALL)], start=b"IIIITwaR"), "IIQ"),
    "Phase One, the other order": (directory_file([rgb(SMALL)], ">", start=b"MMMMRawT"), "IIQ"),
    "Canon's new": (film(b"crx "), "CR3"),
    "Canon's old": (b"II\x1a\0\0\0HEAPCCDR" + bytes(40), "CRW"),
    "Fujifilm": (b"FUJIFILMCCD-RAW 0201" + bytes(40), "RAF"),
    "Olympus": (b"IIRO\x08\0\0\0" + bytes(40), "ORF"),
    "Olympus, older": (b"IIRS\x08\0\0\0" + bytes(40), "ORF"),
    "Olympus, the other order": (b"MMOR\0\0\0\x08" + bytes(40), "ORF"),
    "Panasonic": (b"IIU\0\x18\0\0\0" + bytes(40), "RW2"),
    "Sigma": (b"FOVb\0\0\3\0" + bytes(40), "X3F"),
    "Minolta": (b"\0MRM\0\0\0\0" + bytes(40), "MRW"),
}


@pytest.mark.parametrize("name", RAWS)
def test_a_raw_file_is_refused_and_the_refusal_names_it(name: str) -> None:
    data, kind = RAWS[name]
    with pytest.raises(PictureError) as caught:
        read_header(data, LIMITS)
    assert caught.value.code == "unsupported_kind"
    assert f"a camera's raw file ({kind})" in caught.value.message


def shown(data: bytes) -> Pixels:
    header = read_header(data, LIMITS)
    assert header.kind is Kind.TIFF
    return decode(data, header)


PLAIN: dict[str, bytes] = {
    "a thumbnail below": directory_file([rgb(PIXELS, FULL)], "<", [preview()]),
    "a thumbnail below that does not say so": directory_file([rgb(PIXELS)], "<", [rgb(SMALL)]),
    "a thumbnail on a second page": directory_file([rgb(PIXELS, FULL), preview()]),
    "the picture on a second page": directory_file([preview(), rgb(PIXELS, FULL)]),
    "the picture below": directory_file([preview()], ">", [rgb(PIXELS, FULL)]),
    "the picture below of a camera": directory_file(
        [preview(made_by("NIKON"))], "<", [rgb(PIXELS, FULL)]
    ),
    "a larger one below": directory_file([rgb(SMALL)], "<", [rgb(PIXELS, FULL), preview()]),
    "a mask": directory_file([rgb(PIXELS), rgb(SMALL, MASK)]),
    "a thumbnail by the tag of old": directory_file([rgb(SMALL, (255, 3, [2])), rgb(PIXELS)]),
    "a camera's own TIFF": directory_file([rgb(PIXELS, FULL, made_by("NIKON"))], "<", [preview()]),
    "pixels that look like a mark": directory_file(
        [rgb(np.where(np.arange(64)[None, :, None] < 9, 73, PIXELS).astype(np.uint8))]
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_tiff_beside_its_previews_shows_its_full_picture(name: str) -> None:
    off = np.abs(shown(PLAIN[name])[:, 9:] - PIXELS.astype(int)[:, 9:])
    assert off.max() == 0


def test_a_picture_below_its_preview_keeps_what_the_file_says_first() -> None:
    turned, profile = (274, 3, [6]), (34675, 7, [*srgb()])
    named = preview(turned, profile, (271, 2, [*b"Acme", 0]))
    data = directory_file([named], "<", [rgb(PIXELS)])
    metadata = read_metadata(data, Kind.TIFF, MetadataPolicy.KEEP)
    assert metadata.icc is not None
    assert [entry.tag for entry in metadata.camera] == [271]
    assert shown(data).shape == (64, 48, 3)


def test_nothing_but_a_smaller_version_is_refused() -> None:
    with pytest.raises(PictureError) as caught:
        read_header(directory_file([preview()]), LIMITS)
    assert caught.value.code == "unsupported_kind"


def test_two_whole_pictures_are_pages() -> None:
    for data in (
        directory_file([rgb(PIXELS), rgb(SMALL)]),
        directory_file([preview()], "<", [rgb(PIXELS, FULL), rgb(PIXELS, FULL)]),
    ):
        with pytest.raises(PictureError) as caught:
            read_header(data, LIMITS)
        assert caught.value.code == "animation"


@pytest.mark.parametrize("kind", Kind)
def test_no_other_picture_counts_as_raw(kind: Kind) -> None:
    data = picture_file(Image.fromarray(PIXELS), kind.value)
    assert (raw_name(data), kind is Kind.TIFF and raw_tiff_name(data)) in (
        (None, None),
        (None, False),
    )


def test_reported_raw_files_are_refused(data: Path) -> None:
    found = files_below(data / "reports" / "01-raw")
    if not found:
        pytest.skip("the reported files are not here")
    for path in found:
        with pytest.raises(PictureError) as caught:
            read_header(path.read_bytes(), LIMITS)
        assert (caught.value.code, "raw file" in caught.value.message) == ("unsupported_kind", True)
